"""The records that go out: a tenant's own changes, and what became of them at the provider."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, delete, func, insert, or_, select, update

from domain.sync.model import SyncedRecord
from domain.sync.ports import LocalChange, PushedRecord, RunMark
from infra.sql.statements import guarded_by_unique_key
from infra.sql.sync.records import COLUMNS, SqlImportedRecords, record_of
from infra.sql.sync.tables import synced_records

_r = synced_records.c
#: The external id of a record that no provider has seen yet.
LOCAL_PREFIX = "local:"


class SqlSyncRecords(SqlImportedRecords):
    """Satisfies `domain.sync.ports.SyncRecords`."""

    def to_export(
        self,
        tenant_id: UUID,
        integration_id: UUID,
        stream: str,
        *,
        after: str,
        limit: int,
        everything: bool,
    ) -> list[SyncedRecord]:
        # IX_SyncedRecord_Export, or the primary key
        statement = (
            select(*COLUMNS)
            .where(_outgoing(tenant_id, integration_id, stream, everything), _r.ExternalId > after)
            .order_by(_r.ExternalId)
            .limit(limit)
        )
        return self._records(statement)

    def count_export(self, tenant_id: UUID, integration_id: UUID, stream: str, *, everything: bool) -> int:
        counted = select(func.count()).where(_outgoing(tenant_id, integration_id, stream, everything))
        return self._connection.execute(counted).scalar_one()

    def pushed(
        self,
        tenant_id: UUID,
        integration_id: UUID,
        stream: str,
        results: Sequence[PushedRecord],
        *,
        run: RunMark,
    ) -> None:
        for result in results:
            here = and_(_r.TenantId == tenant_id, _r.IntegrationId == integration_id, _r.Stream == stream)
            record = result.record
            if result.external_id != record.external_id:
                # An import may have listed it already under the provider's id: that row is the same record.
                self._connection.execute(
                    delete(synced_records).where(here, _r.ExternalId == result.external_id)
                )
            values: dict[str, Any] = {
                "ExternalId": result.external_id,
                "ExportedHash": result.hash,
                "SourceHash": result.hash if record.data is not None else None,
                "SourceVersion": result.version,
                "LastJobId": run.job_id,
            }
            self._connection.execute(
                update(synced_records).where(here, _r.ExternalId == record.external_id).values(**values)
            )
            settled: dict[str, Any] = {"ExportPending": False}
            if result.modified_at is not None:
                settled["ModifiedAt"] = result.modified_at
            self._connection.execute(
                update(synced_records)
                .where(here, _r.ExternalId == result.external_id, _r.SyncedAt == record.synced_at)
                .values(**settled)
            )

    def change(
        self, tenant_id: UUID, integration_id: UUID, changes: Sequence[LocalChange], now: datetime
    ) -> int:
        return sum(self._change(tenant_id, integration_id, change, now) for change in changes)

    def _change(self, tenant_id: UUID, integration_id: UUID, change: LocalChange, now: datetime) -> bool:
        here = and_(_r.TenantId == tenant_id, _r.IntegrationId == integration_id, _r.Stream == change.stream)
        # the primary key, or IX_SyncedRecord_Local
        which = _r.ExternalId == change.external_id if change.external_id else _r.LocalId == change.local_id
        row = self._connection.execute(select(*COLUMNS).where(here, which)).first()
        values: dict[str, Any] = {
            "RecordType": change.record_type.value,
            "Data": change.data,
            "ModifiedAt": change.modified_at,
            "SyncedAt": now,
            "DeletedAt": None if change.data is not None else now,
            "IsLocal": True,
            "ExportPending": True,
        }
        if row is not None:
            known = record_of(row)
            if known.modified_at is not None and change.modified_at < known.modified_at:
                return False
            if change.data is None and known.external_id.startswith(LOCAL_PREFIX):
                values["ExportPending"] = False  # never pushed: there is nothing to delete
            if change.local_id:
                values["LocalId"] = change.local_id
            # Whoever wrote since it was read was later, or loses.
            not_newer = or_(_r.ModifiedAt.is_(None), _r.ModifiedAt <= change.modified_at)
            changed = update(synced_records).where(here, _r.ExternalId == known.external_id, not_newer)
            return self._connection.execute(changed.values(**values)).rowcount == 1
        if change.data is None:
            return False
        key = change.external_id or f"{LOCAL_PREFIX}{change.local_id}"
        with guarded_by_unique_key():
            self._connection.execute(
                insert(synced_records).values(
                    IntegrationId=integration_id,
                    Stream=change.stream,
                    ExternalId=key,
                    TenantId=tenant_id,
                    LocalId=change.local_id,
                    **values,
                )
            )
        return True


def _outgoing(tenant_id: UUID, integration_id: UUID, stream: str, everything: bool) -> Any:
    """Return the condition of rows to push. What the provider changed last is not `IsLocal`, so nothing goes round."""
    mine = and_(_r.TenantId == tenant_id, _r.IntegrationId == integration_id, _r.Stream == stream)
    if everything:
        return and_(mine, _r.IsLocal == True, (_r.DeletedAt.is_(None)) | (_r.ExportPending == True))  # noqa: E712
    return and_(mine, _r.ExportPending == True)  # noqa: E712
