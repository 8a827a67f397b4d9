"""Calls every method of every repository once, with realistic data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from domain.apikeys.model import ApiKey, KeyFilter, KeyStatus
from domain.apikeys.ports import UsageTotal
from domain.core.paging import PageRequest
from domain.journal.audit import AuditEntry, AuditFilter
from domain.journal.merkle import Edge, leaf_hash
from domain.journal.ports import EventRef
from domain.webhooks.model import DeliveryStatus, WebhookState
from domain.webhooks.ports import DeliveryFilter, EndpointTally, NewDelivery, WebhookFilter
from infra.sql.transaction import SqlTransaction
from tests.worlds import (
    sql_drive_alerts,
    sql_drive_anomalies,
    sql_drive_loops,
    sql_drive_metrics,
    sql_drive_privacy,
    sql_drive_recommendations,
    sql_drive_signals,
    sql_drive_sync,
    sql_drive_tenants,
    sql_drive_usage,
)
from tests.worlds import sql_drive_integrations as integrations
from tests.worlds.sql_world import EXPIRY, START, SqlWorld, claim_in

Call = Callable[[SqlTransaction], object]
REPOSITORIES = (
    "users",
    "api_keys",
    "audit",
    "audit_tree",
    "webhooks",
    "deliveries",
    "pipeline",
    "outbox",
    *integrations.REPOSITORIES,
    *sql_drive_sync.REPOSITORIES,
    *sql_drive_alerts.REPOSITORIES,
    *sql_drive_signals.REPOSITORIES,
    *sql_drive_usage.REPOSITORIES,
    *sql_drive_loops.REPOSITORIES,
    *sql_drive_metrics.REPOSITORIES,
    *sql_drive_privacy.REPOSITORIES,
    *sql_drive_anomalies.REPOSITORIES,
    *sql_drive_recommendations.REPOSITORIES,
    *sql_drive_tenants.REPOSITORIES,
)
_EVERY_FILTER = DeliveryFilter(
    statuses=list(DeliveryStatus),
    event_types=["BookingConfirmed"],
    since=START,
    until=START + EXPIRY,
    is_held=False,
)


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    """By `repository.method`; to be called in this order, each in a unit of work that is rolled back."""
    webhook = world.webhook("BookingConfirmed", "*")
    tenant, webhook_id = world.tenant, webhook.webhook_id
    pending = world.deliveries(webhook, 1_200)
    leased = world.claim(webhook, pending[:600])
    ended = world.ended(webhook, 3)
    ordered = world.webhook("*", ordering="perSubject")
    in_line = world.deliveries(ordered, 3)
    turn = world.claim(ordered, in_line)
    stored = world.events(600)
    refs = [EventRef(event.tenant_id, event.event_id) for event in stored]
    refs.append(EventRef(world.other_tenant, "another"))
    now, later = world.clock.now(), world.clock.now() + timedelta(days=40)
    page = PageRequest(page=2, page_size=50)
    new = [
        NewDelivery(world.ids.new(), webhook_id, replace(event, sequence=number), False, line=number % 5)
        for number, event in enumerate(stored)
    ]
    fresh = replace(webhook, webhook_id=world.ids.new())
    newcomer = world.ids.new()
    every_webhook = WebhookFilter(WebhookState.Active, "BookingConfirmed", newcomer)
    results = [
        world.result(one, (DeliveryStatus.Delivered, DeliveryStatus.Retrying)[index % 2])
        for index, one in enumerate(leased)
    ]
    tallies = [
        EndpointTally(webhook_id, delivered=3, learns=True),
        EndpointTally(webhook_id, failed_for_good=1, attempts_failed=2, real_failures=1),
        EndpointTally(webhook_id, delivered=1, real_failures=1),
        EndpointTally(ordered.webhook_id),
        EndpointTally(webhook_id),
        EndpointTally(ordered.webhook_id),
        EndpointTally(webhook_id, attempts_failed=1, outages=1, learns=True),
        EndpointTally(webhook_id, delivered=1, learns=True),
    ]
    return {
        "users.see": [lambda tx: tx.users.see(newcomer, newcomer, "New", now)],
        "users.tenants": [lambda tx: tx.users.tenants()],
        "users.lock_tenant": [
            lambda tx: tx.users.lock_tenant(tenant),
            lambda tx: tx.users.lock_tenant(newcomer),
        ],
        **_api_keys(world),
        **_audit(world),
        **sql_drive_sync.calls(world),
        **sql_drive_alerts.calls(world),
        **sql_drive_signals.calls(world),
        **sql_drive_usage.calls(world),
        **sql_drive_loops.calls(world),
        **sql_drive_metrics.calls(world),
        **sql_drive_privacy.calls(world),
        **sql_drive_anomalies.calls(world),
        **sql_drive_recommendations.calls(world),
        **sql_drive_tenants.calls(world),
        **integrations.integration_calls(world),
        "outbox.append": [
            lambda tx: tx.outbox.append([world.event() for _ in range(600)]),
            lambda tx: tx.outbox.append([world.event()], fanned_out_at=now),
        ],
        "outbox.take_new": [lambda tx: tx.outbox.take_new()],
        "outbox.pending": [lambda tx: tx.outbox.pending(refs)],
        "outbox.mark_fanned_out": [lambda tx: tx.outbox.mark_fanned_out(refs, now)],
        "outbox.pending_about": [
            lambda tx: tx.outbox.pending_about(
                tenant, [f"booking/{index}" for index in range(600)], until=9_999, limit=500
            )
        ],
        "outbox.not_announced": [lambda tx: tx.outbox.not_announced(refs, now)],
        "outbox.unannounced": [lambda tx: tx.outbox.unannounced(later, later, 5_000)],
        "outbox.delete_before": [lambda tx: tx.outbox.delete_before(later, 1_000)],
        "webhooks.count": [lambda tx: tx.webhooks.count(tenant)],
        "webhooks.add": [lambda tx: tx.webhooks.add(tenant, fresh)],
        "webhooks.get": [lambda tx: tx.webhooks.get(tenant, webhook_id)],
        "webhooks.page": [
            lambda tx: tx.webhooks.page(tenant, WebhookFilter(), page),
            lambda tx: tx.webhooks.page(tenant, every_webhook, page),
        ],
        "webhooks.update": [
            lambda tx: tx.webhooks.update(tenant, webhook),
            lambda tx: tx.webhooks.update(tenant, replace(webhook, state=WebhookState.Paused)),
        ],
        "webhooks.delete": [lambda tx: tx.webhooks.delete(tenant, webhook_id)],
        "webhooks.integration_exists": [lambda tx: tx.webhooks.integration_exists(tenant, newcomer)],
        "deliveries.page": [
            lambda tx: tx.deliveries.page(tenant, webhook_id, DeliveryFilter(), page),
            lambda tx: tx.deliveries.page(tenant, webhook_id, _EVERY_FILTER, page),
        ],
        "deliveries.get": [lambda tx: tx.deliveries.get(tenant, webhook_id, ended[0])],
        "deliveries.reset": [
            lambda tx: tx.deliveries.reset(
                tenant, ended + pending, ordering="perSubject", now=now, expires_at=later, requeue_at=now
            )
        ],
        "deliveries.line_up": [lambda tx: tx.deliveries.line_up(tenant, webhook_id, now=now)],
        "deliveries.dissolve_lines": [lambda tx: tx.deliveries.dissolve_lines(tenant, webhook_id, now=now)],
        "deliveries.find": [lambda tx: tx.deliveries.find(tenant, webhook_id, _EVERY_FILTER, 1_000)],
        "deliveries.release_held": [lambda tx: tx.deliveries.release_held(tenant, webhook_id, now=now)],
        "pipeline.subscribers": [
            lambda tx: tx.pipeline.subscribers([(tenant, f"name{index}") for index in range(600)])
        ],
        "pipeline.add_deliveries": [
            lambda tx: tx.pipeline.add_deliveries(new, now=now, expires_at=later, requeue_at=later)
        ],
        "pipeline.endpoints": [lambda tx: tx.pipeline.endpoints([webhook_id], now)],
        "pipeline.claim": [lambda tx: claim_in(tx, webhook_id, pending[600:], newcomer, now)],
        "pipeline.hold": [lambda tx: tx.pipeline.hold([webhook_id], pending)],
        "pipeline.park": [lambda tx: tx.pipeline.park(pending, later)],
        "pipeline.record": [
            lambda tx: tx.pipeline.record(results, now=now, requeue_at=later),
            lambda tx: tx.pipeline.record(
                [world.result(delivery, DeliveryStatus.Failed) for delivery in [*turn, *leased[:5]]],
                now=now,
                requeue_at=later,
            ),
        ],
        "pipeline.tally": [lambda tx: tx.pipeline.tally(tallies, now)],
        "pipeline.disable": [lambda tx: tx.pipeline.disable(webhook_id, "It only fails.")],
        "pipeline.release_stranded": [lambda tx: tx.pipeline.release_stranded(now)],
        "pipeline.stranded_lines": [lambda tx: tx.pipeline.stranded_lines(now, 500)],
        "pipeline.give_turns": [lambda tx: tx.pipeline.give_turns(in_line, now=now, requeue_at=later)],
        "pipeline.requeue_due": [
            lambda tx: tx.pipeline.requeue_due(now=later, again_at=later, limit=5_000),
            lambda tx: tx.pipeline.requeue_due(now=now + timedelta(minutes=5), again_at=later, limit=5_000),
        ],
        "pipeline.delete_before": [lambda tx: tx.pipeline.delete_before(later, 1_000)],
    }


def _api_keys(world: SqlWorld) -> dict[str, list[Call]]:
    tenant, now, key_id = world.tenant, world.clock.now(), world.ids.new()
    key = ApiKey(
        api_key_id=key_id,
        tenant_id=tenant,
        key_name="till",
        key_hash="a" * 64,
        key_prefix="ihk_abcd",
        scopes=["events:write"],
        rate_limit_per_hour=1_000,
        created_at=now,
        created_by=world.user,
        quota_id=key_id,
        allowed_ips=["203.0.113.0/24"],
    )
    with world.transactions.write() as tx:
        tx.api_keys.add(tenant, key)
        tx.commit()
    second = replace(key, api_key_id=world.ids.new(), key_hash="b" * 64)
    third = world.ids.new()
    filters = [KeyFilter(status, "events:write", "t", made_by_key=key_id) for status in KeyStatus]
    page = PageRequest()
    return {
        "api_keys.count_active": [lambda tx: tx.api_keys.count_active(tenant, now)],
        "api_keys.limit_of": [lambda tx: tx.api_keys.limit_of(tenant, key_id)],
        "api_keys.given_by": [lambda tx: tx.api_keys.given_by(tenant, key_id, ended_since=now)],
        "api_keys.add": [lambda tx: tx.api_keys.add(tenant, second)],
        "api_keys.get": [lambda tx: tx.api_keys.get(tenant, key_id)],
        "api_keys.page": [
            lambda tx, filter_=filter_: tx.api_keys.page(tenant, filter_, page, now)  # type: ignore[misc]
            for filter_ in filters
        ],
        "api_keys.update": [lambda tx: tx.api_keys.update(tenant, replace(key, is_active=False))],
        "api_keys.by_hashes": [lambda tx: tx.api_keys.by_hashes([f"{index:064d}" for index in range(600)])],
        "api_keys.expired": [
            lambda tx: tx.api_keys.expired(now, 100, rotated=False),
            lambda tx: tx.api_keys.expired(now, 100, rotated=True),
        ],
        "api_keys.unclosed": [lambda tx: tx.api_keys.unclosed(now, 100)],
        "api_keys.set_closed": [lambda tx: tx.api_keys.set_closed([key_id, second.api_key_id, third], now)],
        "api_keys.refs": [
            lambda tx: tx.api_keys.refs(None, used_since=None, limit=100),
            lambda tx: tx.api_keys.refs(key_id, used_since=now, limit=100),
        ],
        "api_keys.set_usage": [
            lambda tx: tx.api_keys.set_usage(
                [UsageTotal(each, 7, now) for each in (key_id, second.api_key_id, third)]
            )
        ],
    }


def _audit(world: SqlWorld) -> dict[str, list[Call]]:
    tenant, now = world.tenant, world.clock.now()
    entry = AuditEntry("webhook.created", "webhook", world.ids.new(), after={"url": "https://a.example/"})
    with world.transactions.write() as tx:
        tx.audit.append(tenant, entry)
        tx.commit()
    every = AuditFilter(world.user, "webhook.*", "webhook", str(world.user), now, now + EXPIRY)
    later = now + timedelta(days=400)
    return {
        "audit.append": [lambda tx: tx.audit.append(tenant, entry)],
        "audit.take_new": [lambda tx: tx.audit.take_new()],
        "audit.page": [
            lambda tx: tx.audit.page(tenant, every, PageRequest()),
            lambda tx: tx.audit.page(tenant, AuditFilter(action="webhook.created"), PageRequest()),
        ],
        "audit.ends": [lambda tx: tx.audit.ends(tenant)],
        "audit.chain": [
            lambda tx: tx.audit.chain(tenant, 0, 100),
            # where a row cannot be read
            lambda tx: tx.audit._sequences(tenant, 0, 100),
            lambda tx: tx.audit._one(tenant, 1),
        ],
        "audit.forget_before": [lambda tx: tx.audit.forget_before(tenant, later, last=100, limit=100)],
        "audit_tree.tenants_to_sign": [
            lambda tx: tx.audit_tree.tenants_to_sign(None, 10),
            lambda tx: tx.audit_tree.tenants_to_sign(tenant, 10),
        ],
        "audit_tree.state": [lambda tx: tx.audit_tree.state(tenant)],
        "audit_tree.plant": [lambda tx: tx.audit_tree.plant(world.ids.new(), 1)],
        "audit_tree.grow": [lambda tx: _grown(tx, world.ids.new())],
        "audit_tree.nodes": [
            lambda tx: tx.audit_tree.nodes(tenant, []),
            lambda tx: tx.audit_tree.nodes(tenant, [(0, 1), (3, 0)]),
        ],
        "audit_tree.leaves": [lambda tx: tx.audit_tree.leaves(tenant, 0, 10)],
        "audit_tree.signed": [lambda tx: tx.audit_tree.signed(tenant, 1, "note")],
    }


def _grown(tx: SqlTransaction, tenant: UUID) -> bool:
    """Let two rows join a tree of their own."""
    tx.audit_tree.plant(tenant, 1)
    edge = Edge()
    nodes = [node for row in (b"one", b"two") for node in edge.append(leaf_hash(row))]
    return tx.audit_tree.grow(tenant, 0, nodes)


def public_methods(world: SqlWorld) -> set[str]:
    """Every `repository.method` a unit of work offers."""
    names: set[str] = set()
    with world.transactions.read() as tx:
        for repository in REPOSITORIES:
            made = getattr(tx, repository)
            public = (name for name in dir(made) if not name.startswith("_"))
            names |= {f"{repository}.{name}" for name in public if callable(getattr(made, name))}
    return names
