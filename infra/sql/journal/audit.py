"""The audit log, chained per tenant under the tenant's row lock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from domain.core.paging import Page, PageRequest
from domain.core.ports import Clock
from domain.journal.audit import AuditEntry, AuditFilter, AuditRecord, ChainEnds, chained_hash, state_text
from infra.sql.journal.tables import audit_log
from infra.sql.statements import beginning, page_of, within
from infra.sql.tenants.repository import lock_tenant
from infra.sql.tenants.tables import tenants

_a = audit_log.c
_t = tenants.c
_ROW: Select[Any] = select(
    _a.TenantId,
    _a.Sequence,
    _a.OccurredAt,
    _a.ActorUserId,
    _a.ActorKeyId,
    _a.Action,
    _a.TargetType,
    _a.TargetId,
    _a.Before,
    _a.After,
    _a.RequestId,
    _a.TraceId,
    _a.IpAddress,
    _a.PreviousHash,
    _a.Hash,
)


class SqlAudit:
    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._new: list[AuditRecord] = []

    def append(self, tenant_id: UUID, entry: AuditEntry) -> None:
        lock_tenant(self._connection, tenant_id)
        ends = self.ends(tenant_id)
        principal = entry.principal
        record = AuditRecord(
            tenant_id=tenant_id,
            sequence=ends.head_sequence + 1,
            occurred_at=self._clock.now(),
            actor_user_id=principal.user_id if principal else None,
            actor_key_id=principal.api_key_id if principal else None,
            action=entry.action,
            target_type=entry.target_type,
            target_id=str(entry.target_id),
            before=state_text(entry.before),
            after=state_text(entry.after),
            request_id=principal.origin.request_id if principal else None,
            trace_id=principal.origin.trace_id if principal else None,
            ip_address=principal.origin.ip if principal else None,
            previous_hash=ends.head_hash,
        )
        record = replace(record, hash=chained_hash(record))
        self._connection.execute(insert(audit_log).values(_values(record)))
        self._connection.execute(
            update(tenants)
            .where(_t.TenantId == tenant_id)
            .values(AuditSequence=record.sequence, AuditHash=record.hash)
        )
        self._new.append(record)

    def take_new(self) -> list[AuditRecord]:
        """Return the rows appended since the last call, for the log after commit."""
        new, self._new = self._new, []
        return new

    def page(self, tenant_id: UUID, filter_: AuditFilter, page: PageRequest) -> Page[AuditRecord]:
        statement = _filtered(tenant_id, filter_)
        ordered = statement.order_by(_a.Sequence.desc())
        return page_of(self._connection, ordered, page, _record_of)

    def ends(self, tenant_id: UUID) -> ChainEnds:
        statement = select(_t.AuditAnchorSequence, _t.AuditAnchorHash, _t.AuditSequence, _t.AuditHash)
        row = self._connection.execute(statement.where(_t.TenantId == tenant_id)).one()
        return ChainEnds(*row)

    def chain(self, tenant_id: UUID, after: int, limit: int) -> Sequence[AuditRecord | int]:
        ordered = _ROW.where(_a.TenantId == tenant_id, _a.Sequence > after).order_by(_a.Sequence).limit(limit)
        try:
            return [_record_of(row) for row in self._connection.execute(ordered)]
        except (ValueError, TypeError, DBAPIError):
            # A value was made unreadable: find out which row it is in.
            return [self._one(tenant_id, sequence) for sequence in self._sequences(tenant_id, after, limit)]

    def forget_before(self, tenant_id: UUID, cutoff: datetime, *, last: int, limit: int) -> int:
        lock_tenant(self._connection, tenant_id)
        anchor = self.ends(tenant_id).anchor_sequence
        oldest = (
            select(_a.Sequence, _a.OccurredAt, _a.Hash)
            .where(_a.TenantId == tenant_id, _a.Sequence > anchor, _a.Sequence <= last)
            .order_by(_a.Sequence)
            .limit(limit)
        )
        removed: tuple[int, str] | None = None
        for sequence, occurred_at, hash_ in self._connection.execute(oldest).all():
            if occurred_at >= cutoff:
                break
            removed = (sequence, hash_)
        if removed is None:
            return 0
        deleted = self._connection.execute(
            delete(audit_log).where(_a.TenantId == tenant_id, _a.Sequence <= removed[0])
        )
        self._connection.execute(
            update(tenants)
            .where(_t.TenantId == tenant_id)
            .values(AuditAnchorSequence=removed[0], AuditAnchorHash=removed[1])
        )
        return deleted.rowcount

    def _sequences(self, tenant_id: UUID, after: int, limit: int) -> list[int]:
        statement = select(_a.Sequence).where(_a.TenantId == tenant_id, _a.Sequence > after)
        return list(self._connection.execute(statement.order_by(_a.Sequence).limit(limit)).scalars())

    def _one(self, tenant_id: UUID, sequence: int) -> AuditRecord | int:
        try:
            row = self._connection.execute(
                _ROW.where(_a.TenantId == tenant_id, _a.Sequence == sequence)
            ).one()
        except (ValueError, TypeError, DBAPIError):
            return sequence
        return _record_of(row)


def _record_of(row: Any) -> AuditRecord:
    """Read a row of _ROW."""
    return AuditRecord(*row)


def _filtered(tenant_id: UUID, filter_: AuditFilter) -> Select[Any]:
    statement = _ROW.where(_a.TenantId == tenant_id)
    if filter_.actor_id is not None:
        actor = filter_.actor_id
        statement = statement.where((_a.ActorUserId == actor) | (_a.ActorKeyId == actor))
    if filter_.action is not None and filter_.action.endswith("*"):
        statement = statement.where(beginning(_a.Action, filter_.action[:-1]))
    elif filter_.action is not None:
        statement = statement.where(_a.Action == filter_.action)
    if filter_.target_type is not None:
        statement = statement.where(_a.TargetType == filter_.target_type)
    if filter_.target_id is not None:
        statement = statement.where(_a.TargetId == filter_.target_id)
    return within(statement, _a.OccurredAt, filter_.since, filter_.until)


def _values(record: AuditRecord) -> dict[str, Any]:
    return {
        "TenantId": record.tenant_id,
        "Sequence": record.sequence,
        "OccurredAt": record.occurred_at,
        "ActorUserId": record.actor_user_id,
        "ActorKeyId": record.actor_key_id,
        "Action": record.action,
        "TargetType": record.target_type,
        "TargetId": record.target_id,
        "Before": record.before,
        "After": record.after,
        "RequestId": record.request_id,
        "TraceId": record.trace_id,
        "IpAddress": record.ip_address,
        "PreviousHash": record.previous_hash,
        "Hash": record.hash,
    }
