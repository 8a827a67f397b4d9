"""One tenant never reads or changes what is another's."""

from __future__ import annotations

import inspect
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import insert

from domain.core.errors import NotFound, PreconditionFailed
from domain.core.paging import PageRequest
from domain.webhooks.model import DeliveryStatus, WebhookState
from domain.webhooks.ports import DeliveryFilter, Released, Restarted, WebhookFilter
from infra.sql.apikeys.repository import SqlApiKeys
from infra.sql.integrations.tables import integrations
from infra.sql.journal.audit import SqlAudit
from infra.sql.monitoring.alert_rules import SqlAlertRules, SqlNotifications
from infra.sql.monitoring.alerts import SqlAlerts
from infra.sql.monitoring.anomalies import SqlAnomalies
from infra.sql.privacy.erasures import SqlErasures
from infra.sql.privacy.personal_data import SqlPersonalData
from infra.sql.recommendations.repository import SqlDecisions, SqlOutcomes, SqlPeerChecks
from infra.sql.sync.jobs import SqlSyncJobs
from infra.sql.sync.records import SqlSyncRecords
from infra.sql.sync.settings import SqlSyncSettings
from infra.sql.webhooks.deliveries import SqlDeliveries
from infra.sql.webhooks.repository import SqlWebhooks
from tests.worlds.sql_world import EXPIRY, SqlWorld

#: Repositories of one tenant's things, with the methods that serve the product itself and see all tenants.
_SCOPED: dict[type, frozenset[str]] = {
    SqlWebhooks: frozenset(),
    SqlDeliveries: frozenset(),
    SqlAudit: frozenset({"take_new"}),
    SqlApiKeys: frozenset({"by_hashes", "expired", "refs", "set_usage", "unclosed", "set_closed"}),
    SqlSyncJobs: frozenset(
        {
            "find",
            "latest",
            "moments",
            "move",
            "claim",
            "taken",
            "waiting",
            "to_queue",
            "mark_queued",
            "silent",
            "touch",
        }
        | {"restart", "interrupt", "steps", "add_steps", "advance", "synced", "delete_before"}
    ),
    SqlSyncRecords: frozenset({"forget_disconnected", "delete_tombstones"}),
    SqlSyncSettings: frozenset({"due", "move_on"}),
    SqlErasures: frozenset({"open"}),
    SqlPersonalData: frozenset(),
    SqlAnomalies: frozenset({"watermarks", "delete_before"}),
    SqlAlerts: frozenset({"active", "delete_before"}),
    SqlAlertRules: frozenset({"of_kind"}),
    SqlOutcomes: frozenset(),
    # Added up over five tenants or more before any sees it (test_recommendation_providers.py).
    SqlPeerChecks: frozenset({"checks"}),
    SqlDecisions: frozenset({"tenants"}),
    SqlNotifications: frozenset({"append", "renew", "claim", "settle"}),
}


