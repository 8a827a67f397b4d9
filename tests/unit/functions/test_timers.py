"""The scheduled jobs of section 14.1 run as often as it says."""

from __future__ import annotations

import pytest

import function_app

_SCHEDULES = {
    function.get_function_name(): function.get_trigger().schedule
    for function in function_app.app.get_functions()
    if function.get_trigger().type == "timerTrigger"
}


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("check_integration_health", "0 */5 * * * *"),  # BR-IM-03
        ("process_webhook_retries", "0 * * * * *"),
        ("schedule_sync_jobs", "0 */15 * * * *"),
        ("expire_api_keys", "0 0 * * * *"),
        ("clean_up_integration_logs", "0 0 2 * * *"),
        ("clean_up_deliveries", "0 0 3 * * *"),
    ],
)
def test_a_scheduled_job_runs_when_section_14_1_says(name: str, schedule: str) -> None:
    assert _SCHEDULES[name] == schedule
