"""Every tenant with its usage, and the deliveries of those whose suspension is over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    case,
    func,
    literal,
    or_,
    select,
    true,
)

from domain.core.paging import Page, PageRequest
from domain.core.tenants import TenantState
from domain.integrations.model import IntegrationStatus
from domain.journal.occurrences import PLATFORM
from domain.tenants.model import DeletionProgress, Tenant, TenantFilter, TenantUsage
from domain.webhooks.model import WAITING
from infra.sql.apikeys.tables import api_keys
from infra.sql.firsts import update_first
from infra.sql.integrations.tables import integrations
from infra.sql.statements import page_of, row_of, unindexed
from infra.sql.tenants.standings import standing_of
from infra.sql.tenants.tables import tenant_standings, tenants, users
from infra.sql.types import Utc
from infra.sql.webhooks.tables import webhook_deliveries, webhooks

_t = tenants.c
_s = tenant_standings.c
_d = webhook_deliveries.c


def _counted(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
    counted = select(func.count()).select_from(table).where(table.c.TenantId == _t.TenantId, *conditions)
    return counted.scalar_subquery()


_TENANTS: Select[Any] = (
    select(
        *(column for column in _s if column.name != "TenantId"),
        _t.TenantId,
        _t.CreatedAt,
        _counted(users).label("Users"),
        _counted(webhooks).label("Webhooks"),
        _counted(api_keys, api_keys.c.IsActive == true()).label("ApiKeys"),
        _counted(integrations, integrations.c.Status != int(IntegrationStatus.Disconnected)).label(
            "Integrations"
        ),
    )
    .select_from(tenants.outerjoin(tenant_standings, _s.TenantId == _t.TenantId))
    .where(_t.TenantId != PLATFORM)
)
_IN_STATE: dict[TenantState, Sequence[ColumnElement[bool]]] = {
    TenantState.Active: (_s.SuspendedAt.is_(None),),
    TenantState.Suspended: (_s.SuspendedAt.is_not(None), _s.DeletionRequestedAt.is_(None)),
    TenantState.Deleting: (_s.DeletionRequestedAt.is_not(None), _s.DeletedAt.is_(None)),
    TenantState.Deleted: (_s.DeletedAt.is_not(None),),
}


def progress_of(row: Row[Any]) -> DeletionProgress:
    counts = json.loads(row.DeletionCounts) if row.DeletionCounts else {}
    return DeletionProgress(row.DeletionPlace, row.DeletionPosition, counts)


class SqlTenants:
    """Satisfies `domain.tenants.ports.Tenants`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(self, filter_: TenantFilter, page: PageRequest) -> Page[Tenant]:
        # A deleted tenant has no row of Tenants any more.
        if filter_.state == TenantState.Deleted:
            gone = select(tenant_standings).where(_s.DeletedAt.is_not(None)).order_by(_s.TenantId)
            return page_of(self._connection, gone, page, _gone)
        conditions = _IN_STATE[filter_.state] if filter_.state else ()
        statement = _TENANTS.where(*conditions).order_by(_t.TenantId)
        return page_of(self._connection, statement, page, _tenant)

    def get(self, tenant_id: UUID) -> Tenant:
        row = self._connection.execute(_TENANTS.where(_t.TenantId == tenant_id)).first()
        if row is not None:
            return _tenant(row)
        left = select(tenant_standings).where(_s.TenantId == tenant_id)
        return _gone(row_of(self._connection, left, "tenant"))

    def restoring(self, limit: int) -> list[UUID]:
        statement = (
            select(_s.TenantId)
            .where(_s.RestoringSince.is_not(None), _s.SuspendedAt.is_(None))
            .order_by(_s.TenantId)
            .limit(limit)
        )
        return list(self._connection.execute(statement).scalars())

    def restore_deliveries(
        self, tenant_id: UUID, *, scheduled_since: datetime, expires_at: datetime, now: datetime, limit: int
    ) -> int:
        restored = 0
        own = select(webhooks.c.WebhookId).where(webhooks.c.TenantId == tenant_id)
        for webhook_id in self._connection.execute(own.order_by(webhooks.c.WebhookId)).scalars().all():
            # IX_WebhookDelivery_Webhook
            first = update_first(
                webhook_deliveries,
                _d.WebhookId == webhook_id,
                _d.ScheduledAt >= scheduled_since,
                unindexed(_d.DeliveryStatus).in_(WAITING),
                _d.ExpiresAt < expires_at,
                order_by=_d.ScheduledAt,
                limit=limit - restored,
            )
            # One that is held or waits for its turn is looked at when its time is over, as before.
            later = or_(_d.IsHeld == true(), _d.IsWaiting == true())
            looked_at = case((later, literal(expires_at, Utc())), else_=literal(now, Utc()))
            values = {"ExpiresAt": expires_at, "RequeueAt": looked_at}
            restored += self._connection.execute(first.values(values)).rowcount
            if restored == limit:
                break
        return restored


def _tenant(row: Row[Any]) -> Tenant:
    usage = TenantUsage(row.Users, row.Webhooks, row.ApiKeys, row.Integrations)
    has_standing = row.Version is not None
    return Tenant(
        standing_of(row),
        row.CreatedAt,
        usage,
        deletion=progress_of(row) if has_standing else DeletionProgress(),
    )


def _gone(row: Row[Any]) -> Tenant:
    return Tenant(standing_of(row), deletion=progress_of(row))
