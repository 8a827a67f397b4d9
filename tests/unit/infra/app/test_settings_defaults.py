"""The numbers of the specification are the defaults."""

from __future__ import annotations

import pytest
from annotated_types import Ge, Le

from infra.app.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key_limit_per_tenant", 100),  # BR-AK-03
        ("webhook_limit_per_tenant", 50),  # BR-WH-07
        ("webhook_max_retries", 5),  # BR-WH-03
        ("webhook_expiry_hours", 24),  # BR-WH-05
        ("event_max_bytes", 1_048_576),  # BR-WH-08
        ("integration_log_days", 90),  # 17.2
        ("webhook_retention_days", 30),
        ("sync_log_days", 180),
        ("audit_retention_days", 365),
    ],
)
def test_a_default_is_what_the_specification_says(name: str, value: int) -> None:
    assert Settings.model_fields[name].default == value


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("sync_batch_records", 1, 10_000), ("webhook_max_retries", 0, 10), ("webhook_limit_per_tenant", 1, 500)],
)
def test_no_setting_leads_beyond_the_specification(name: str, least: int, most: int) -> None:
    bounds = Settings.model_fields[name].metadata
    assert [bound.ge for bound in bounds if isinstance(bound, Ge)] == [least]
    assert [bound.le for bound in bounds if isinstance(bound, Le)] == [most]
