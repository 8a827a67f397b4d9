"""When an alert ends: what counts as evidence, what does not, and when it is the same alert again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.integrations.model import HealthStatus, IntegrationStatus, SuspensionCause
from domain.monitoring.alerts.model import (
    Alert,
    AlertFinding,
    AlertKind,
    AlertStatus,
    ClosedAs,
    Severity,
)
from domain.monitoring.alerts.ports import EndedJob, IntegrationStanding, WebhookStanding
from domain.monitoring.alerts.recovery import Standing, end_of, reopened, reopens
from domain.monitoring.alerts.rules import RULES
from domain.monitoring.alerts.standing import (
    attempts_standing,
    disabled_standing,
    held_standing,
    integration_standing,
    sync_standing,
)
from domain.sync.model import SyncStatus
from domain.webhooks.model import WebhookState

SEEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULE = RULES[AlertKind.WebhookFailureRate]
ALERT = Alert(
    UUID(int=1), UUID(int=2), RULE.kind, str(UUID(int=3)), Severity.Warning, "Fails.", "{}", SEEN, SEEN
)


def after(**amount: float) -> datetime:
    return SEEN + timedelta(**amount)


def ended(standing: Standing, now: datetime, *, alert: Alert = ALERT) -> str | None:
    closing = end_of(RULE, alert, standing, now)
    return closing.closed_as.value if closing else None


@pytest.mark.parametrize(
    ("standing", "minutes", "how"),
    [
        (Standing(successes=2), 60, None),
        (Standing(successes=3), 4.99, None),  # too soon
        (Standing(successes=3), 5, "recovered"),
        (Standing(successes=3, failed_at=after(minutes=56)), 60, None),
        (Standing(successes=3, failed_at=after(minutes=55)), 60, "recovered"),
        (Standing(removed="Gone."), 4.99, None),
        (Standing(removed="Gone."), 5, "recovered"),
        (Standing(removed="Gone.", is_gone=True), 0, "recovered"),
        (Standing(), 7 * 1440 - 0.01, None),
        (Standing(), 7 * 1440, "noTraffic"),
        (Standing(successes=2), 7 * 1440, "noTraffic"),
        (Standing(stands=True), 90 * 1440, None),
        (Standing(active_at=after(days=1)), 7 * 1440, None),
        (Standing(failed_at=after(days=1)), 8 * 1440 - 0.01, None),
        (Standing(active_at=after(days=1)), 8 * 1440, "noTraffic"),
    ],
)
def test_an_alert_ends_by_evidence_and_silence_is_none(
    standing: Standing, minutes: float, how: str | None
) -> None:
    assert ended(standing, after(minutes=minutes)) == how


def test_one_that_came_back_must_be_quiet_for_an_hour() -> None:
    again = replace(ALERT, reopenings=1)
    for standing in (Standing(successes=3), Standing(removed="Gone.")):
        assert ended(standing, after(minutes=59.9), alert=again) is None
        assert ended(standing, after(minutes=60), alert=again) == "recovered"


def test_a_rule_that_is_switched_off_ends_it_at_once_and_not_as_recovered() -> None:
    closing = end_of(replace(RULE, is_enabled=False), ALERT, Standing(successes=9), after(days=1))
    assert closing is not None
    assert closing.closed_as is ClosedAs.RuleSwitchedOff


def test_a_recovery_says_what_changed() -> None:
    standing = Standing(successes=1_204, what="health checks in a row succeeded", since=after(minutes=7))
    closing = end_of(RULE, ALERT, standing, after(minutes=90))
    assert closing is not None
    assert closing.reason == "1,204 health checks in a row succeeded since 2026-03-01 12:07 UTC."


@pytest.mark.parametrize(
    ("kind", "closed_as", "minutes", "same"),
    [
        (AlertKind.WebhookFailureRate, ClosedAs.Recovered, 60, True),
        (AlertKind.WebhookFailureRate, ClosedAs.Recovered, 60.1, False),
        (AlertKind.SyncFailed, ClosedAs.Recovered, 1440, True),
        (AlertKind.SyncFailed, ClosedAs.Recovered, 1440.1, False),
        (AlertKind.WebhookFailureRate, ClosedAs.NoTraffic, 1, False),
        (AlertKind.WebhookFailureRate, ClosedAs.Resolved, 1, False),
        (AlertKind.WebhookFailureRate, ClosedAs.RuleSwitchedOff, 1, False),
    ],
)
def test_what_comes_back_soon_after_a_recovery_is_the_same_alert(
    kind: AlertKind, closed_as: ClosedAs, minutes: float, same: bool
) -> None:
    over = replace(ALERT, kind=kind, recovered_at=SEEN, closed_as=closed_as)
    assert reopens(RULES[kind], over, after(minutes=minutes)) is same


def test_it_goes_on_with_whoever_looks_after_it() -> None:
    over = replace(ALERT, status=AlertStatus.Recovered, recovered_at=SEEN, acknowledged_at=SEEN, successes=3)
    finding = AlertFinding(ALERT.tenant_id, ALERT.kind, ALERT.subject, "Again.", after(minutes=1))
    again = reopened(over, finding, Severity.Critical, "{}")
    assert (again.status, again.occurrences, again.reopenings) == (AlertStatus.Acknowledged, 2, 1)
    assert (again.recovered_at, again.successes, again.last_seen_at) == (None, 0, after(minutes=1))
    assert reopened(replace(over, acknowledged_at=None), finding, Severity.Critical, "{}").status == 0


def webhook(state: WebhookState = WebhookState.Active) -> WebhookStanding:
    return WebhookStanding("https://shop.example/x", state, 3, SEEN, SEEN, SEEN)


def test_the_successes_of_a_webhook_are_those_after_its_last_failure() -> None:
    standing = attempts_standing(webhook())
    assert (standing.successes, standing.since, standing.failed_at) == (3, SEEN, SEEN)
    assert standing.what == "attempts to deliver to shop.example in a row succeeded"
    assert attempts_standing(None).is_gone


@pytest.mark.parametrize(
    ("state", "disabled_is_over", "held_is_over"),
    [
        (WebhookState.Active, True, True),
        (WebhookState.Paused, True, False),
        (WebhookState.Disabled, False, False),
        (WebhookState.PendingVerification, True, False),
        (None, True, True),
    ],
)
def test_the_state_of_a_webhook_tells_whether_it_is_over(
    state: WebhookState | None, disabled_is_over: bool, held_is_over: bool
) -> None:
    found = None if state is None else webhook(state)
    assert (disabled_standing(found).removed is not None) is disabled_is_over
    assert disabled_standing(found).stands is (state == WebhookState.Disabled)
    assert (held_standing(found).removed is not None) is held_is_over


def integration(
    recent: list[int | None], status: IntegrationStatus = IntegrationStatus.Active, **fields: Any
) -> IntegrationStanding:
    vitals = {"recent": recent, "baseline_ms": 100.0, "baseline_of": 12, "consecutive_failures": 0}
    made = IntegrationStanding(
        status, None, True, HealthStatus.Degraded, json.dumps(vitals), after(days=-9), after(days=1)
    )
    return replace(made, **fields)


UNHEALTHY = {"status": "Active", "healthStatus": "Unhealthy"}
DEGRADED = {"status": "Active", "healthStatus": "Degraded"}
SUSPENDED = {"status": "Suspended", "healthStatus": "Unhealthy"}


@pytest.mark.parametrize(
    ("was", "found", "successes", "removed", "stands"),
    [
        (UNHEALTHY, integration([None, None, None, 90, 90]), 2, False, True),
        (UNHEALTHY, integration([None, None, None, 90, 90, 90]), 3, False, True),
        (UNHEALTHY, integration([90, 90, 90, None]), 0, False, True),
        (UNHEALTHY, integration([90, 90, -1]), 0, False, True),  # asked to wait
        (UNHEALTHY, integration([90, 2000, 2000, 2000]), 0, False, True),  # up, and of no use
        (UNHEALTHY, integration([90] * 3, is_enabled=False), 3, False, False),
        (UNHEALTHY, integration([90] * 3, health=HealthStatus.Healthy), 3, False, False),
        (DEGRADED, integration([None, None, None, 90, 90, 90]), 0, False, True),  # still flaps
        (DEGRADED, integration([None, None, *[90] * 7]), 7, False, True),
        (SUSPENDED, integration([90]), 1, False, True),  # a probe was accepted
        (SUSPENDED, integration([90], validated_at=after(minutes=1)), 0, True, False),
        (UNHEALTHY, integration([90], validated_at=after(minutes=1)), 1, False, True),
        (SUSPENDED, integration([], IntegrationStatus.Suspended), 0, False, True),
        (
            SUSPENDED,
            integration([], IntegrationStatus.Suspended, suspension=SuspensionCause.Manual),
            0,
            False,
            False,
        ),
        (SUSPENDED, integration([], IntegrationStatus.Error), 0, False, True),
        (SUSPENDED, integration([90] * 3, IntegrationStatus.Draft), 0, False, False),
        (UNHEALTHY, integration([], IntegrationStatus.Disconnected), 0, True, False),
        (UNHEALTHY, None, 0, True, False),
    ],
)
def test_an_integration_shows_it_by_checks_in_a_row_or_by_a_validation(
    *,
    was: dict[str, str],
    found: IntegrationStanding | None,
    successes: int,
    removed: bool,
    stands: bool,
) -> None:
    standing = integration_standing(replace(ALERT, details=json.dumps(was)), found)
    assert (standing.successes, standing.removed is not None) == (successes, removed)
    assert standing.stands is stands


C, P, F, X = SyncStatus.Completed, SyncStatus.PartialSuccess, SyncStatus.Failed, SyncStatus.Cancelled


@pytest.mark.parametrize(
    ("statuses", "successes"),
    [
        ([], 0),
        ([C, P, C], 3),
        ([C, C, F, C], 1),
        ([C, X, C], 2),
        ([F], 0),
    ],
)
def test_a_failed_synchronisation_is_over_after_three_in_a_row(
    statuses: list[SyncStatus], successes: int
) -> None:
    jobs = [EndedJob(UUID(int=9), C, SEEN)]  # before it was seen
    jobs += [
        EndedJob(UUID(int=10 + number), status, after(hours=number + 1))
        for number, status in enumerate(statuses)
    ]
    assert sync_standing(ALERT, jobs, exists=True).successes == successes
    assert sync_standing(ALERT, jobs, exists=False).is_gone


def test_the_job_that_failed_and_was_resumed_to_its_end_is_enough() -> None:
    alert = replace(ALERT, details=json.dumps({"dataSyncJobId": str(UUID(int=9))}))
    itself = EndedJob(UUID(int=9), C, after(minutes=5))
    following = EndedJob(UUID(int=10), C, after(minutes=5), resumed_from=UUID(int=9))
    for job in (itself, following):
        standing = sync_standing(alert, [job], exists=True)
        assert standing.removed == "The job that failed was resumed and has completed."
    part = replace(following, status=F, goes_on=True)
    assert sync_standing(alert, [itself_before(itself), part], exists=True).successes == 1


def itself_before(job: EndedJob) -> EndedJob:
    """A job of which the alert does not tell, that ended a little earlier."""
    return replace(job, data_sync_job_id=UUID(int=8), completed_at=after(minutes=1))
