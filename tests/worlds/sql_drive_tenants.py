"""Calls every method of the repositories of the platform's administrators once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from domain.core.paging import PageRequest
from domain.core.tenants import TenantLimits, TenantStanding, TenantState
from domain.tenants.model import DeletionProgress, TenantFilter
from infra.sql.tenants.rows import plan
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("standings", "tenants", "tenant_rows")


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    tenant, now = world.tenant, world.clock.now()
    webhook = world.webhook("BookingConfirmed")
    world.deliveries(webhook, 3)
    limits = TenantLimits(1, 2, 3, 4, 5)
    standing = TenantStanding(tenant, limits, now, "Unpaid.", deletion_requested_at=now)
    with world.transactions.write() as tx:
        stored = tx.standings.save(standing)
        tx.commit()
    restored = {"scheduled_since": now - timedelta(days=1), "expires_at": now + timedelta(days=9)}
    newcomer = TenantStanding(world.ids.new(), restoring_since=now, resumed_at=now)
    progress = DeletionProgress(3, tenant, {"Webhooks": 4})
    id_ = world.ids.new()
    return {
        "standings.of": [lambda tx: tx.standings.of(tenant)],
        "standings.all": [lambda tx: tx.standings.all()],
        "standings.save": [
            lambda tx: tx.standings.save(replace(stored, reason="Paid.")),
            lambda tx: tx.standings.save(newcomer),
        ],
        "tenants.page": [
            lambda tx: tx.tenants.page(TenantFilter(), PageRequest()),
            *(
                lambda tx, state=state: tx.tenants.page(TenantFilter(state), PageRequest(2, 50))
                for state in TenantState
            ),
        ],
        "tenants.get": [lambda tx: tx.tenants.get(tenant)],
        "tenants.restoring": [lambda tx: tx.tenants.restoring(10)],
        "tenants.restore_deliveries": [
            lambda tx: tx.tenants.restore_deliveries(tenant, **restored, now=now, limit=100)
        ],
        "tenant_rows.to_delete": [lambda tx: tx.tenant_rows.to_delete(now, 5)],
        "tenant_rows.progress": [lambda tx: tx.tenant_rows.progress(tenant)],
        "tenant_rows.advance": [lambda tx: tx.tenant_rows.advance(tenant, progress)],
        "tenant_rows.integrations": [lambda tx: tx.tenant_rows.integrations(tenant, None, 5)],
        "tenant_rows.webhooks": [lambda tx: tx.tenant_rows.webhooks(tenant, id_, 5)],
        "tenant_rows.quotas": [lambda tx: tx.tenant_rows.quotas(tenant, None, 5)],
        "tenant_rows.tables": [lambda tx: tx.tenant_rows.tables()],
        "tenant_rows.delete": [
            lambda tx, name=table.name: tx.tenant_rows.delete(newcomer.tenant_id, name, 5) for table in plan()
        ],
    }