@pytest.mark.parametrize("repository", _SCOPED, ids=lambda repository: repository.__name__)
def test_every_method_asks_for_the_tenant_first(repository: type) -> None:
    methods = {
        name: method
        for name, method in inspect.getmembers(repository, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods
    assert _SCOPED[repository] <= set(methods), "an exception that no longer exists"
    for name in set(methods) - _SCOPED[repository]:
        first = list(inspect.signature(methods[name], eval_str=True).parameters.values())[1]
        assert (first.name, first.annotation) == ("tenant_id", UUID), name
        assert first.default is inspect.Parameter.empty, name


def test_webhooks_of_another_tenant_are_not_there(world: SqlWorld) -> None:
    webhook = world.webhook("a")
    intruder = world.other_tenant
    with world.transactions.write() as tx:
        assert tx.webhooks.count(intruder) == 0
        assert tx.webhooks.page(intruder, WebhookFilter(), PageRequest()).total == 0
        assert tx.webhooks.page(intruder, WebhookFilter(event_type="a"), PageRequest()).items == []
        with pytest.raises(NotFound):
            tx.webhooks.get(intruder, webhook.webhook_id)
        with pytest.raises(NotFound):
            tx.webhooks.delete(intruder, webhook.webhook_id)
        with pytest.raises(PreconditionFailed):
            tx.webhooks.update(intruder, replace(webhook, url="https://thief.example/", event_types=["b"]))
        tx.users.lock_tenant(intruder)
        tx.commit()
    with world.transactions.read() as tx:
        assert tx.webhooks.get(world.tenant, webhook.webhook_id) == webhook
        assert len(tx.pipeline.subscribers([(world.tenant, "a")])) == 1
        assert tx.pipeline.subscribers([(intruder, "a"), (intruder, "b")]) == []


def test_deliveries_of_another_tenant_are_not_there(world: SqlWorld) -> None:
    webhook = world.webhook()
    ended, held = world.ended(webhook, 1)[0], world.deliveries(webhook, held=True)[0]
    intruder, now = world.other_tenant, world.clock.now()
    with world.transactions.write() as tx:
        listed = tx.deliveries.page(intruder, webhook.webhook_id, DeliveryFilter(), PageRequest())
        assert (listed.items, listed.total) == ([], 0)
        assert tx.deliveries.find(intruder, webhook.webhook_id, DeliveryFilter(), 10) == []
        with pytest.raises(NotFound):
            tx.deliveries.get(intruder, webhook.webhook_id, ended)
        times = {"now": now, "expires_at": now + EXPIRY, "requeue_at": now}
        reset = tx.deliveries.reset(intruder, [ended, held], ordering="perSubject", **times)
        assert reset == Restarted(0, [])
        assert tx.deliveries.release_held(intruder, webhook.webhook_id, now=now) == Released()
        tx.deliveries.line_up(intruder, webhook.webhook_id, now=now)
        tx.commit()
    assert world.status(webhook, ended) == DeliveryStatus.Delivered
    with world.transactions.read() as tx:
        assert tx.deliveries.get(world.tenant, webhook.webhook_id, held).is_held


def test_a_delivery_shows_the_payload_of_its_own_tenants_event(world: SqlWorld) -> None:
    ours = replace(world.event("same"), data='{"whose":"ours"}')
    theirs = replace(world.event("same", tenant=world.other_tenant), data='{"whose":"theirs"}')
    webhook = world.webhook()
    with world.transactions.write() as tx:
        tx.outbox.append([theirs, ours])
        tx.commit()
    delivery_id = world.fan_out(webhook, [ours])[0]
    with world.transactions.read() as tx:
        delivery = tx.deliveries.get(world.tenant, webhook.webhook_id, delivery_id)
    assert delivery.payload == '{"whose":"ours"}'
    assert world.claim(webhook, [delivery_id])[0].event.data == '{"whose":"ours"}'


def test_an_integration_of_another_tenant_does_not_exist(world: SqlWorld) -> None:
    integration_id = world.ids.new()
    with world.database.write() as connection:
        connection.execute(
            insert(integrations).values(
                IntegrationId=integration_id,
                TenantId=world.tenant,
                Name="Till",
                IntegrationType=1,
                Provider="stripe",
                Status=1,
                Configuration="{}",
                CreatedBy=world.user,
            )
        )
        connection.commit()
    with world.transactions.read() as tx:
        assert tx.webhooks.integration_exists(world.tenant, integration_id)
        assert not tx.webhooks.integration_exists(world.other_tenant, integration_id)


def test_a_paused_webhook_of_one_tenant_holds_nothing_of_another(world: SqlWorld) -> None:
    world.webhook("a", state=WebhookState.Paused)
    theirs = world.webhook("a", tenant=world.other_tenant)
    with world.transactions.read() as tx:
        found = tx.pipeline.subscribers([(world.other_tenant, "a")])
    assert [(subscriber.webhook_id, subscriber.holds) for subscriber in found] == [(theirs.webhook_id, False)]
