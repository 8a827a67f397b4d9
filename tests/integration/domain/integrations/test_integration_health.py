"""Watching integrations: rounds, suspensions, probes, alerts, reports."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from domain.core.paging import PageRequest
from domain.integrations.credentials import CredentialService
from domain.integrations.health import HealthMonitor
from domain.integrations.health_history import IntegrationHistory
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import HealthStatus, IntegrationStatus, LogLevel, SuspensionCause
from domain.integrations.ports import LogFilter
from domain.journal.occurrences import OccurrenceSender
from domain.providers.contract import ProviderFailure
from tests.worlds.integration_world import GOOD_KEY, Gate, IntegrationWorld, down

S, H = IntegrationStatus, HealthStatus
DOWN = ProviderFailure("unavailable", "No answer.")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntegrationWorld]:
    made = IntegrationWorld(tmp_path)
    yield made
    made.close()


async def test_a_round_checks_every_enabled_active_integration_and_no_other__BR_IM_03_UC_IM_04(
    world: IntegrationWorld,
) -> None:
    active = await world.create("REST", name="a")
    await world.create("REST", name="b", isEnabled=False)
    await world.create("REST", name="c", activate=False)
    world.api.calls.clear()
    await world.check()
    assert world.api.calls == ["probe"]
    stored = world.now(active)
    assert (stored.health_status, stored.last_health_check) == (H.Healthy, world.clock.now())
    assert stored.version == active.integration.version


async def test_no_more_are_in_flight_than_allowed(world: IntegrationWorld) -> None:
    for number in range(25):
        await world.create("REST", name=f"a{number}")
    world.api.most_in_flight, world.api.gate = 0, Gate()
    running = asyncio.create_task(world.check())
    await world.api.gate.reached_by(10)
    world.api.gate.open()
    await running
    assert world.api.most_in_flight == 10 and world.api.calls.count("probe") == 25


async def test_a_run_that_is_repeated_at_once_checks_nothing_twice(world: IntegrationWorld) -> None:
    await world.create("REST")
    await world.check()
    await world.hub.use(HealthMonitor).check_due()
    assert world.api.calls.count("probe") == 1


async def test_three_failures_in_a_row_alert_once_and_recovery_again__BR_IM_04(
    world: IntegrationWorld,
) -> None:
    created = await world.create("REST")
    await world.check(12)
    world.api.failure = DOWN
    await world.check(2)
    assert world.alerts() == []
    await world.check(4)
    assert [alert["kind"] for alert in world.alerts()] == ["integration-unhealthy"]
    assert world.alerts()[0]["data"]["integrationId"] == str(created.integration.integration_id)
    assert world.now(created).health_status == H.Unhealthy and world.now(created).consecutive_failures == 6
    world.api.failure = None
    await world.check(20)
    assert [alert["kind"] for alert in world.alerts()][1:] == ["integration-recovered"]
    assert world.now(created).health_status == H.Healthy


async def test_flapping_is_one_warning_until_it_is_well_again__12_3(world: IntegrationWorld) -> None:
    await world.create("REST")
    for _ in range(8):
        world.api.failure = None
        await world.check(2)
        world.api.failure = DOWN
        await world.check(1)
    [alert] = world.alerts()
    assert (alert["kind"], alert["data"]["healthStatus"]) == ("integration-degraded", "Degraded")
    assert alert["data"]["detail"].startswith("3 of the last 9 checks failed. ")
    world.api.failure = None
    await world.check(12)
    world.api.failure = DOWN
    await world.check(2)
    assert world.alerts() == [alert], "two failures within an hour are none"


async def test_the_log_has_one_row_for_each_change_not_for_each_check(world: IntegrationWorld) -> None:
    created = await world.create("REST")
    before = len(world.logs(created))
    await world.check(10)
    world.api.failure = DOWN
    await world.check(10)
    new = world.logs(created)[:-before]
    assert [log.log_level for log in new] == [LogLevel.Error, LogLevel.Warning, LogLevel.Information]
    changes = [
        (event["previousHealthStatus"], event["healthStatus"])
        for event in world.raised("IntegrationHealthChanged")
    ]
    assert changes == [("Unknown", "Healthy"), ("Healthy", "Degraded"), ("Degraded", "Unhealthy")]


async def test_refused_credentials_suspend_at_once_with_an_alert__11_1(world: IntegrationWorld) -> None:
    created = await world.create("REST")
    world.api.accepts = set()
    await world.check()
    stored = world.now(created)
    assert (stored.status, stored.suspension) == (S.Suspended, SuspensionCause.Authentication)
    assert stored.reason == "The provider refused the credentials: No such key."
    assert [alert["kind"] for alert in world.alerts()] == ["integration-suspended"]
    assert world.logs(created)[0].log_level == LogLevel.Critical
    assert world.raised("IntegrationStatusChanged")[-1]["status"] == "Suspended"


async def test_a_suspended_one_is_probed_ever_more_seldom_and_resumes_when_accepted(
    world: IntegrationWorld,
) -> None:
    created = await world.create("REST")
    world.api.accepts = set()
    await world.check(1 + 24)  # two hours
    probes = world.api.calls.count("probe")
    assert 3 <= probes <= 6
    assert [alert["kind"] for alert in world.alerts()] == ["integration-suspended"]
    world.api.accepts = {GOOD_KEY}
    await world.check(80)
    assert world.now(created).status == S.Active and world.now(created).suspension is None
    assert [alert["kind"] for alert in world.alerts()] == ["integration-suspended", "integration-recovered"]


async def test_one_whose_place_was_taken_meanwhile_stays_suspended__BR_IM_01(world: IntegrationWorld) -> None:
    first = await world.create("Stripe")
    world.stripe.accepts = set()
    await world.check()
    world.stripe.accepts = {GOOD_KEY}
    await world.create("Stripe", name="Second")
    await world.check(4)
    stored = world.now(first)
    assert stored.status == S.Suspended and stored.probe_after is None
    assert stored.reason is not None and "only one may be" in stored.reason


async def test_one_suspended_by_a_person_is_left_alone(world: IntegrationWorld) -> None:
    from domain.integrations.commands import SuspendIntegration

    created = await world.create("REST")
    world.hub.use(Lifecycle).suspend(
        world.principal, created.integration.integration_id, SuspendIntegration()
    )
    world.api.calls.clear()
    await world.check(20)
    assert world.api.calls == [] and world.now(created).status == S.Suspended


async def test_a_revoked_grant_suspends_until_it_is_given_again(world: IntegrationWorld) -> None:
    from tests.worlds.builders import USER

    created = await world.create("Google", activate=False)
    world.tokens[created.integration.integration_id] = "token"
    await world.activate(created.integration)
    world.google.failure = ProviderFailure("unauthorized", "The grant was revoked.", of_grant=True)
    await world.check(20)
    stored = world.now(created)
    assert (stored.suspension, stored.probe_after) == (SuspensionCause.Grant, None)
    assert world.google.calls.count("probe") == 1
    assert world.raised("CalendarSyncDisabled")[0]["disabledBy"] is None
    assert stored.created_by == USER


async def test_a_missing_permission_is_an_error_after_three_checks__BR_IM_05(world: IntegrationWorld) -> None:
    created = await world.create("REST")
    world.api.failure = ProviderFailure("forbidden", "The key may not read.")
    await world.check(2)
    assert world.now(created).status == S.Active
    await world.check()
    assert (world.now(created).status, world.now(created).reason) == (S.Error, "The key may not read.")
    assert [alert["kind"] for alert in world.alerts()] == ["integration-error"]


async def test_being_asked_to_wait_is_degraded_and_alerts_once_after_30_minutes(
    world: IntegrationWorld,
) -> None:
    created = await world.create("REST")
    await world.check(12)
    world.api.failure = ProviderFailure("rate_limited", "The provider answered 429: Slow down.")
    await world.check()
    stored = world.now(created)
    assert (stored.status, stored.health_status, stored.consecutive_failures) == (S.Active, H.Degraded, 0)
    assert world.logs(created)[0].message.endswith("It asks to wait. The provider answered 429: Slow down.")
    await world.check(5)
    assert world.alerts() == []
    await world.check()
    [alert] = world.alerts()
    assert alert["kind"] == "integration-degraded"
    assert "asked to wait" in alert["data"]["detail"] and "Slow down." in alert["data"]["detail"]
    await world.check(20)
    assert len(world.alerts()) == 1 and world.now(created).health_status == H.Degraded
    world.api.failure = None
    await world.check(11)
    assert world.now(created).health_status == H.Healthy, "nine in ten of the last hour succeeded"
    assert len(world.alerts()) == 1


async def test_a_request_to_wait_neither_ends_nor_adds_to_a_row_of_failures(world: IntegrationWorld) -> None:
    created = await world.create("REST")
    down = ProviderFailure("unavailable", "No answer.")
    for failure in (down, down, ProviderFailure("rate_limited", "Slow down."), down):
        assert world.now(created).health_status != H.Unhealthy
        world.api.failure = failure
        await world.check()
    assert world.now(created).health_status == H.Unhealthy


async def test_checks_answered_by_a_request_to_wait_count_in_the_success_rate(
    world: IntegrationWorld,
) -> None:
    created = await world.create("REST")
    await world.check(3)
    world.api.failure = ProviderFailure("rate_limited", "Slow down.")
    await world.check()
    report = world.hub.use(IntegrationHistory).health(world.principal, created.integration.integration_id)
    assert report.windows["1h"].success_rate == 0.75


async def test_a_result_of_credentials_that_were_replaced_meanwhile_is_dropped(
    world: IntegrationWorld,
) -> None:
    from domain.integrations.commands import RotateCredentials
    from tests.worlds.integration_world import OTHER_KEY

    created = await world.create("REST")
    check = await world.hub.use(HealthMonitor).check(world.now(created))
    old = world.now(created)
    world.api.accepts = {OTHER_KEY}
    await world.hub.use(CredentialService).rotate(
        world.principal, old.integration_id, RotateCredentials(credentials={"apiKey": OTHER_KEY})
    )
    assert not world.hub.use(Lifecycle).authentication_failed(old, "Old key.")
    assert check.failure is None and world.now(created).status == S.Active


async def test_a_secret_store_that_is_down_says_nothing_about_an_integration(world: IntegrationWorld) -> None:
    created = await world.create("REST")
    await world.check()
    world.secrets.fail = down
    await world.check(4)
    world.secrets.fail = lambda operation, name: None
    assert (world.now(created).health_status, world.alerts()) == (H.Healthy, [])


async def test_a_probe_that_hangs_counts_as_unavailable(world: IntegrationWorld) -> None:
    created = await world.create("REST")
    world.api.gate = Gate()
    world.hub.use(HealthMonitor)._probe_seconds = 0.05
    check = await world.hub.use(HealthMonitor).check(world.now(created))
    assert check.failure is not None and check.failure.kind == "unavailable"


async def test_an_alert_survives_a_queue_that_is_down(world: IntegrationWorld) -> None:
    await world.create("REST")
    world.api.accepts = set()
    world.queue.down = True
    await world.check()
    assert world.alerts() == [] and len(world.rows("SELECT 1 FROM PendingAlerts")) == 1
    world.queue.down = False
    assert world.hub.use(OccurrenceSender).flush() == 1
    assert [alert["kind"] for alert in world.alerts()] == ["integration-suspended"]
    assert world.hub.use(OccurrenceSender).flush() == 0


async def test_the_report_shows_rates_and_percentiles_over_an_hour_a_day_and_a_week(
    world: IntegrationWorld,
) -> None:
    created = await world.create("REST")
    await world.check(20)
    world.api.failure = DOWN
    await world.check(4)
    report = world.hub.use(IntegrationHistory).health(world.principal, created.integration.integration_id)
    hour, day = report.windows["1h"], report.windows["24h"]
    assert (hour.checks, day.checks, report.windows["7d"].checks) == (13, 24, 24)
    assert hour.success_rate == round(9 / 13, 4) and day.success_rate == round(20 / 24, 4)
    assert day.p50_ms is not None and day.p99_ms is not None and day.p50_ms <= day.p99_ms
    assert len(report.last_checks) == 20 and report.last_checks[0].failure == "unavailable"
    assert report.last_checks[0].at > report.last_checks[-1].at
    assert report.integration.consecutive_failures == 4


async def test_logs_and_samples_are_forgotten_after_their_retention__17_2(world: IntegrationWorld) -> None:
    created = await world.create("REST")
    await world.check(3)
    assert world.hub.use(IntegrationHistory).forget_old() == (0, 0)
    world.clock.advance(days=9)
    assert world.hub.use(IntegrationHistory).forget_old() == (0, 3)
    world.clock.advance(days=82)
    assert world.hub.use(IntegrationHistory).forget_old()[0] > 0 and world.logs(created) == []


async def test_logs_are_filtered_by_level_time_and_text(world: IntegrationWorld) -> None:
    created = await world.create("REST")
    world.api.accepts = set()
    await world.check()

    def messages(**filter_: object) -> list[str]:
        chosen = LogFilter(**filter_)  # type: ignore[arg-type]
        id_ = created.integration.integration_id
        return [
            log.message
            for log in world.hub.use(IntegrationHistory)
            .logs(world.principal, id_, chosen, PageRequest())
            .items
        ]

    assert len(messages(levels=[LogLevel.Critical])) == 1
    assert len(messages(text="refused the")) == 1
    assert messages(since=world.clock.now() + timedelta(seconds=1)) == []
    assert len(messages(until=world.clock.now())) == len(messages()) - 1
