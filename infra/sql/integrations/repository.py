"""Integrations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from domain.core.paging import Page, PageRequest
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus, SuspensionCause
from domain.integrations.ports import HealthUpdate, IntegrationFilter, SlotTaken
from domain.integrations.rules import active_slot
from domain.providers.contract import IntegrationType
from infra.sql.integrations.tables import integrations
from infra.sql.statements import (
    containing,
    in_key_order,
    key_lists,
    page_of,
    raising_when_taken,
    row_of,
    unindexed,
    update_version,
)
from infra.sql.tenants.standings import is_suspended

_i = integrations.c
_SORTS = {
    "name": _i.Name,
    "createdAt": _i.CreatedAt,
    "modifiedAt": _i.ModifiedAt,
    "status": _i.Status,
    "integrationType": _i.IntegrationType,
    "provider": _i.Provider,
    "lastHealthCheck": _i.LastHealthCheck,
}


def _integration_of(row: Any) -> Integration:
    return Integration(
        integration_id=row.IntegrationId,
        tenant_id=row.TenantId,
        name=row.Name,
        integration_type=IntegrationType(row.IntegrationType),
        provider=row.Provider,
        status=IntegrationStatus(row.Status),
        sealed_configuration=row.Configuration,
        created_at=row.CreatedAt,
        created_by=row.CreatedBy,
        secret_name=row.SecretName,
        is_enabled=row.IsEnabled,
        allow_tls_1_2=row.AllowTls12,
        reason=row.StatusReason,
        suspension=None if row.SuspensionCause is None else SuspensionCause(row.SuspensionCause),
        validated_at=row.ValidatedAt,
        sealed_account=row.Account,
        health_status=HealthStatus(row.HealthStatus),
        vitals=row.Vitals,
        consecutive_failures=row.ConsecutiveFailures,
        probe_after=row.ProbeAfter,
        last_health_check=row.LastHealthCheck,
        last_sync_time=row.LastSyncTime,
        modified_at=row.ModifiedAt,
        modified_by=row.ModifiedBy,
        owner_id=row.OwnerId,
        account_hash=row.AccountHash,
        client_hash=row.ClientHash,
        version=row.Version,
    )


def _values(integration: Integration) -> dict[str, Any]:
    return {
        "Name": integration.name,
        "Status": int(integration.status),
        "Configuration": integration.sealed_configuration,
        "SecretName": integration.secret_name,
        "IsEnabled": integration.is_enabled,
        "AllowTls12": integration.allow_tls_1_2,
        "StatusReason": integration.reason,
        "SuspensionCause": None if integration.suspension is None else int(integration.suspension),
        "ValidatedAt": integration.validated_at,
        "Account": integration.sealed_account,
        "AccountHash": integration.account_hash,
        "HealthStatus": int(integration.health_status),
        "Vitals": integration.vitals,
        "ConsecutiveFailures": integration.consecutive_failures,
        "ProbeAfter": integration.probe_after,
        "LastHealthCheck": integration.last_health_check,
        "ActiveSlot": active_slot(integration),
        "ModifiedAt": integration.modified_at,
        "ModifiedBy": integration.modified_by,
    }


class SqlIntegrations:
    """Satisfies `domain.integrations.ports.Integrations`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, tenant_id: UUID, integration: Integration) -> None:
        self._connection.execute(
            insert(integrations).values(
                IntegrationId=integration.integration_id,
                TenantId=tenant_id,
                IntegrationType=int(integration.integration_type),
                Provider=integration.provider,
                CreatedAt=integration.created_at,
                CreatedBy=integration.created_by,
                OwnerId=integration.owner_id,
                **_values(integration),
            )
        )

    def get(self, tenant_id: UUID, integration_id: UUID) -> Integration:
        statement = select(integrations).where(_i.TenantId == tenant_id, _i.IntegrationId == integration_id)
        return _integration_of(row_of(self._connection, statement, "integration"))

    def find(self, integration_id: UUID) -> Integration | None:
        row = self._connection.execute(select(integrations).where(_i.IntegrationId == integration_id)).first()
        return None if row is None else _integration_of(row)

    def page(self, tenant_id: UUID, filter_: IntegrationFilter, page: PageRequest) -> Page[Integration]:
        statement = _filtered(select(integrations).where(_i.TenantId == tenant_id), filter_)
        column = _SORTS[filter_.sort]
        ordered = statement.order_by(column.desc() if filter_.descending else column, _i.IntegrationId)
        return page_of(self._connection, ordered, page, _integration_of)

    def count(self, tenant_id: UUID) -> int:
        # IX_Integration_Tenant
        kept = _i.Status != int(IntegrationStatus.Disconnected)
        statement = select(func.count()).select_from(integrations).where(_i.TenantId == tenant_id, kept)
        return self._connection.execute(statement).scalar_one()

    def update(self, tenant_id: UUID, integration: Integration) -> None:
        key = {"TenantId": tenant_id, "IntegrationId": integration.integration_id}
        with raising_when_taken(SlotTaken):
            update_version(
                self._connection,
                integrations,
                key,
                _values(integration),
                version=integration.version,
                what="integration",
            )

    def slot_holder(self, tenant_id: UUID, slot: str) -> UUID | None:
        statement = select(_i.IntegrationId).where(_i.TenantId == tenant_id, _i.ActiveSlot == slot)
        return self._connection.execute(statement).scalar()

    def due_for_check(
        self, now: datetime, *, after: UUID | None, checked_before: datetime, limit: int
    ) -> list[Integration]:
        is_due = or_(
            _i.Status == int(IntegrationStatus.Active),
            and_(_i.Status == int(IntegrationStatus.Suspended), _i.ProbeAfter <= now),
        )
        unchecked = or_(_i.LastHealthCheck.is_(None), _i.LastHealthCheck < checked_before)
        statement = select(integrations).where(
            _i.IsEnabled == True,  # noqa: E712
            is_due,
            unchecked,
            ~is_suspended(_i.TenantId),
        )
        if after is not None:
            statement = statement.where(_i.IntegrationId > after)
        rows = self._connection.execute(statement.order_by(_i.IntegrationId).limit(limit))
        return [_integration_of(row) for row in rows]

    def record_checks(self, updates: Sequence[HealthUpdate]) -> None:
        if not updates:
            return
        as_checked = and_(
            _i.IntegrationId == bindparam("checked_id"),
            _i.Status == bindparam("checked_status"),
            # The empty text stands in the statement, since the type of a second parameter here could not be deduced.
            func.coalesce(_i.SecretName, literal_column("''")) == bindparam("checked_secret"),
        )
        statement = (
            update(integrations)
            .where(as_checked)
            .values(
                HealthStatus=bindparam("health"),
                Vitals=bindparam("new_vitals"),
                ConsecutiveFailures=bindparam("failures"),
                ProbeAfter=bindparam("probe"),
                LastHealthCheck=bindparam("at"),
            )
        )
        self._connection.execute(statement, in_key_order(map(_check, updates), "checked_id"))

    def secret_names(self, names: Collection[str]) -> set[str]:
        found: set[str] = set()
        for some in key_lists(names):
            statement = select(_i.SecretName).where(_i.SecretName.in_(some))
            found.update(self._connection.execute(statement).scalars())
        return found

    def note_client(self, integration_id: UUID, client_hash: str) -> None:
        mine = _i.IntegrationId == integration_id
        self._connection.execute(update(integrations).where(mine).values(ClientHash=client_hash))

    def of_client(
        self, client_hash: str, account_hash: str | None, *, after: UUID | None, limit: int
    ) -> list[Integration]:
        # IX_Integration_Client
        is_connected = unindexed(_i.Status) != int(IntegrationStatus.Disconnected)
        statement = select(integrations).where(_i.ClientHash == client_hash, is_connected)
        if account_hash is not None:
            statement = statement.where(or_(_i.AccountHash == account_hash, _i.AccountHash.is_(None)))
        if after is not None:
            statement = statement.where(_i.IntegrationId > after)
        rows = self._connection.execute(statement.order_by(_i.IntegrationId).limit(limit))
        return [_integration_of(row) for row in rows]

    def all_ids(self, *, after: UUID | None, limit: int) -> list[UUID]:
        statement = select(_i.IntegrationId).order_by(_i.IntegrationId).limit(limit)
        if after is not None:
            statement = statement.where(_i.IntegrationId > after)
        return list(self._connection.execute(statement).scalars())


