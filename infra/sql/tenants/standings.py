"""How tenants stand with the platform, and the conditions by which other repositories leave the suspended out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, case, exists, literal_column, or_, select

from domain.core.tenants import TenantLimits, TenantStanding
from infra.sql.statements import key_lists, put_version
from infra.sql.tenants.tables import tenant_standings

_t = tenant_standings.c


def is_suspended(tenant: Column[Any]) -> ColumnElement[bool]:
    """Return the condition that the tenant of a row is suspended."""
    return exists().where(_t.TenantId == tenant, _t.SuspendedAt.is_not(None))


def suspension_flag(tenant: Column[Any]) -> ColumnElement[int]:
    """Return `is_suspended` as a number of a select list, 1 or 0."""
    return case((is_suspended(tenant), literal_column("1")), else_=literal_column("0"))


def whose_time_stands(connection: Connection, tenant_ids: Collection[UUID]) -> set[UUID]:
    """Return those of the tenants whose deliveries must not expire: suspended, or just back from it."""
    return {
        tenant_id
        for chunk in key_lists(tenant_ids)
        for tenant_id in connection.execute(
            select(_t.TenantId).where(
                _t.TenantId.in_(chunk), or_(_t.SuspendedAt.is_not(None), _t.RestoringSince.is_not(None))
            )
        ).scalars()
    }


def standing_of(row: Any) -> TenantStanding:
    limits = TenantLimits(
        row.MostWebhooks,
        row.MostApiKeys,
        row.MostIntegrations,
        row.MostRequestsPerHour,
        row.MostEventsPerHour,
    )
    return TenantStanding(
        row.TenantId,
        limits,
        row.SuspendedAt,
        row.Reason,
        row.RestoringSince,
        row.ResumedAt,
        row.DeletionRequestedAt,
        row.DeletionRequestedBy,
        row.DeletedAt,
        row.Version or 0,
    )


class SqlStandings:
    """Satisfies `domain.core.tenants.Standings`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def of(self, tenant_id: UUID) -> TenantStanding:
        statement = select(tenant_standings).where(_t.TenantId == tenant_id)
        row = self._connection.execute(statement).first()
        return TenantStanding(tenant_id) if row is None else standing_of(row)

    def all(self) -> list[TenantStanding]:
        return [standing_of(row) for row in self._connection.execute(select(tenant_standings))]

    def save(self, standing: TenantStanding) -> TenantStanding:
        values = {
            "SuspendedAt": standing.suspended_at,
            "Reason": standing.reason,
            "RestoringSince": standing.restoring_since,
            "ResumedAt": standing.resumed_at,
            "MostWebhooks": standing.limits.webhooks,
            "MostApiKeys": standing.limits.api_keys,
            "MostIntegrations": standing.limits.integrations,
            "MostRequestsPerHour": standing.limits.requests_per_hour,
            "MostEventsPerHour": standing.limits.events_per_hour,
            "DeletionRequestedAt": standing.deletion_requested_at,
            "DeletionRequestedBy": standing.deletion_requested_by,
            "DeletedAt": standing.deleted_at,
        }
        key = {"TenantId": standing.tenant_id}
        put_version(
            self._connection,
            tenant_standings,
            key,
            values,
            version=standing.version,
            what="standing of the tenant",
        )
        return self.of(standing.tenant_id)
