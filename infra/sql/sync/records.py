"""The internal records: what synchronisation wrote, and what a tenant changed itself and pushes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DataError, IntegrityError

from domain.core.paging import Page, PageRequest
from domain.integrations.model import IntegrationStatus
from domain.sync.local_fields import LocalFields, local_edit
from domain.sync.merging import CLOCK_DIFFERENCE, IncomingRecord, Merge, StoredVersion
from domain.sync.model import SyncedRecord
from domain.sync.ports import LocalChange, LocalChanges, PushedRecord, RecordFilter, RecordsRefused, RunMark
from domain.sync.transforming import content_hash
from infra.sql.firsts import delete_first
from infra.sql.integrations.tables import integrations
from infra.sql.statements import guarded_by_unique_key, in_key_order, key_lists, page_of
from infra.sql.sync.tables import synced_records

_r = synced_records.c
COLUMNS = (
    _r.IntegrationId,
    _r.Stream,
    _r.ExternalId,
    _r.RecordType,
    _r.Data,
    _r.SyncedAt,
    _r.ModifiedAt,
    _r.DeletedAt,
    _r.LocalId,
    _r.IsLocal,
    _r.ExportPending,
    _r.SourceHash,
    _r.ExportedHash,
    _r.SourceVersion,
    _r.LocalFields,
    _r.LastJobId,
)
# the primary key
_MINE = and_(
    _r.TenantId == bindparam("tenant"),
    _r.IntegrationId == bindparam("integration"),
    _r.Stream == bindparam("stream"),
)
_IS_WAITING = _r.ExportPending == True  # noqa: E712
_KNOWN = select(
    _r.ExternalId,
    _r.SourceHash,
    _r.ModifiedAt,
    _r.DeletedAt,
    _r.Generation,
    _r.SourceVersion,
    _r.ExportPending,
    _r.RecordType,
    _r.LocalFields,
    # stored by an earlier release
    case((and_(_IS_WAITING, _r.LocalFields.is_(None)), _r.Data)).label("Whole"),
).where(_MINE, _r.ExternalId.in_(bindparam("ids", expanding=True)))
_ONE = and_(_MINE, _r.ExternalId == bindparam("id"))
_INSERT = insert(synced_records)
_UPDATE = (
    update(synced_records)
    .where(_ONE)
    .values(
        RecordType=bindparam("kind"),
        Data=bindparam("new_data"),
        SourceHash=bindparam("hash"),
        SourceVersion=bindparam("version"),
        ModifiedAt=bindparam("modified"),
        SyncedAt=bindparam("now"),
        DeletedAt=None,
        Generation=bindparam("gen"),
        LastJobId=bindparam("job"),
        LocalFields=bindparam("local"),
        IsLocal=False,
        ExportPending=False,
    )
)
#: The verdict on a waiting change: what it is to be pushed over. `_REBASE` tells the provider's other fields too.
_KEEP = (
    update(synced_records)
    .where(_ONE, _IS_WAITING)
    .values(
        SourceHash=bindparam("hash"),
        SourceVersion=bindparam("version"),
        Generation=bindparam("gen"),
        LastJobId=bindparam("job"),
        LocalFields=bindparam("local"),
    )
)
_REBASE = _KEEP.values(Data=bindparam("new_data"), SyncedAt=bindparam("now"))
_SEEN = (
    update(synced_records)
    .where(_MINE, _r.ExternalId.in_(bindparam("ids", expanding=True)))
    .values(Generation=bindparam("gen"))
)
_BURY = {
    "Data": None,
    "SourceHash": None,
    "SourceVersion": None,
    "LocalFields": None,
    "IsLocal": False,
    "ExportPending": False,
}
_TOMBSTONE = (
    update(synced_records)
    .where(_ONE)
    .values(
        DeletedAt=bindparam("now"),
        SyncedAt=bindparam("now"),
        Generation=bindparam("gen"),
        LastJobId=bindparam("job"),
        **_BURY,
    )
)
_DATED_TOMBSTONE = _TOMBSTONE.values(ModifiedAt=bindparam("modified"))
#: The external id of a record that no provider has seen yet.
LOCAL_PREFIX = "local:"


def record_of(row: Any) -> SyncedRecord:
    return SyncedRecord(
        integration_id=row.IntegrationId,
        stream=row.Stream,
        external_id=row.ExternalId,
        record_type=row.RecordType,
        data=row.Data,
        synced_at=row.SyncedAt,
        modified_at=row.ModifiedAt,
        deleted_at=row.DeletedAt,
        local_id=row.LocalId,
        is_local=row.IsLocal,
        export_pending=row.ExportPending,
        source_hash=row.SourceHash,
        exported_hash=row.ExportedHash,
        source_version=row.SourceVersion,
        local_fields=row.LocalFields,
        last_job_id=row.LastJobId,
    )


class SqlSyncRecords:
    """Satisfies `domain.sync.ports.SyncRecords`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def stored_versions(
        self, tenant_id: UUID, integration_id: UUID, stream: str, external_ids: Sequence[str]
    ) -> dict[str, StoredVersion]:
        found: dict[str, StoredVersion] = {}
        mine = _mine(tenant_id, integration_id, stream)
        for some in key_lists(external_ids):
            for row in self._connection.execute(_KNOWN, {**mine, "ids": some}):
                found[row.ExternalId] = StoredVersion(
                    source_hash=row.SourceHash,
                    modified_at=row.ModifiedAt,
                    is_deleted=row.DeletedAt is not None,
                    generation=row.Generation,
                    version=row.SourceVersion,
                    is_waiting=row.ExportPending,
                    record_type=row.RecordType,
                    local_fields=LocalFields(json.loads(row.Whole)).to_text()
                    if row.Whole
                    else row.LocalFields,
                )
        return found

    def store(
        self, tenant_id: UUID, integration_id: UUID, stream: str, merge: Merge, *, run: RunMark
    ) -> None:
        mine = _mine(tenant_id, integration_id, stream)
        with _refusing():
            if merge.inserts:
                key = {"TenantId": tenant_id, "IntegrationId": integration_id, "Stream": stream}
                rows = [_new(key, record, run) for record in merge.inserts]
                self._connection.execute(_INSERT, in_key_order(rows, "ExternalId"))
            kept = [_changed(mine, record, run) for record in merge.kept]
            gone = [_changed(mine, tombstone, run) for tombstone in merge.tombstones]
            for statement, each in (
                (_UPDATE, [_changed(mine, record, run) for record in merge.updates]),
                (_DATED_TOMBSTONE, [values for values in gone if values["modified"] is not None]),
                (_TOMBSTONE, [values for values in gone if values["modified"] is None]),
                (_REBASE, [values for values in kept if values["new_data"] is not None]),
                (_KEEP, [values for values in kept if values["new_data"] is None]),
            ):
                if each:
                    rows = in_key_order((_given(statement, values) for values in each), "id")
                    self._connection.execute(statement, rows)
            for some in key_lists(merge.seen):
                self._connection.execute(_SEEN, {**mine, "ids": some, "gen": run.generation})

    def unseen(
        self, tenant_id: UUID, integration_id: UUID, stream: str, *, generation: int, after: str, limit: int
    ) -> list[str]:
        # the primary key, in its order
        statement = (
            select(_r.ExternalId)
            .where(
                _r.TenantId == tenant_id,
                _r.IntegrationId == integration_id,
                _r.Stream == stream,
                _r.ExternalId > after,
                _unseen(generation),
            )
            .order_by(_r.ExternalId)
            .limit(limit)
        )
        return list(self._connection.execute(statement).scalars())

    def bury(
        self, tenant_id: UUID, integration_id: UUID, stream: str, external_ids: Sequence[str], *, run: RunMark
    ) -> int:
        buried = 0
        for some in key_lists(external_ids):
            unseen = and_(
                _r.TenantId == tenant_id,
                _r.IntegrationId == integration_id,
                _r.Stream == stream,
                _r.ExternalId.in_(some),
                _unseen(run.generation),
            )
            gone = update(synced_records).where(unseen, not_(_IS_WAITING))
            gone = gone.values(DeletedAt=run.now, SyncedAt=run.now, LastJobId=run.job_id, **_BURY)
            buried += self._connection.execute(gone).rowcount
            deleted_twice = update(synced_records).where(unseen, _r.DeletedAt.is_not(None))
            self._connection.execute(deleted_twice.values(LastJobId=run.job_id, **_BURY))
            anew = update(synced_records).where(unseen, _IS_WAITING)
            anew = anew.values(LastJobId=run.job_id, SourceHash=None, SourceVersion=None)
            self._connection.execute(anew)
        return buried

    def page(self, tenant_id: UUID, integration_id: UUID, filter_: RecordFilter) -> list[SyncedRecord]:
        # IX_SyncedRecord_Changed
        statement = select(*COLUMNS).where(_r.TenantId == tenant_id, _r.IntegrationId == integration_id)
        if filter_.record_type is not None:
            statement = statement.where(_r.RecordType == filter_.record_type.value)
        if filter_.stream is not None:
            statement = statement.where(_r.Stream == filter_.stream)
        if filter_.since is not None:
            statement = statement.where(_r.SyncedAt >= filter_.since)
        if filter_.after is not None:
            at, stream, key = filter_.after
            beyond = or_(_r.Stream > stream, and_(_r.Stream == stream, _r.ExternalId > key))
            statement = statement.where(_r.SyncedAt >= at, or_(_r.SyncedAt > at, beyond))
        ordered = statement.order_by(_r.SyncedAt, _r.Stream, _r.ExternalId).limit(filter_.limit)
        return self._records(ordered)

    def of_job(self, tenant_id: UUID, job_id: UUID, page: PageRequest) -> Page[SyncedRecord]:
        # IX_SyncedRecord_Job
        statement = select(*COLUMNS).where(_r.LastJobId == job_id, _r.TenantId == tenant_id)
        ordered = statement.order_by(_r.Stream, _r.ExternalId)
        return page_of(self._connection, ordered, page, record_of)

    def forget_disconnected(self, limit: int) -> int:
        """Personal data is not kept for an integration that is grecord."""
        gone = select(integrations.c.IntegrationId).where(
            integrations.c.Status == int(IntegrationStatus.Disconnected)
        )
        # All at once: SQL Server's connection is busy until the last row is read.
        for integration_id in self._connection.execute(gone).scalars().all():
            its = _r.IntegrationId == integration_id
            some = delete_first(synced_records, its, order_by=_r.Stream, limit=limit)
            deleted = self._connection.execute(some).rowcount
            if deleted:
                return deleted
        return 0

    def delete_tombstones(self, cutoff: datetime, limit: int) -> int:
        # IX_SyncedRecord_Deleted
        oldest = delete_first(synced_records, _r.DeletedAt < cutoff, order_by=_r.DeletedAt, limit=limit)
        return self._connection.execute(oldest).rowcount

    def _records(self, statement: Select[Any]) -> list[SyncedRecord]:
        return [record_of(row) for row in self._connection.execute(statement)]

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
        here = and_(_r.TenantId == tenant_id, _r.IntegrationId == integration_id, _r.Stream == stream)
        for result in sorted(results, key=lambda result: result.record.external_id):
            record, is_renamed = result.record, result.external_id != result.record.external_id
            if is_renamed:
                # An import may have listed it already under the provider's id: that row is the same record.
                self._connection.execute(
                    delete(synced_records).where(here, _r.ExternalId == result.external_id)
                )
            values: dict[str, Any] = {
                "ExternalId": result.external_id,
                "ExportedHash": content_hash(result.data) if result.data is not None else None,
                "SourceHash": result.hash if record.data is not None else None,
                "SourceVersion": result.version,
                "LastJobId": run.job_id,
            }
            self._connection.execute(
                update(synced_records).where(here, _r.ExternalId == record.external_id).values(**values)
            )
            settled: dict[str, Any] = {"ExportPending": False, "LocalFields": result.local_fields}
            if result.modified_at is not None:
                settled["ModifiedAt"] = result.modified_at
            if result.data is not None:
                settled["Data"] = result.data
            if is_renamed or result.data != record.data:
                settled["SyncedAt"] = run.now
            self._connection.execute(
                update(synced_records)
                .where(here, _r.ExternalId == result.external_id, _r.SyncedAt == record.synced_at)
                .values(**settled)
            )
            if is_renamed and not record.external_id.startswith(LOCAL_PREFIX):
                self._leave_tombstone(record, tenant_id, run)

    def _leave_tombstone(self, record: SyncedRecord, tenant_id: UUID, run: RunMark) -> None:
        """Say to who reads the changes that a record which was made anew has its former id no longer."""
        self._connection.execute(
            insert(synced_records).values(
                IntegrationId=record.integration_id,
                Stream=record.stream,
                ExternalId=record.external_id,
                TenantId=tenant_id,
                RecordType=record.record_type,
                ModifiedAt=record.modified_at,
                SyncedAt=run.now,
                DeletedAt=run.now,
                LastJobId=run.job_id,
            )
        )

    def change(
        self, tenant_id: UUID, integration_id: UUID, changes: Sequence[LocalChange], now: datetime
    ) -> LocalChanges:
        in_order = sorted(changes, key=_place)
        fields = [self._change(tenant_id, integration_id, change, now) for change in in_order]
        stored = [
            local.not_pushed(change.pushes) for change, local in zip(in_order, fields, strict=True) if local
        ]
        return LocalChanges(len(stored), frozenset().union(*stored))

    def _change(
        self, tenant_id: UUID, integration_id: UUID, change: LocalChange, now: datetime
    ) -> LocalFields | None:
        """Store a change that is the latest and return the tenant's fields of the record, else None."""
        here = and_(_r.TenantId == tenant_id, _r.IntegrationId == integration_id, _r.Stream == change.stream)
        # the primary key, or IX_SyncedRecord_Local
        which = _r.ExternalId == change.external_id if change.external_id else _r.LocalId == change.local_id
        row = self._connection.execute(select(*COLUMNS).where(here, which)).first()
        data, local = _edited(record_of(row) if row is not None else None, change)
        values: dict[str, Any] = {
            "RecordType": change.record_type.value,
            "Data": data,
            "LocalFields": local.to_text(),
            "ModifiedAt": change.modified_at,
            "SyncedAt": now,
            "DeletedAt": None if change.data is not None else now,
            "IsLocal": True,
            "ExportPending": True,
        }
        if row is not None:
            known = record_of(row)
            ahead = now + CLOCK_DIFFERENCE  # a moment of a clock that was wrong decides nothing
            if known.modified_at is not None and change.modified_at < known.modified_at <= ahead:
                return None
            if change.data is None and known.external_id.startswith(LOCAL_PREFIX):
                values["ExportPending"] = False  # never pushed: there is nothing to delete
            if change.local_id:
                values["LocalId"] = change.local_id
            # Whoever wrote since it was read was later, or loses.
            not_newer = or_(
                _r.ModifiedAt.is_(None), _r.ModifiedAt <= change.modified_at, _r.ModifiedAt > ahead
            )
            changed = update(synced_records).where(here, _r.ExternalId == known.external_id, not_newer)
            return local if self._connection.execute(changed.values(**values)).rowcount == 1 else None
        if change.data is None:
            return None
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
        return local


