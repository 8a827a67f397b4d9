"""The rows that one tenant has, table by table, to be deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, Table, select, update

from domain.tenants.model import DeletionProgress
from infra.sql.apikeys.tables import api_keys
from infra.sql.columns import metadata
from infra.sql.firsts import delete_first
from infra.sql.incoming.tables import incoming_bodies, incoming_webhooks
from infra.sql.integrations.tables import integration_logs, integrations
from infra.sql.sync.tables import data_sync_jobs, sync_steps, synced_records
from infra.sql.tenants.administration import progress_of
from infra.sql.tenants.tables import tenant_standings
from infra.sql.webhooks.tables import webhook_deliveries, webhook_delivery_attempts, webhooks

_s = tenant_standings.c

#: Tables whose rows are found by what they belong to: without a column of the tenant, or without an index of it.
REACHED_BY: Final[Mapping[Table, tuple[Column[Any], Column[Any]]]] = {
    integration_logs: (integration_logs.c.IntegrationId, integrations.c.IntegrationId),
    sync_steps: (sync_steps.c.DataSyncJobId, data_sync_jobs.c.DataSyncJobId),
    webhook_deliveries: (webhook_deliveries.c.WebhookId, webhooks.c.WebhookId),
    webhook_delivery_attempts: (
        webhook_delivery_attempts.c.WebhookDeliveryId,
        webhook_deliveries.c.WebhookDeliveryId,
    ),
    synced_records: (synced_records.c.IntegrationId, integrations.c.IntegrationId),
    incoming_webhooks: (incoming_webhooks.c.IntegrationId, integrations.c.IntegrationId),
    incoming_bodies: (incoming_bodies.c.IntegrationId, integrations.c.IntegrationId),
}
#: What stays: that the tenant was deleted, so that nothing of it is stored again.
KEPT: Final = (tenant_standings,)


def plan() -> Sequence[Table]:
    """Return every table with rows of tenants, in an order in which each is deleted before what it belongs to."""
    import infra.sql.schema  # noqa: F401 - all tables, which a process that deletes may not have met

    tables = [
        table
        for table in metadata.sorted_tables
        if table not in KEPT and ("TenantId" in table.c or table in REACHED_BY)
    ]
    order: TopologicalSorter[Table] = TopologicalSorter(dict.fromkeys(tables, ()))
    for table in tables:
        owners = {key.column.table for key in table.foreign_keys} - {table}
        if table in REACHED_BY:
            owners.add(REACHED_BY[table][1].table)
        for owner in owners:
            order.add(owner, table)
    return list(order.static_order())


def _of_tenant(table: Table, tenant_id: UUID) -> ColumnElement[bool]:
    if table not in REACHED_BY:
        return table.c.TenantId == tenant_id
    own, owner = REACHED_BY[table]
    return own.in_(select(owner).where(_of_tenant(owner.table, tenant_id)))


class SqlTenantRows:
    """Satisfies `domain.tenants.ports.TenantRows`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def to_delete(self, requested_before: datetime, limit: int) -> list[UUID]:
        statement = (
            select(_s.TenantId)
            .where(
                _s.DeletionRequestedAt <= requested_before,
                _s.DeletedAt.is_(None),
            )
            .order_by(_s.DeletionRequestedAt)
            .limit(limit)
        )
        return list(self._connection.execute(statement).scalars())

    def progress(self, tenant_id: UUID) -> DeletionProgress:
        statement = select(tenant_standings).where(_s.TenantId == tenant_id)
        return progress_of(self._connection.execute(statement).one())

    def advance(self, tenant_id: UUID, progress: DeletionProgress) -> None:
        statement = update(tenant_standings).where(_s.TenantId == tenant_id)
        values = {
            "DeletionPlace": progress.place,
            "DeletionPosition": progress.position,
            "DeletionCounts": json.dumps(dict(progress.counts), sort_keys=True),
        }
        self._connection.execute(statement.values(values))

    def integrations(self, tenant_id: UUID, after: UUID | None, limit: int) -> list[UUID]:
        return self._ids(integrations.c.IntegrationId, tenant_id, after, limit)

    def webhooks(self, tenant_id: UUID, after: UUID | None, limit: int) -> list[UUID]:
        return self._ids(webhooks.c.WebhookId, tenant_id, after, limit)

    def quotas(self, tenant_id: UUID, after: UUID | None, limit: int) -> list[UUID]:
        return self._ids(api_keys.c.QuotaId, tenant_id, after, limit)

    def tables(self) -> list[str]:
        return [table.name for table in plan()]

    def delete(self, tenant_id: UUID, table: str, limit: int) -> int:
        found = metadata.tables[table]
        deleted = self._delete(found, _of_tenant(found, tenant_id), limit)
        if found in REACHED_BY and "TenantId" in found.c and deleted < limit:
            # Those whose owner is gone already: the tenant's own column finds them, without an index.
            deleted += self._delete(found, found.c.TenantId == tenant_id, limit - deleted)
        return deleted

    def _delete(self, table: Table, of_tenant: ColumnElement[bool], limit: int) -> int:
        key = next(iter(table.primary_key))
        statement = delete_first(table, of_tenant, order_by=key, limit=limit)
        return self._connection.execute(statement).rowcount

    def _ids(self, column: Column[Any], tenant_id: UUID, after: UUID | None, limit: int) -> list[UUID]:
        statement = select(column).where(column.table.c.TenantId == tenant_id).distinct()
        if after is not None:
            statement = statement.where(column > after)
        return list(self._connection.execute(statement.order_by(column).limit(limit)).scalars())