def is_calendar_of(user_id: UUID) -> ColumnElement[bool]:
    """Return the condition of a calendar whose owner, or without one its creator, is the user."""
    is_calendar = unindexed(_i.IntegrationType) == int(IntegrationType.CalendarSync)
    return and_(is_calendar, func.coalesce(_i.OwnerId, _i.CreatedBy) == user_id)


def _filtered(statement: Select[Any], filter_: IntegrationFilter) -> Select[Any]:
    if filter_.types:
        statement = statement.where(_i.IntegrationType.in_([int(type_) for type_ in filter_.types]))
    if filter_.statuses:
        statement = statement.where(_i.Status.in_([int(status) for status in filter_.statuses]))
    else:
        statement = statement.where(_i.Status != int(IntegrationStatus.Disconnected))
    if filter_.providers:
        statement = statement.where(_i.Provider.in_(filter_.providers))
    if filter_.health:
        statement = statement.where(_i.HealthStatus.in_([int(health) for health in filter_.health]))
    if filter_.calendars_of is not None:
        statement = statement.where(is_calendar_of(filter_.calendars_of))
    if filter_.text:
        wanted = filter_.text.lower()
        statement = statement.where(
            or_(
                containing(func.lower(_i.Name, type_=_i.Name.type), wanted),
                containing(func.lower(_i.Provider, type_=_i.Provider.type), wanted),
            )
        )
    return statement


def _check(update_: HealthUpdate) -> dict[str, Any]:
    checked = update_.checked
    return {
        "checked_id": checked.integration_id,
        "checked_status": int(checked.status),
        "checked_secret": checked.secret_name or "",
        "health": int(update_.health_status),
        "new_vitals": update_.vitals,
        "failures": update_.consecutive_failures,
        "probe": update_.probe_after,
        "at": update_.at,
    }