def _place(change: LocalChange) -> tuple[str, str]:
    return change.stream, change.external_id or f"{LOCAL_PREFIX}{change.local_id}"


def _edited(known: SyncedRecord | None, change: LocalChange) -> tuple[str | None, LocalFields]:
    if change.data is None:
        return None, LocalFields()
    named = json.loads(change.data) if change.named is None else change.named
    both = local_edit(known, change.record_type, named)
    return both if both is not None else (change.data, LocalFields(named))


def _mine(tenant_id: UUID, integration_id: UUID, stream: str) -> dict[str, Any]:
    return {"tenant": tenant_id, "integration": integration_id, "stream": stream}


def _unseen(generation: int) -> Any:
    """Return the condition of rows older than the run: live ones, and waiting changes to what the provider had."""
    is_waiting = and_(_IS_WAITING, _r.SourceHash.is_not(None))
    is_live = and_(not_(_IS_WAITING), _r.DeletedAt.is_(None))
    return and_(_r.Generation < generation, or_(is_live, is_waiting))


def _new(key: Mapping[str, Any], record: IncomingRecord, run: RunMark) -> dict[str, Any]:
    return {
        **key,
        "ExternalId": record.external_id,
        "RecordType": record.record_type,
        "Data": record.data,
        "SourceHash": record.hash,
        "SourceVersion": record.version,
        "ModifiedAt": record.modified_at,
        "SyncedAt": run.now,
        "Generation": run.generation,
        "LastJobId": run.job_id,
    }


