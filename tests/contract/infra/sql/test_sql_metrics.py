"""The hub's own numbers, over all tenants, out of SQL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from domain.apikeys.model import ApiKey
from domain.apikeys.ports import UsageTotal
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.monitoring.metrics import KeyTotals, StoredMeasures
from domain.webhooks.model import DeliveryStatus, WebhookState
from tests.worlds.sql_world import SqlWorld


def stored(world: SqlWorld) -> StoredMeasures:
    now = world.clock.now()
    with world.transactions.read() as tx:
        return tx.metrics.read(since=now.replace(hour=0, minute=0), now=now)


def attempts(world: SqlWorld, tenant: Any, *milliseconds: int, hours_ago: int = 0, errors: int = 0) -> Signal:
    hour = hour_of(world.clock.now()) - timedelta(hours=hours_ago)
    count = len(milliseconds)
    tally = Tally(count, count - errors, errors, 0, 0, {"timeout": errors}, Sketch.of(milliseconds))
    return Signal(tenant, SubjectKind.Webhook, world.ids.new(), hour, tally)


def test_deliveries_of_all_tenants_are_counted_once_while_they_are_added_up(world: SqlWorld) -> None:
    signals = [
        attempts(world, world.tenant, 10, 20, 900, errors=1),
        attempts(world, world.other_tenant, 40, hours_ago=2),
        attempts(world, world.tenant, 5, 5, hours_ago=13),  # yesterday
    ]
    seen = []
    with world.transactions.write() as tx:
        tx.signals.append(signals)
        tx.commit()
    for _ in range(3):
        seen.append(stored(world).signals)
        with world.transactions.write() as tx:
            tx.signals.compact(2)
            tx.commit()
    for signals_read in seen:
        assert signals_read.keys() == {SubjectKind.Tenant}
        tally = signals_read[SubjectKind.Tenant]
        assert (tally.total, tally.succeeded, tally.failed, tally.errors["timeout"]) == (4, 3, 1, 1)
        assert sum(count for _, count in tally.latency.intervals()) == 4


def test_what_has_not_ended_is_counted_by_state(world: SqlWorld) -> None:
    webhook = world.webhook("BookingConfirmed")
    world.webhook("BookingConfirmed", tenant=world.other_tenant, state=WebhookState.Paused)
    world.ended(webhook, 2)
    ids = world.deliveries(webhook, 5)
    world.claim(webhook, ids[:2])
    world.events(3)
    read = stored(world)
    assert read.webhooks == {WebhookState.Active: 1, WebhookState.Paused: 1}
    assert read.deliveries == {DeliveryStatus.Pending: 3, DeliveryStatus.Sending: 2}
    assert (read.backlog.events, read.backlog.oldest) == (3, world.clock.now())
    assert read.syncs == {}


def test_refusals_of_keys_are_kept_and_never_fall(world: SqlWorld) -> None:
    now = world.clock.now()
    key = ApiKey(
        api_key_id=world.ids.new(),
        tenant_id=world.tenant,
        key_name="till",
        key_hash="a" * 64,
        key_prefix="ihk_abcd",
        scopes=["events:write"],
        rate_limit_per_hour=1_000,
        created_at=now,
        created_by=world.user,
        quota_id=world.ids.new(),
    )
    with world.transactions.write() as tx:
        tx.api_keys.add(world.tenant, key)
        tx.api_keys.set_usage([UsageTotal(key.api_key_id, 0, None, 2, 1)])
        tx.api_keys.set_usage([UsageTotal(key.api_key_id, 7, now, 3, 1)])
        tx.api_keys.set_usage([UsageTotal(key.api_key_id, 6, now, 9, 9)])
        tx.commit()
    assert stored(world).keys == KeyTotals(active=1, accepted=7, limited=3, refused=1)
    with world.transactions.read() as tx:
        found = tx.api_keys.get(world.tenant, key.api_key_id)
    assert (found.usage_count, found.last_used_at) == (7, now)


@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_growing_tables_are_counted_by_their_indexes(world: SqlWorld) -> None:
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        statements.append((statement, parameters))

    event.listen(world.database.engine, "before_cursor_execute", note)
    try:
        stored(world)
    finally:
        event.remove(world.database.engine, "before_cursor_execute", note)
    plan = ""
    with world.database.read() as connection:
        for statement, parameters in statements:
            if statement.startswith("SELECT"):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plan += " ".join(row[3] for row in rows)
    for index in (
        "IX_SignalBucket_Hour",
        "COVERING INDEX IX_Integration_Health",
        "COVERING INDEX IX_WebhookDelivery_Status",
        "COVERING INDEX IX_DataSync_Status",
        "IX_DomainEvent_Outbox",
        "IX_Alert_Active",
    ):
        assert index in plan, (index, plan)
