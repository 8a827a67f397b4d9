"""Schedules, mappings, and what is known of streams between jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from domain.core.errors import NotFound
from domain.sync.model import StreamState, SyncDirection, SyncType
from domain.sync.ports import StoredMapping
from domain.sync.schedules import SyncSchedule
from infra.sql.statements import guarded_by_unique_key, put_version
from infra.sql.sync.tables import sync_mappings, sync_schedules, sync_streams
from infra.sql.tenants.standings import is_suspended

_m = sync_mappings.c
_c = sync_schedules.c
_t = sync_streams.c
EMPTY_MAPPING = '{"streams":{}}'


def _schedule_of(row: Any) -> SyncSchedule:
    return SyncSchedule(
        integration_id=row.IntegrationId,
        tenant_id=row.TenantId,
        sync_type=SyncType(row.SyncType),
        direction=SyncDirection(row.Direction),
        expression=row.Expression,
        interval_minutes=row.IntervalMinutes,
        is_enabled=row.IsEnabled,
        next_run_at=row.NextRunAt,
        modified_at=row.ModifiedAt,
        modified_by=row.ModifiedBy,
        version=row.Version,
    )


class SqlSyncSettings:
    """Satisfies `domain.sync.ports.SyncSettings`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def mapping(self, tenant_id: UUID, integration_id: UUID) -> StoredMapping:
        statement = select(_m.Mapping, _m.Version).where(
            _m.IntegrationId == integration_id, _m.TenantId == tenant_id
        )
        row = self._connection.execute(statement).first()
        return StoredMapping(EMPTY_MAPPING) if row is None else StoredMapping(row.Mapping, row.Version)

    def set_mapping(
        self, tenant_id: UUID, integration_id: UUID, mapping: StoredMapping, *, by: UUID, now: datetime
    ) -> None:
        values = {"Mapping": mapping.mapping, "ModifiedAt": now, "ModifiedBy": by}
        key = {"IntegrationId": integration_id, "TenantId": tenant_id}
        put_version(self._connection, sync_mappings, key, values, version=mapping.version, what="mapping")

    def schedule(self, tenant_id: UUID, integration_id: UUID) -> SyncSchedule:
        statement = select(sync_schedules).where(_c.IntegrationId == integration_id, _c.TenantId == tenant_id)
        row = self._connection.execute(statement).first()
        if row is None:
            raise NotFound("The integration has no schedule.")
        return _schedule_of(row)

    def set_schedule(self, tenant_id: UUID, schedule: SyncSchedule) -> None:
        values = {
            "SyncType": int(schedule.sync_type),
            "Direction": int(schedule.direction),
            "Expression": schedule.expression,
            "IntervalMinutes": schedule.interval_minutes,
            "IsEnabled": schedule.is_enabled,
            "NextRunAt": schedule.next_run_at,
            "ModifiedAt": schedule.modified_at,
            "ModifiedBy": schedule.modified_by,
        }
        key = {"IntegrationId": schedule.integration_id, "TenantId": tenant_id}
        put_version(self._connection, sync_schedules, key, values, version=schedule.version, what="schedule")

    def due(self, until: datetime, limit: int) -> list[SyncSchedule]:
        # IX_SyncSchedule_Next
        due = select(sync_schedules).where(_c.NextRunAt < until, ~is_suspended(_c.TenantId))
        statement = due.order_by(_c.NextRunAt).limit(limit)
        return [_schedule_of(row) for row in self._connection.execute(statement)]

    def move_on(self, schedule: SyncSchedule, next_run_at: datetime | None) -> bool:
        statement = (
            update(sync_schedules)
            .where(
                _c.IntegrationId == schedule.integration_id,
                _c.Version == schedule.version,
                _c.NextRunAt == schedule.next_run_at,
            )
            .values(NextRunAt=next_run_at)
        )
        return self._connection.execute(statement).rowcount == 1

    def stream(self, tenant_id: UUID, integration_id: UUID, stream: str) -> StreamState:
        statement = select(sync_streams).where(
            _t.IntegrationId == integration_id, _t.Stream == stream, _t.TenantId == tenant_id
        )
        row = self._connection.execute(statement).first()
        if row is None:
            return StreamState(integration_id, tenant_id, stream)
        return StreamState(
            integration_id,
            tenant_id,
            stream,
            row.State,
            row.Since,
            row.Generation,
            row.LastTotal,
            row.LastFullAt,
            row.SyncedAt,
        )

    def set_stream(self, tenant_id: UUID, state: StreamState) -> None:
        values = {
            "State": state.state,
            "Since": state.since,
            "Generation": state.generation,
            "LastTotal": state.last_total,
            "LastFullAt": state.last_full_at,
            "SyncedAt": state.synced_at,
        }
        here = (
            _t.IntegrationId == state.integration_id,
            _t.Stream == state.stream,
            _t.TenantId == tenant_id,
        )
        changed = self._connection.execute(update(sync_streams).where(*here).values(**values))
        if changed.rowcount == 0:
            with guarded_by_unique_key():
                self._connection.execute(
                    insert(sync_streams).values(
                        IntegrationId=state.integration_id, Stream=state.stream, TenantId=tenant_id, **values
                    )
                )