def _changed(mine: Mapping[str, Any], record: IncomingRecord, run: RunMark) -> dict[str, Any]:
    return {
        **mine,
        "id": record.external_id,
        "kind": record.record_type,
        "new_data": record.data,
        "hash": record.hash or None,
        "version": record.version if record.hash else None,
        "local": record.local_fields,
        "modified": record.modified_at,
        "now": run.now,
        "gen": run.generation,
        "job": run.job_id,
    }


def _given(statement: Update, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the statement has parameters for."""
    wanted = _parameters(statement)
    return {name: value for name, value in values.items() if name in wanted}


@lru_cache(maxsize=8)
def _parameters(statement: Update) -> frozenset[str]:
    return frozenset(statement.compile().params)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (DataError, IntegrityError) as error:
        raise RecordsRefused from error


def _outgoing(tenant_id: UUID, integration_id: UUID, stream: str, everything: bool) -> Any:
    """Return the condition of rows to push. What the provider changed last is not `IsLocal`, so nothing goes round."""
    mine = and_(_r.TenantId == tenant_id, _r.IntegrationId == integration_id, _r.Stream == stream)
    if everything:
        return and_(mine, _r.IsLocal == True, (_r.DeletedAt.is_(None)) | (_r.ExportPending == True))  # noqa: E712
    return and_(mine, _r.ExportPending == True)  # noqa: E712
