"""Alerts, from the occurrence to the messages to people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Unavailable,
    ValidationFailed,
)
from domain.core.paging import PageRequest
from domain.core.principal import Principal
from domain.integrations.commands import ActivateIntegration
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import IntegrationStatus, SuspensionCause
from domain.integrations.service import IntegrationNotifier
from domain.monitoring.alerts.evaluation import AlertEvaluator
from domain.monitoring.alerts.ledger import AlertLedger
from domain.monitoring.alerts.model import (
    Alert,
    AlertFilter,
    AlertKind,
    AlertStatus,
    ClosedAs,
    NotificationStatus,
    Severity,
)
from domain.monitoring.alerts.rules import RULES
from domain.monitoring.alerts.service import AcknowledgeAlert, AlertService, ChangeAlertRule, ResolveAlert
from domain.providers.contract import OutgoingMessage, ProviderFailure
from domain.webhooks.model import UpdateWebhook, WebhookState
from domain.webhooks.ports import Released
from tests.worlds.alert_world import HOOK, AlertWorld
from tests.worlds.builders import START, TENANT, USER
from tests.worlds.webhook_world import WebhookWorld

DISABLED = {"webhookId": str(HOOK), "reason": "The receiver answered 410 Gone."}
ABOUT = {"name": "Shop", "provider": "Stripe", "detail": "x"}
#: How each kind is raised whose subject can fall silent: of disabled webhooks and dead letters the state is seen.
HAPPENS: dict[str, tuple[str, dict[str, Any]]] = {
    "webhook-failure-rate": ("", {}),
    "integration-health": ("integration-degraded", {**ABOUT, "healthStatus": "Degraded"}),
    "sync-failed": ("sync-failed", ABOUT),
    "key-anomaly": (
        "key-anomaly",
        {"subjectType": "apikey", "metric": "new-network", "detail": "x"},
    ),
    "anomaly": ("anomaly", {"subjectType": "webhook", "metric": "error-rate", "detail": "x"}),
    "security-violation": ("security-violation", {"subject": "203.0.113.0/24", "detail": "x", "count": 50}),
    "unreadable-message": ("unreadable-message", {"subject": "domain-events", "detail": "x"}),
}
REFUSED = {"subject": "integration-1", "detail": "bad signature", "count": 25}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AlertWorld]:
    made = AlertWorld(tmp_path)
    yield made
    made.close()


# -- opening and repeating --------------------------------------------------------------------------------


def test_what_happens_again_is_one_alert_that_counts(world: AlertWorld) -> None:
    for _ in range(3):
        world.happen("security-violation", REFUSED)
        world.clock.advance(minutes=1)
    [alert] = world.listed()
    assert (alert.kind, alert.subject, alert.occurrences) == ("security-violation", "integration-1", 3)
    assert (alert.last_seen_at - alert.opened_at).total_seconds() == 120
    assert len(world.raised("AlertRaised")) == 1


def test_a_message_that_comes_twice_counts_once(world: AlertWorld) -> None:
    body = world.happen("security-violation", REFUSED)
    world.intake.receive([(body, "m-1"), (body, "m-1")])
    assert [alert.occurrences for alert in world.listed()] == [1]


def test_a_message_that_comes_after_the_end_opens_nothing(world: AlertWorld) -> None:
    body = world.happen("webhook-disabled", DISABLED)
    assert world.evaluator.evaluate() == (0, 1)
    world.intake.receive([(body, "m-1")])
    assert [alert.status for alert in world.listed()] == [AlertStatus.Recovered]


def test_long_after_a_recovery_the_next_is_a_new_alert(world: AlertWorld) -> None:
    world.happen("webhook-disabled", DISABLED)
    world.evaluator.evaluate()
    world.clock.advance(minutes=61)
    world.happen("webhook-disabled", DISABLED)
    first, second = world.listed()
    assert (first.status, second.status) == (AlertStatus.Open, AlertStatus.Recovered)
    assert first.alert_id != second.alert_id


def test_a_degraded_integration_that_gets_worse_is_one_alert_that_gets_worse(world: AlertWorld) -> None:
    about = {"integrationId": str(UUID(int=8)), "name": "Shop", "provider": "Stripe", "detail": "x"}
    for source in ("integration-degraded", "integration-unhealthy", "integration-degraded"):
        world.happen(source, about)
        world.clock.advance(minutes=1)
    assert [(alert.severity, alert.occurrences) for alert in world.listed()] == [(Severity.Critical, 3)]


def test_too_few_refusals_are_no_alert(world: AlertWorld) -> None:
    world.happen("security-violation", {**REFUSED, "count": 9})
    assert world.listed() == []


@pytest.mark.parametrize(
    "body",
    ["no JSON", "[]", "{}", '{"kind":"webhook-disabled","tenantId":"x"}', "[" * 100_000],
)
def test_a_message_that_is_no_occurrence_is_an_alert_of_the_platform_and_the_others_go_on(
    world: AlertWorld, body: str
) -> None:
    good = world.happen("key-anomaly", {"subject": "key", "detail": "odd"})
    assert world.intake.receive([(body, "m-2"), (good, "m-3")]) == 1
    [alert] = world.listed(platform=True)
    assert (alert.kind, alert.subject) == (AlertKind.UnreadableMessage, "alerts")
    assert "m-2" in alert.summary
    assert [event["kind"] for event in world.raised("AlertRaised")] == ["key-anomaly"]


def test_realtime_clients_are_told(world: AlertWorld) -> None:
    world.happen("security-violation", REFUSED)
    [alert] = world.listed()
    [heard] = [payload for _, kind, payload in _heard(world) if kind == "alertChanged"]
    assert (heard["alertId"], heard["status"]) == (str(alert.alert_id), "Open")


def _heard(world: AlertWorld) -> list[tuple[UUID, str, dict[str, object]]]:
    return [
        (tenant, kind, dict(payload))
        for tenant, kind, payloads in world.realtime.messages
        for payload in payloads
    ]


# -- evaluation -------------------------------------------------------------------------------------------


def test_a_failing_webhook_is_named_by_its_host(world: AlertWorld) -> None:
    world.webhook()
    world.attempts(HOOK, 500, 1_500)
    assert world.evaluator.evaluate() == (1, 0)
    expected = "75% of 2,000 attempts to deliver to shop.example failed within the last hour."
    assert world.listed()[0].summary == expected


def test_a_webhook_that_is_deleted_fails_no_more(world: AlertWorld) -> None:
    world.attempts(HOOK, 0, 20)
    assert world.evaluator.evaluate() == (0, 0)


def test_a_failing_webhook_recovers_by_three_successes_in_a_row__12_3(world: AlertWorld) -> None:
    world.webhook()
    world.attempts(HOOK, 0, 12)
    assert world.evaluator.evaluate() == (1, 0)
    [alert] = world.listed()
    world.clock.advance(minutes=2)
    world.attempts(HOOK, 2, 0)
    world.clock.advance(minutes=10)
    assert world.evaluator.evaluate() == (0, 0), "two successes show nothing yet"
    world.attempts(HOOK, 1, 0)
    assert world.evaluator.evaluate() == (0, 1)
    [event] = world.raised("AlertRecovered")
    reason = "3 attempts to deliver to shop.example in a row succeeded since 2026-03-01 09:02 UTC."
    assert (event["alertId"], event["reason"]) == (str(alert.alert_id), reason)
    assert (event["closedAs"], world.listed()[0].recovery) == ("recovered", reason)
    world.clock.advance(minutes=1)
    assert world.evaluator.evaluate() == (0, 0), "what failed before opens nothing again"


def test_a_failure_between_the_successes_takes_the_evidence_away(world: AlertWorld) -> None:
    world.webhook()
    world.attempts(HOOK, 0, 12)
    world.evaluator.evaluate()
    for _ in range(4):
        world.clock.advance(minutes=6)
        world.attempts(HOOK, 2, 1)
        assert world.evaluator.evaluate() == (0, 0)


def test_few_failures_among_much_traffic_do_not_keep_an_alert_open(world: AlertWorld) -> None:
    world.webhook()
    world.attempts(HOOK, 70, 30)
    world.evaluator.evaluate()
    world.clock.advance(minutes=6)
    world.attempts(HOOK, 99, 1)  # 15% of the hour: neither raised nor over
    assert world.evaluator.evaluate() == (0, 0)
    world.attempts(HOOK, 199, 1)
    assert world.evaluator.evaluate() == (0, 1)


def test_a_webhook_that_flaps_has_one_alert(world: AlertWorld) -> None:
    world.webhook()
    for _ in range(4):
        world.attempts(HOOK, 0, 30)
        world.evaluator.evaluate()
        world.clock.advance(minutes=6)
        world.attempts(HOOK, 4, 0)
        world.evaluator.evaluate()
        world.clock.advance(minutes=1)
    [alert] = world.listed()
    assert (alert.status, alert.reopenings) == (AlertStatus.Open, 1)
    assert [event["reopenings"] for event in world.raised("AlertRaised")] == [0, 1]
    assert len(world.raised("AlertRecovered")) == 1, "one that came back must be quiet for an hour"
    world.clock.advance(minutes=60)
    assert world.evaluator.evaluate() == (0, 1)
    assert len({event["alertId"] for event in world.raised("AlertRecovered")}) == 1
    assert len(world.raised("AlertRecovered")) == 2


def test_what_the_evaluation_raises_is_a_line_of_the_log_as_every_occurrence_is(
    world: AlertWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.webhook()
    world.attempts(HOOK, 0, 10)
    for _ in range(2):
        assert world.evaluator.evaluate()[1] == 0
    [line] = [record for record in caplog.records if record.getMessage() == "alert"]
    alert = line.alert  # type: ignore[attr-defined]
    assert (alert["kind"], alert["tenantId"]) == ("webhook-failure-rate", str(world.principal.tenant_id))
    assert alert["data"]["subject"] == str(HOOK)
    assert (
        alert["data"]["detail"]
        == "100% of 10 attempts to deliver to shop.example failed within the last hour."
    )


def test_too_little_traffic_raises_nothing_and_its_end_is_no_recovery(world: AlertWorld) -> None:
    world.webhook()
    world.attempts(HOOK, 0, 9)
    assert world.evaluator.evaluate() == (0, 0)
    world.attempts(HOOK, 0, 1)
    assert world.evaluator.evaluate() == (1, 0)
    world.clock.advance(hours=2)
    assert world.evaluator.evaluate() == (0, 0)
    world.attempts(HOOK, 0, 1)  # still failing, too seldom for a rate
    world.clock.advance(days=6, hours=23)
    assert world.evaluator.evaluate() == (0, 0), "it was tried within the seven days"


def test_compacted_signals_count_as_fresh_ones_do(world: AlertWorld) -> None:
    world.webhook()
    world.attempts(HOOK, 5, 5)
    with world.transactions.write() as tx:
        tx.signals.compact(10)
        tx.commit()
    world.attempts(HOOK, 0, 10)
    assert world.evaluator.evaluate() == (1, 0)
    assert json.loads(world.listed()[0].details) == {"attempts": 20, "failureRate": 0.75}


def test_the_tenants_own_threshold_holds(world: AlertWorld) -> None:
    world.webhook()
    world.rule("webhook-failure-rate", threshold=0.5, minimumVolume=50)
    world.attempts(HOOK, 60, 40)
    assert world.evaluator.evaluate() == (0, 0)
    world.attempts(HOOK, 0, 60)
    assert world.evaluator.evaluate() == (1, 0)
    world.rule("webhook-failure-rate", isEnabled=False)
    world.clock.advance(minutes=6)
    assert world.evaluator.evaluate() == (0, 1)
    [alert] = world.listed()
    assert (alert.status, alert.closed_as) == (AlertStatus.Closed, ClosedAs.RuleSwitchedOff)
    assert (world.raised("AlertRecovered"), alert.recovery) == ([], "The rule was switched off.")


async def test_an_integration_recovers_by_three_checks_in_a_row__BR_IM_04(world: AlertWorld) -> None:
    created = await world.create()
    world.stripe.failure = ProviderFailure("unavailable", "Down.")
    await world.check(3)
    assert world.take_sent() == 1
    [alert] = world.listed()
    assert (alert.kind, alert.severity) == (AlertKind.IntegrationHealth, Severity.Critical)
    assert alert.subject == str(created.integration.integration_id)
    world.clock.advance(minutes=10)
    assert world.evaluator.evaluate() == (0, 0)
    world.stripe.failure = None
    await world.check(2)
    assert world.evaluator.evaluate() == (0, 0)
    await world.check(1)
    assert world.evaluator.evaluate() == (0, 1)
    assert world.listed()[0].recovery == "3 health checks in a row succeeded."


async def test_a_suspended_integration_is_over_once_its_credentials_are_validated_again(
    world: AlertWorld,
) -> None:
    created = await world.create()
    world.stripe.failure = ProviderFailure("unauthorized", "No such key.", status=401)
    await world.check(1)
    world.take_sent()
    world.clock.advance(days=8)
    assert world.evaluator.evaluate() == (0, 0), "suspended is a state, and no silence"
    world.stripe.failure = None
    await world.hub.use(Lifecycle).activate(
        world.principal, created.integration.integration_id, ActivateIntegration()
    )
    assert world.evaluator.evaluate() == (0, 1)
    [alert] = world.listed()
    assert (alert.status, alert.recovery) == (
        AlertStatus.Recovered,
        "It was validated and is active again: the provider accepts its credentials.",
    )


@pytest.mark.parametrize(
    ("state", "recovery"),
    [
        (None, "The webhook was deleted."),
        (WebhookState.Active, "The webhook was enabled again."),
        (WebhookState.Paused, "The webhook is no longer disabled: its state is Paused."),
    ],
)
def test_a_disabled_webhook_is_over_when_it_is_gone_or_enabled_again(
    world: AlertWorld, state: WebhookState | None, recovery: str
) -> None:
    if state is not None:
        world.webhook(state=state)
    world.happen("webhook-disabled", DISABLED)
    assert [alert.status for alert in world.listed()] == [AlertStatus.Open]
    assert world.evaluator.evaluate() == (0, 1)
    assert world.listed()[0].recovery == recovery


def test_a_webhook_that_stays_disabled_is_not_silent(world: AlertWorld) -> None:
    world.webhook(state=WebhookState.Disabled)
    world.happen("webhook-disabled", DISABLED)
    world.clock.advance(days=30)
    assert world.evaluator.evaluate() == (0, 0)


async def test_an_hour_before_held_deliveries_expire_somebody_is_told_how_many(tmp_path: Path) -> None:
    pipeline = WebhookWorld(tmp_path)
    evaluator, alerts = pipeline.hub.use(AlertEvaluator), pipeline.hub.use(AlertService)

    def listed() -> list[Alert]:
        return list(alerts.page(pipeline.principal, AlertFilter(), PageRequest(), platform=False).items)

    webhook_id = (await pipeline.webhook("BookingConfirmed")).webhook.webhook_id
    await pipeline.service.update(pipeline.principal, webhook_id, UpdateWebhook(is_active=False), None)
    for _ in range(3):
        pipeline.raise_event()
        await pipeline.settle()
        pipeline.clock.advance(minutes=50)
    pipeline.clock.move_to(START + timedelta(hours=22, minutes=59))
    assert evaluator.evaluate() == (0, 0)
    pipeline.clock.advance(minutes=1)
    assert evaluator.evaluate() == (1, 0)
    [alert] = listed()
    assert (alert.kind, alert.subject) == ("held-deliveries", str(webhook_id))
    assert alert.summary == (
        "receiver.example is not active and holds 3 deliveries, the first until 2026-03-02 09:00 UTC."
    )
    pipeline.clock.advance(minutes=61)
    assert evaluator.evaluate() == (0, 0), "the next two expire within the hour"
    resumed = await pipeline.service.update(
        pipeline.principal, webhook_id, UpdateWebhook(is_active=True), None
    )
    assert resumed.released == Released(sent=2, waiting_for_replay=1)
    pipeline.clock.advance(minutes=5)
    assert evaluator.evaluate() == (0, 1)
    assert listed()[0].recovery == "The webhook is active again, so what it held is sent."
    pipeline.close()


def test_dead_letters_are_the_platforms_and_over_when_they_are_gone(world: AlertWorld) -> None:
    world.queue.dead = {"webhook-deliveries": 3}
    assert world.evaluator.evaluate() == (1, 0)
    [alert] = world.listed(platform=True)
    assert (alert.subject, world.listed()) == ("webhook-deliveries", [])
    world.queue.down = True
    world.clock.advance(minutes=10)
    assert world.evaluator.evaluate() == (0, 0)
    world.queue.down, world.queue.dead = False, {}
    assert world.evaluator.evaluate() == (0, 1)


def test_old_alerts_are_forgotten_and_active_ones_kept(world: AlertWorld) -> None:
    world.happen("webhook-disabled", DISABLED)
    world.evaluator.evaluate()
    world.happen("key-anomaly", {"subject": "key", "detail": "odd"})
    world.clock.advance(days=91)
    assert world.evaluator.forget_old() == 1
    assert [alert.kind for alert in world.listed()] == [AlertKind.KeyAnomaly]


def test_every_old_alert_is_forgotten(world: AlertWorld) -> None:
    for number in range(5):
        world.happen("webhook-disabled", {**DISABLED, "webhookId": str(UUID(int=number + 1))})
    world.evaluator.evaluate()
    world.clock.advance(days=91)
    assert world.evaluator.forget_old() == 5


# -- people -----------------------------------------------------------------------------------------------


async def mail_sink(world: AlertWorld, kind: str = "security-violation") -> UUID:
    created = await world.create("SendGrid", name="Mail")
    id_ = created.integration.integration_id
    world.rule(kind, sinks=[{"integrationId": str(id_), "recipients": ["ops@a.example", "b@a.example"]}])
    return id_


async def test_each_recipient_is_told_once_of_each_change(world: AlertWorld) -> None:
    id_ = await mail_sink(world, "webhook-disabled")
    for _ in range(3):
        world.happen("webhook-disabled", DISABLED)
        world.clock.advance(seconds=30)
    assert await world.notifications.send_due() == {NotificationStatus.Sent: 2}
    assert await world.notifications.send_due() == {}
    assert {(integration_id, message.recipient) for integration_id, message in world.sent} == {
        (id_, "ops@a.example"),
        (id_, "b@a.example"),
    }
    world.evaluator.evaluate()
    assert await world.notifications.send_due() == {NotificationStatus.Sent: 2}
    assert [message.subject.split("]")[0] for _, message in world.sent[2:]] == ["[Recovered"] * 2
    world.clock.advance(minutes=10)
    world.happen("webhook-disabled", DISABLED)
    assert await world.notifications.send_due() == {NotificationStatus.Sent: 2}
    assert {message.text.split("\n")[2] for _, message in world.sent[4:]} == {"It came back."}
    world.clock.advance(minutes=60)
    world.evaluator.evaluate()
    assert await world.notifications.send_due() == {NotificationStatus.Sent: 2}
    assert len(world.listed()) == 1


@pytest.mark.parametrize("kind", [kind for kind in AlertKind if kind.value in HAPPENS])
async def test_silence_is_no_recovery_of_any_kind_and_after_seven_days_it_is_told_once(
    world: AlertWorld, kind: AlertKind
) -> None:
    """Every kind whose subject goes silent: neither an hour nor six days are evidence."""
    source, data = HAPPENS[kind.value]
    platform = RULES[kind].is_platform
    if kind == AlertKind.WebhookFailureRate:
        world.webhook()
        world.attempts(HOOK, 0, 12)
        world.evaluator.evaluate()
    else:
        world.webhook()
        key_id = world.key()
        created = await world.create()
        id_ = str(created.integration.integration_id)
        subjects = {"webhook": str(HOOK), "apikey": str(key_id), "integration": id_}
        named = {"integrationId": id_, "subject": subjects.get(data.get("subjectType", ""))}
        world.happen(source, {**{name: value for name, value in named.items() if value}, **data})
    if not platform:
        await mail_sink(world, kind.value)
    for pause in (timedelta(hours=3), timedelta(days=3), timedelta(days=3, hours=20)):
        world.clock.advance(seconds=pause.total_seconds())
        assert world.evaluator.evaluate() == (0, 0), pause
    world.clock.advance(hours=2)
    assert world.evaluator.evaluate() == (0, 1)
    assert world.evaluator.evaluate() == (0, 0)
    [alert] = world.listed(platform=platform)
    assert (alert.status, alert.closed_as) == (AlertStatus.Closed, ClosedAs.NoTraffic)
    assert alert.recovery is not None
    assert "not as recovered" in alert.recovery
    assert world.raised("AlertRecovered") == []
    if not platform:
        [event] = world.raised("AlertClosed")
        assert (event["closedAs"], event["reason"]) == ("noTraffic", alert.recovery)
        assert await world.notifications.send_due() == {NotificationStatus.Sent: 2}
        assert {message.subject.split("]")[0] for _, message in world.sent} == {"[Closed"}


async def test_a_provider_that_is_down_is_tried_again_and_the_alert_says_so(world: AlertWorld) -> None:
    await mail_sink(world)
    world.happen("security-violation", REFUSED)
    world.refuses = ProviderFailure("unavailable", "The provider is down.")
    assert await world.notifications.send_due() == {NotificationStatus.Pending: 2}
    assert await world.notifications.send_due() == {}
    assert world.listed()[0].notification_failure == "The provider is down."
    world.refuses = None
    world.clock.advance(minutes=1)
    assert await world.notifications.send_due() == {NotificationStatus.Sent: 2}


async def test_after_five_attempts_a_message_is_given_up(world: AlertWorld) -> None:
    await mail_sink(world)
    world.happen("security-violation", REFUSED)
    world.refuses = Unavailable("The secret store does not answer.")
    for _ in range(5):
        await world.notifications.send_due()
        world.clock.advance(minutes=60)
    detail = world.service.get(world.principal, world.listed()[0].alert_id)
    assert {(notification.status, notification.attempts) for notification in detail.notifications} == {
        (NotificationStatus.Failed, 5)
    }
    assert await world.notifications.send_due() == {}


async def test_a_crash_between_message_and_record_repeats_it_when_the_lease_is_over(
    world: AlertWorld,
) -> None:
    await mail_sink(world)
    world.happen("security-violation", REFUSED)

    async def dies(*_: object) -> None:
        raise asyncio.CancelledError

    world.notifications._notifier.send = dies  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await world.notifications.send_due()
    del world.notifications._notifier.send
    assert await world.notifications.send_due() == {}
    world.clock.advance(minutes=5)
    assert await world.notifications.send_due() == {NotificationStatus.Sent: 2}


async def test_nothing_of_an_alert_is_stored_when_a_part_of_it_is_not(world: AlertWorld) -> None:
    await mail_sink(world)
    with world.transactions.write() as tx:  # never committed
        world.hub.use(AlertLedger).raise_(tx, world.service.rules(world.principal)[5], _finding(world))
    assert world.listed() == []
    assert world.rows("SELECT 1 FROM AlertNotifications") == []
    assert world.raised("AlertRaised") == []


def _finding(world: AlertWorld) -> object:
    from domain.monitoring.alerts.model import AlertFinding

    return AlertFinding(TENANT, AlertKind.SecurityViolation, "s", "x", world.clock.now())


async def test_an_integration_that_is_not_active_or_sends_nothing_is_not_tried(world: AlertWorld) -> None:
    created = await world.create()
    notifier = world.hub.use(IntegrationNotifier)
    message = OutgoingMessage("a@b.example", "x", "x")
    id_ = created.integration.integration_id
    calls = len(world.stripe.calls)
    with pytest.raises(ProviderFailure, match="sends no messages"):
        await notifier.send(TENANT, id_, message)
    world.hub.use(Lifecycle).disconnect(world.principal, id_, "gone")
    with pytest.raises(ProviderFailure, match="not active"):
        await notifier.send(TENANT, id_, message)
    with pytest.raises(NotFound):
        await notifier.send(world.other.tenant_id, id_, message)
    assert len(world.stripe.calls) == calls


async def test_credentials_that_are_refused_to_a_message_suspend_the_integration__11_1(
    world: AlertWorld,
) -> None:
    created = await world.create()

    async def refused(*_: object) -> str:
        raise ProviderFailure("unauthorized", "No such key.", status=401)

    world.stripe.send = refused  # type: ignore[method-assign]
    with pytest.raises(ProviderFailure, match="No such key"):
        await world.hub.use(IntegrationNotifier).send(
            TENANT, created.integration.integration_id, OutgoingMessage("a@b.example", "x", "x")
        )
    stored = world.now(created)
    assert (stored.status, stored.suspension) == (
        IntegrationStatus.Suspended,
        SuspensionCause.Authentication,
    )


# -- the API's use cases ----------------------------------------------------------------------------------


def test_acknowledging_says_who_and_why_once_and_it_still_recovers(world: AlertWorld) -> None:
    world.happen("security-violation", REFUSED)
    id_ = world.listed()[0].alert_id
    detail = world.service.acknowledge(world.principal, id_, AcknowledgeAlert(note="Looking."))
    assert (detail.alert.status, detail.alert.acknowledged_by, detail.alert.note) == (
        AlertStatus.Acknowledged,
        USER,
        "Looking.",
    )
    with pytest.raises(Conflict):
        world.service.acknowledge(world.principal, id_, AcknowledgeAlert())
    states = {"status": "Open"}, {"status": "Acknowledged", "note": "Looking."}
    assert ("alert.acknowledged", *states) in world.audited()
    world.clock.advance(days=7)
    assert world.evaluator.evaluate() == (0, 1)
    assert world.listed(statuses=[AlertStatus.Closed])[0].note == "Looking."


def test_a_person_who_removed_the_cause_ends_the_alert_and_says_how(world: AlertWorld) -> None:
    world.happen("security-violation", REFUSED)
    id_ = world.listed()[0].alert_id
    with pytest.raises(Forbidden):
        reader = Principal(TENANT, USER, frozenset(("alerts:read",)))
        world.service.resolve(reader, id_, ResolveAlert(note="Blocked."))
    with pytest.raises(NotFound):
        world.service.resolve(world.other, id_, ResolveAlert(note="Blocked."))
    detail = world.service.resolve(world.principal, id_, ResolveAlert(note="The network is blocked."))
    assert (detail.alert.status, detail.alert.closed_as) == (AlertStatus.Closed, ClosedAs.Resolved)
    [event] = world.raised("AlertClosed")
    assert (event["closedAs"], event["reason"]) == ("resolved", "The network is blocked.")
    with pytest.raises(Conflict):
        world.service.resolve(world.principal, id_, ResolveAlert(note="Again."))
    world.clock.advance(minutes=1)
    world.happen("security-violation", REFUSED)
    assert len(world.listed()) == 2, "what a person resolved and comes again is new"


def test_another_tenants_alert_is_not_there(world: AlertWorld) -> None:
    world.happen("security-violation", REFUSED)
    id_ = world.listed()[0].alert_id
    assert world.listed(owner=world.other) == []
    with pytest.raises(NotFound):
        world.service.get(world.other, id_)
    with pytest.raises(NotFound):
        world.service.acknowledge(world.other, id_, AcknowledgeAlert())


def test_the_platforms_alerts_need_a_permission_of_their_own(world: AlertWorld) -> None:
    world.intake.receive([("no JSON", "m-1")])
    id_ = world.listed(platform=True)[0].alert_id
    tenants = Principal(TENANT, USER, frozenset(("alerts:read", "alerts:manage")))
    with pytest.raises(Forbidden):
        world.listed(platform=True, owner=tenants)
    with pytest.raises(NotFound):
        world.service.get(tenants, id_)
    assert world.service.get(world.principal, id_).alert.alert_id == id_


def test_reading_and_changing_need_their_permissions(world: AlertWorld) -> None:
    nobody = Principal(TENANT, USER, frozenset())
    reader = Principal(TENANT, USER, frozenset(("alerts:read",)))
    with pytest.raises(Forbidden):
        world.service.rules(nobody)
    with pytest.raises(Forbidden):
        world.service.change_rule(reader, "sync-failed", ChangeAlertRule())


async def test_a_rule_is_refused_what_it_has_not_and_sinks_that_reach_nobody(world: AlertWorld) -> None:
    stripe = (await world.create()).integration.integration_id
    mail = (await world.create("SendGrid", name="Mail")).integration.integration_id

    def refused(kind: str, **fields: object) -> list[str]:
        with pytest.raises(ValidationFailed) as caught:
            world.rule(kind, **fields)
        return [error.pointer for error in caught.value.errors]

    assert refused("sync-failed", threshold=0.1, minimumVolume=3) == ["/threshold", "/minimumVolume"]
    sinks = [
        {"integrationId": str(stripe), "recipients": ["a@b.example"]},
        {"integrationId": str(UUID(int=4)), "recipients": ["a@b.example"]},
        {
            "integrationId": str(mail),
            "recipients": ["a@b.example", "+15551234567", "a@b.example\nBcc: c@d.e"],
        },
    ]
    assert refused("sync-failed", sinks=sinks) == [
        "/sinks/0/integrationId",
        "/sinks/1/integrationId",
        "/sinks/2/recipients/1",
        "/sinks/2/recipients/2",
    ]
    for kind in ("dead-letters", "nonsense"):
        with pytest.raises(NotFound):
            world.rule(kind)


def test_a_rule_counts_versions_and_null_goes_back_to_the_default(world: AlertWorld) -> None:
    world.rule("webhook-failure-rate", threshold=0.4, severity="Critical")
    changed = world.service.change_rule(
        world.principal, "webhook-failure-rate", ChangeAlertRule(threshold=None), 1
    )
    assert (changed.threshold, changed.severity, changed.version) == (0.2, Severity.Critical, 2)
    with pytest.raises(PreconditionFailed):
        world.service.change_rule(world.principal, "webhook-failure-rate", ChangeAlertRule(), 1)
    [untouched] = [rule for rule in world.service.rules(world.other) if rule.threshold is not None]
    assert (untouched.severity, untouched.version) == (Severity.Warning, 0)
