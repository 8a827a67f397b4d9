"""Each mutation leaves exactly its entries in the audit log: who, what, before and after; and no action is untested."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.apikeys.expiry import KeyExpiry
from domain.apikeys.model import CreateApiKey, RotateApiKey, UpdateApiKey
from domain.apikeys.service import ApiKeyService
from domain.core.errors import Conflict, DomainError
from domain.core.paging import PageRequest
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.core.shown_address import shown_address
from domain.incoming.model import RotateIncomingUrl, UpdateIncoming
from domain.incoming.ports import IncomingFilter
from domain.incoming.receive import Caller, IncomingReceiver
from domain.incoming.retry import IncomingRetries
from domain.incoming.service import IncomingService
from domain.integrations.commands import (
    ReviewIntegration,
    RotateCredentials,
    SuspendIntegration,
    TestIntegration,
)
from domain.integrations.credentials import CredentialService
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.service import IntegrationTester
from domain.journal.hops import HopCounter
from domain.journal.signals import SubjectKind, hour_of
from domain.monitoring.alerts.service import AcknowledgeAlert, ChangeAlertRule, ResolveAlert
from domain.monitoring.anomalies.model import Anomaly, AnomalySubject, Direction, Expectation, Metric
from domain.monitoring.anomalies.service import AcknowledgeAnomaly, AnomalyService, SnoozeAnomaly
from domain.oauth.service import OAuthService
from domain.privacy.erasing import ErasureService
from domain.privacy.exporting import ExportService
from domain.privacy.model import AllowSubject, EraseSubject, ExportSubject
from domain.providers.contract import IncomingRequest, ProviderFailure
from domain.recommendations.decisions import DismissRecommendation
from domain.sync.mapping import FieldMapping
from domain.sync.record_service import PutRecords, RecordService
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from domain.sync.service import SyncService
from domain.webhooks.loop_brake import LoopService, ReleaseLoop
from domain.webhooks.loops import LoopBrake, LoopState
from domain.webhooks.model import Replay, RotateSecret, TestWebhook, UpdateWebhook
from domain.webhooks.ports import DeliveryFilter
from infra.app.build import build
from infra.app.settings import Settings
from tests import ROOT
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.alert_world import AlertWorld
from tests.worlds.apikey_world import ApiKeyWorld
from tests.worlds.audit_trail import AuditTrail, Expected
from tests.worlds.builders import RECEIVER, START, TENANT, USER, FakeClock, MemoryQueue, answer, new_database
from tests.worlds.incoming_world import seed, signed_by_stripe, stripe_event
from tests.worlds.integration_world import GOOD_KEY, OTHER_KEY, IntegrationWorld
from tests.worlds.oauth_world import OWNER, OAuthWorld
from tests.worlds.recommendation_world import GONE, RecommendationWorld
from tests.worlds.sync_world import SyncWorld
from tests.worlds.webhook_world import WebhookWorld

#: Every action by its kind; each is reached by the test of that kind below.
_ACTIONS = {
    "alert": {"acknowledged", "resolved"},
    "alertrule": {"updated"},
    "anomaly": {"acknowledged", "snoozed"},
    "apikey": {"created", "expired", "revoked", "rotated", "updated"},
    "datasync": {
        *("cancelled", "cancelled-by-hand", "completed", "created", "failed", "partialsuccess"),
        *("records-changed", "resumed", "scheduled"),
    },
    "event": {"refused"},
    "incoming": {"refused", "retried", "updated", "url-rotated"},
    "integration": {
        *("activated", "authorization-failed", "authorization-withdrawn", "authorized", "change-refused"),
        "created",
        *("credentials-rotated", "disconnected", "failed", "mapping-changed", "not-resumed", "pending"),
        *("refused", "resumed", "reviewed", "suspended", "updated", "validating"),
    },
    "loop": {"released"},
    "privacy": {"allowed", "erased", "erasure-requested", "exported"},
    "recommendation": {"applied", "dismissed", "reopened"},
    "webhook": {
        *("created", "deleted", "delivery-retried", "disabled", "replayed", "secret-rotated", "tested"),
        *("updated", "verified"),
    },
}
_BY_OAUTH = {"authorization-failed", "authorization-withdrawn", "authorized"}


def _of(kind: str, *, without: Collection[str] = ()) -> set[str]:
    return {f"{kind}.{action}" for action in _ACTIONS[kind] - set(without)}


def test_every_action_of_the_source_is_in_the_table_and_in_the_documentation() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "domain").rglob("*.py"))
    kinds = "|".join(_ACTIONS)
    written = set(re.findall(rf'"((?:{kinds})\.[a-z-]+)"', sources))
    listed = {f"{kind}.{action}" for kind, actions in _ACTIONS.items() for action in actions}
    # Composed of a status: how a job ended, how a validation did. Events of webhooks have such names too.
    composed = {"activated", "refused", "pending", "completed", "failed", "cancelled", "partialsuccess"}
    assert written - {"webhook.test", "webhook.verification"} <= listed
    assert {action for action in listed - written if action.partition(".")[2] not in composed} == set()
    page = (ROOT / "docs" / "audit.md").read_text()
    assert set(re.findall(rf"`((?:{kinds})\.[a-z-]+)`", page)) == listed


def test_each_act_on_a_key_leaves_its_entry(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    keys, trail = world.hub.use(ApiKeyService), AuditTrail(world.hub, world.admin)
    key = world.issue(expiresAt=world.clock.now() + timedelta(days=1)).key
    shown = {"keyName": "Key", "keyPrefix": key.key_prefix, "isActive": True}
    trail.leaves(Expected("apikey.created", key.api_key_id, None, shown))
    keys.update(world.admin, key.api_key_id, UpdateApiKey(rate_limit_per_hour=7), None)
    old, new = {"rateLimitPerHour": 1000}, {"rateLimitPerHour": 7}
    trail.leaves(Expected("apikey.updated", key.api_key_id, old, new))
    rotated = keys.rotate(world.admin, key.api_key_id, RotateApiKey(), None).key.api_key_id
    trail.leaves(
        Expected("apikey.rotated", key.api_key_id, {"rotatedTo": None}, {"rotatedTo": str(rotated)}),
        Expected("apikey.created", rotated, None, {"rotatesFrom": str(key.api_key_id)}),
    )
    keys.confirm_rotation(world.admin, rotated)
    ended = {"isActive": False, "revokedBy": str(world.admin.user_id)}
    trail.leaves(Expected("apikey.revoked", key.api_key_id, {"isActive": True, "revokedBy": None}, ended))
    keys.revoke(world.admin, rotated, "It leaked.", None)
    after = {"isActive": False, "revokeReason": "It leaked."}
    trail.leaves(Expected("apikey.revoked", rotated, {"revokeReason": None}, after))
    short = world.issue(expiresAt=world.clock.now() + timedelta(seconds=1)).key.api_key_id
    trail.skip()
    world.clock.advance(seconds=1)
    assert world.hub.use(KeyExpiry).revoke_expired() == 1
    expired = {"isActive": False, "revokeReason": "Expired", "revokedBy": None}
    trail.leaves(Expected("apikey.expired", short, {"isActive": True}, expired, by_hub=True))
    assert trail.seen == _of("apikey")


async def test_each_act_on_a_webhook_leaves_its_entry(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path)
    trail = AuditTrail(world.hub, world.principal)
    world.receivers.verification = lambda request: answer(500)
    id_ = (await world.webhook("Booked")).webhook.webhook_id
    trail.leaves(
        Expected("webhook.created", id_, None, {"url": shown_address(RECEIVER), "eventTypes": ["Booked"]})
    )
    world.receivers.verification = type(world.receivers)(world.clock).verification
    await world.service.verify(world.principal, id_)
    states = {"state": "PendingVerification"}, {"state": "Active"}
    trail.leaves(Expected("webhook.verified", id_, *states))
    await world.service.update(world.principal, id_, UpdateWebhook(timeout_seconds=9), None)
    trail.leaves(Expected("webhook.updated", id_, {"timeoutSeconds": 30}, {"timeoutSeconds": 9}))
    await asyncio.to_thread(world.service.rotate_secret, world.principal, id_, RotateSecret())
    trail.leaves(Expected("webhook.secret-rotated", id_, {"previousSecretExpiresAt": None}, {}))
    await world.history.test(world.principal, id_, TestWebhook())
    trail.leaves(Expected("webhook.tested", id_, None, {}))
    world.receivers.script(answer(400))
    world.raise_event("Booked")
    await world.settle()
    trail.leaves()
    with world.transactions.read() as tx:
        page = tx.deliveries.page(world.principal.tenant_id, id_, DeliveryFilter(), PageRequest())
    failed = next(delivery for delivery in page.items if delivery.delivery_status.name == "Failed")
    since = world.clock.now() - timedelta(hours=1)
    world.clock.advance(minutes=1)
    await asyncio.to_thread(
        world.history.replay, world.principal, id_, Replay.model_validate({"from": since})
    )
    trail.leaves(Expected("webhook.replayed", id_, None, {"replayed": 1, "status": ["Failed", "Expired"]}))
    world.receivers.script(answer(400), answer(410))
    await world.settle()
    delivery_id = failed.webhook_delivery_id
    await asyncio.to_thread(world.history.retry, world.principal, id_, delivery_id)
    what = {"webhookDeliveryId": str(delivery_id)}
    trail.leaves(Expected("webhook.delivery-retried", id_, None, what))
    await world.settle()
    gone = {"state": "Disabled", "disabledReason": "The receiver answered 410 Gone."}
    trail.leaves(Expected("webhook.disabled", id_, None, gone, by_hub=True))
    await asyncio.to_thread(world.service.delete, world.principal, id_, None)
    trail.leaves(Expected("webhook.deleted", id_, {"url": shown_address(RECEIVER)}, None))
    assert trail.seen == _of("webhook")
    world.close()


async def test_each_act_on_an_integration_leaves_its_entry(tmp_path: Path) -> None:
    world = IntegrationWorld(tmp_path)
    trail, lifecycle = AuditTrail(world.hub, world.principal), world.hub.use(Lifecycle)
    made = (await world.create("REST", key="sk_wrong", name="A")).integration
    id_ = made.integration_id
    draft, pending, active = ({"status": name} for name in ("Draft", "PendingValidation", "Active"))
    trail.leaves(
        Expected("integration.created", id_, None, {"name": "A", "provider": "REST", **draft}),
        Expected("integration.validating", id_, draft, pending),
        Expected("integration.refused", id_, pending, {**draft, "reason": "No such key."}),
    )
    await world.put(made, configuration={"apiKey": GOOD_KEY})
    changed = {"configuration": {"apiKey": "********"}}
    trail.leaves(Expected("integration.updated", id_, {}, changed))
    world.api.failure = ProviderFailure("unavailable", "Not now.")
    await world.activate(made)
    world.api.failure = None
    trail.leaves(
        Expected("integration.validating", id_, draft, pending),
        Expected("integration.pending", id_, pending, {**pending, "reason": "Not now."}),
    )
    await world.activate(made)
    trail.leaves(
        Expected("integration.validating", id_, pending, pending),
        Expected("integration.activated", id_, pending, active),
    )
    rotation = RotateCredentials(credentials={"apiKey": OTHER_KEY})
    await world.hub.use(CredentialService).rotate(world.principal, id_, rotation, None)
    trail.leaves(Expected("integration.credentials-rotated", id_, {}, changed))
    for unwanted in ({"baseUrl": "https://elsewhere.example"}, {"apiKey": "sk_wrong"}):
        with pytest.raises(DomainError) as refused:
            await world.put(made, configuration=unwanted)
        asked = {"refused": refused.value.code, "configuration": dict.fromkeys(unwanted, "********")}
        trail.leaves(Expected("integration.change-refused", id_, None, asked))
    await world.hub.use(IntegrationTester).test(world.principal, id_, TestIntegration())
    trail.leaves()
    suspended = {"status": "Suspended"}
    lifecycle.suspend(world.principal, id_, SuspendIntegration(reason="Holiday."))
    trail.leaves(Expected("integration.suspended", id_, active, {**suspended, "reason": "Holiday."}))
    world.api.accepts = set()
    await world.activate(made)
    trail.leaves(Expected("integration.not-resumed", id_, suspended, {"reason": "No such key."}))
    world.api.accepts = {OTHER_KEY}
    await world.activate(made)
    trail.leaves(Expected("integration.activated", id_, suspended, active))
    world.api.failure = ProviderFailure("forbidden", "It may not read.")
    await world.check(3)
    error = {"status": "Error"}
    trail.leaves(Expected("integration.failed", id_, active, error, by_hub=True))
    world.api.failure = None
    review = ReviewIntegration(note="A wrong role.", resolution="Activate")
    await lifecycle.review(world.principal, id_, review)
    trail.leaves(
        Expected("integration.reviewed", id_, error, {"note": "A wrong role."}),
        Expected("integration.validating", id_, {}, pending),
        Expected("integration.activated", id_, pending, active),
    )
    world.api.accepts = set()
    await world.check()
    trail.leaves(Expected("integration.suspended", id_, active, suspended, by_hub=True))
    world.api.accepts = {OTHER_KEY}
    await world.check(4)
    trail.leaves(Expected("integration.resumed", id_, suspended, active, by_hub=True))
    lifecycle.disconnect(world.principal, id_, "Over.")
    trail.leaves(Expected("integration.disconnected", id_, active, {"status": "Disconnected"}))
    world.close()
    assert trail.seen == _of("integration", without={*_BY_OAUTH, "mapping-changed"})


async def test_one_whose_place_was_taken_is_told_of(tmp_path: Path) -> None:
    world = IntegrationWorld(tmp_path)
    first = (await world.create("Stripe")).integration
    world.stripe.accepts = set()
    await world.check()
    world.stripe.accepts = {GOOD_KEY}
    await world.create("Stripe", name="Second")
    trail = AuditTrail(world.hub, world.principal)
    await world.check(4)
    expected = {"status": "Suspended"}, {"status": "Suspended"}
    trail.leaves(Expected("integration.not-resumed", first.integration_id, *expected, by_hub=True))
    world.close()


def test_each_act_on_a_grant_leaves_its_entry(tmp_path: Path) -> None:
    server = OAuthServer()
    world = OAuthWorld(tmp_path, server)
    id_ = world.integration()
    trail = AuditTrail(world.hub, OWNER)
    server.denies = "access_denied"
    world.callback(world.begin(id_))
    states = {"status": "Draft"}, {"status": "PendingValidation"}
    trail.leaves(Expected("integration.authorization-failed", id_, *states))
    server.denies = None
    world.callback(world.begin(id_))
    trail.leaves(
        Expected("integration.authorized", id_, None, {"missingScopes": []}),
        Expected("integration.validating", id_, {"status": "PendingValidation"}, {}),
        Expected("integration.activated", id_, {"status": "PendingValidation"}, {"status": "Active"}),
    )
    world.hub.use(OAuthService).revoke(OWNER, id_)
    active, suspended = {"status": "Active"}, {"status": "Suspended"}
    trail.leaves(
        Expected("integration.suspended", id_, active, suspended),
        Expected("integration.authorization-withdrawn", id_, active, suspended),
    )
    world.close()
    server.close()
    assert {f"integration.{action}" for action in _BY_OAUTH} <= trail.seen


async def test_each_act_on_a_sync_leaves_its_entry(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path)
    world.crm.put("c1")
    integration = await world.integration()
    trail, service = AuditTrail(world.hub, world.principal), world.hub.use(SyncService)
    job = world.start(integration)
    id_ = job.data_sync_job_id
    about = {"syncType": "Full", "direction": "Import", "status": "Scheduled"}
    trail.leaves(Expected("datasync.created", id_, None, about))
    service.cancel(world.principal, id_)
    scheduled, cancelled = {"status": "Scheduled"}, {"status": "Cancelled"}
    trail.leaves(
        Expected("datasync.cancelled", id_, None, cancelled, by_hub=True),
        Expected("datasync.cancelled-by-hand", id_, scheduled, cancelled),
    )
    service.resume(world.principal, id_)
    trail.leaves(Expected("datasync.resumed", id_, cancelled, scheduled))
    world.crm.failures = [ProviderFailure("unavailable", "Out of order.")] * 8
    await world.run(job)
    trail.leaves(Expected("datasync.failed", id_, None, {"status": "Failed"}, by_hub=True))
    service.resume(world.principal, id_)
    trail.skip()
    await world.run(job)
    done = {"status": "Completed", "recordsProcessed": 1}
    trail.leaves(Expected("datasync.completed", id_, None, done, by_hub=True))
    world.crm.put("c2", email=["not", "text"])
    partial = world.start(integration, "Differential").data_sync_job_id
    trail.skip()
    await world.run(service.get(world.principal, partial)[0])
    ended = {"status": "PartialSuccess", "recordsFailed": 1}
    trail.leaves(Expected("datasync.partialsuccess", partial, None, ended, by_hub=True))
    schedules = world.hub.use(ScheduleService)
    schedules.put(world.principal, integration, PutSchedule(interval_minutes=60), None)
    trail.leaves(Expected("datasync.scheduled", integration, None, {"intervalMinutes": 60}))
    schedules.put(world.principal, integration, PutSchedule(interval_minutes=90), None)
    intervals = {"intervalMinutes": 60}, {"intervalMinutes": 90}
    trail.leaves(Expected("datasync.scheduled", integration, *intervals))
    body = {"records": [{"localId": "mine", "data": {"email": "a@example.com"}}]}
    command = PutRecords.model_validate_json(json.dumps(body))
    world.hub.use(RecordService).change(world.principal, integration, command)
    trail.leaves(Expected("datasync.records-changed", integration, None, {"records": 1, "changed": 1}))
    streams = {"contacts": {"fields": {"company": "email"}}}
    mapping = FieldMapping.model_validate({"streams": streams})
    world.hub.use(RecordService).set_mapping(world.principal, integration, mapping, None)
    trail.leaves(Expected("integration.mapping-changed", integration, {}, {}))
    world.close()
    assert trail.seen == {*_of("datasync"), "integration.mapping-changed"}


async def test_each_act_on_an_inbox_leaves_its_entry(tmp_path: Path) -> None:
    new_database(tmp_path)
    clock = FakeClock()
    hub = build(Settings(home=tmp_path), clock=clock, queue=MemoryQueue(clock))
    id_ = seed(hub, tenant=TENANT, user=USER).integration_id
    owner = Principal(TENANT, USER, frozenset(PERMISSIONS))
    trail, service = AuditTrail(hub, owner), hub.use(IncomingService)
    service.update(owner, id_, UpdateIncoming(allowed_ips=["203.0.113.9"]), None)
    lists = {"allowedIps": []}, {"allowedIps": ["203.0.113.9"]}
    trail.leaves(Expected("incoming.updated", id_, *lists))
    await hub.use(IncomingReceiver).receive(id_, _from_stripe(id_, clock), Caller(None, "203.0.113.9"))
    trail.leaves()
    [webhook] = service.page(owner, id_, IncomingFilter(), PageRequest()).items
    target = webhook.incoming_webhook_id
    await hub.use(IncomingRetries).retry(owner, id_, target, None)
    trail.leaves(Expected("incoming.retried", target, {"attempts": 1}, {"attempts": 2}))
    request = _from_stripe(id_, clock)
    header = hub.use(HopCounter).header(8, clock.now())
    again = replace(request, headers={**request.headers, "webhook-hops": header})
    with pytest.raises(Conflict):
        await hub.use(IncomingReceiver).receive(id_, again, Caller(None, "203.0.113.9"))
    trail.leaves(Expected("incoming.refused", id_, None, {"hops": 8}, by_hub=True))
    service.rotate(owner, id_, RotateIncomingUrl())
    trail.leaves(Expected("incoming.url-rotated", id_, {"rotatedAt": None}, {}))
    hub.database.close()
    assert trail.seen == _of("incoming")


def _from_stripe(integration_id: UUID, clock: FakeClock) -> IncomingRequest:
    signed = signed_by_stripe(stripe_event(), clock.now())
    url = f"http://localhost:7071/api/webhooks/incoming/{integration_id}"
    return IncomingRequest("POST", url, signed.headers, {}, signed.body, clock.now())


def test_each_act_on_an_alert_or_its_rule_leaves_its_entry(tmp_path: Path) -> None:
    world = AlertWorld(tmp_path)
    trail = AuditTrail(world.hub, world.principal)
    world.happen("security-violation", {"subject": "s", "detail": "bad signature", "count": 100})
    [alert] = world.listed()
    world.service.acknowledge(world.principal, alert.alert_id, AcknowledgeAlert(note="Looking."))
    states = {"status": "Open"}, {"status": "Acknowledged", "note": "Looking."}
    trail.leaves(Expected("alert.acknowledged", alert.alert_id, *states))
    world.service.resolve(world.principal, alert.alert_id, ResolveAlert(note="Blocked."))
    states = {"status": "Acknowledged"}, {"status": "Closed", "note": "Blocked."}
    trail.leaves(Expected("alert.resolved", alert.alert_id, *states))
    command = ChangeAlertRule(is_enabled=False)
    world.service.change_rule(world.principal, "sync-failed", command)
    enabled = {"isEnabled": None}, {"isEnabled": False}
    trail.leaves(Expected("alertrule.updated", "sync-failed", *enabled))
    world.close()
    assert trail.seen == _of("alert") | _of("alertrule")


def test_each_act_on_an_anomaly_leaves_its_entry(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    hour, subject = hour_of(world.clock.now()), AnomalySubject(SubjectKind.Webhook, UUID(int=7))
    told, expectation = "900 attempts.", Expectation(355.0, 300.0, 420.0)
    anomaly = Anomaly(
        *(UUID(int=1), world.admin.tenant_id, subject, Metric.Traffic, Direction.Above, hour, hour, told),
        *(900.0, expectation, 17.5),
    )
    with world.hub.transactions.write() as tx:
        tx.anomalies.add(world.admin.tenant_id, anomaly)
        tx.commit()
    service, trail = world.hub.use(AnomalyService), AuditTrail(world.hub, world.admin)
    service.acknowledge(world.admin, anomaly.anomaly_id, AcknowledgeAnomaly(note="Planned."))
    notes = {"note": None, "acknowledgedAt": None}, {"note": "Planned."}
    trail.leaves(Expected("anomaly.acknowledged", anomaly.anomaly_id, *notes))
    service.snooze(world.admin, anomaly.anomaly_id, SnoozeAnomaly(hours=2))
    until = (world.clock.now() + timedelta(hours=2)).isoformat()
    trail.leaves(
        Expected("anomaly.snoozed", anomaly.anomaly_id, {"snoozedUntil": None}, {"snoozedUntil": until})
    )
    assert trail.seen == _of("anomaly")


async def test_each_act_on_personal_data_leaves_its_entry(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path)
    trail, erasing = AuditTrail(world.hub, world.principal), world.hub.use(ErasureService)
    jane = ["jane@example.com"]
    world.hub.use(ExportService).page(world.principal, ExportSubject(identifiers=jane))
    trail.leaves(Expected("privacy.exported", None, None, {}))
    erasure = erasing.request(world.principal, EraseSubject(identifiers=jane, suppress=True))
    requested = {"identifiers": 1, "records": 0, "suppress": True}
    trail.leaves(Expected("privacy.erasure-requested", erasure.erasure_id, None, requested))
    world.clock.advance(minutes=2)
    assert erasing.erase_requested() == 1
    trail.leaves(Expected("privacy.erased", erasure.erasure_id, None, {}, by_hub=True))
    assert erasing.allow(world.principal, AllowSubject(identifiers=jane)) == 1
    trail.leaves(Expected("privacy.allowed", None, None, {"lifted": 1}))
    world.close()
    assert trail.seen == _of("privacy")


async def test_each_act_on_a_recommendation_leaves_its_entry(tmp_path: Path) -> None:
    world = RecommendationWorld(tmp_path)
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, GONE)
    [listed] = await world.listed()
    id_, trail = listed.recommendation.recommendation_id, AuditTrail(world.hub, world.principal)
    opened, dismissed, applied = ({"status": name} for name in ("Open", "Dismissed", "Applied"))
    world.recommendations.dismiss(world.principal, id_, DismissRecommendation(reason="We know.", until=None))
    after = {**dismissed, "reason": "We know."}
    trail.leaves(Expected("recommendation.dismissed", id_, opened, after))
    world.recommendations.reopen(world.principal, id_)
    trail.leaves(Expected("recommendation.reopened", id_, dismissed, opened))
    await world.recommendations.apply(world.principal, id_, None)
    states = {"state": "Active"}, {"state": "Paused"}
    trail.leaves(
        Expected("webhook.updated", webhook.webhook_id, *states),
        Expected("recommendation.applied", id_, opened, applied),
    )
    world.close()
    assert _of("recommendation") <= trail.seen


async def test_an_entry_names_the_key_and_the_request_that_acted(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    maker = world.issue(scopes=["integration:manage"]).key.api_key_id
    by = replace(world.admin, api_key_id=maker)
    command = CreateApiKey(key_name="Key", scopes=["integration:manage"])
    key = world.hub.use(ApiKeyService).create(by, command).key
    with world.hub.transactions.read() as tx:
        _, row = tx.audit.chain(by.tenant_id, 0, 10)
    assert not isinstance(row, int)
    assert (row.actor_user_id, row.actor_key_id) == (by.user_id, maker)
    assert (row.request_id, row.trace_id, row.ip_address) == ("request-1", "ab" * 16, "192.0.2.1")
    assert (row.target_type, row.target_id) == ("apikey", str(key.api_key_id))


async def test_a_loop_that_is_released_leaves_its_entry(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path)
    brake = LoopBrake(world.ids.new(), TENANT, "Ping", LoopState.Confirmed, world.clock.now(), START)
    with world.transactions.write() as tx:
        tx.loops.save(brake)
        tx.commit()
    trail = AuditTrail(world.hub, world.principal)
    command = ReleaseLoop(held="discard", trust_hours=2)
    world.hub.use(LoopService).release(world.principal, brake.loop_brake_id, command)
    after = {"state": "Released", "held": "discard", "trustHours": 2}
    trail.leaves(Expected("loop.released", brake.loop_brake_id, {"state": "Confirmed"}, after))
    world.close()
    assert trail.seen == _of("loop")
