"""Signals over SQL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, and_, insert, select, update

from domain.core.errors import Unavailable
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally
from infra.sql.firsts import delete_first
from infra.sql.journal.tables import signal_buckets, signal_deltas
from infra.sql.statements import guarded_by_unique_key

_d = signal_deltas.c
_b = signal_buckets.c
_KEY = ("TenantId", "Kind", "SubjectId", "Hour")
_COUNTS = ("Total", "Succeeded", "Failed", "FailedForGood", "Volume")
_VALUES = (*_KEY, *_COUNTS, "Errors", "Latency")


class _Key(NamedTuple):
    tenant_id: UUID
    kind: SubjectKind
    subject_id: UUID
    hour: datetime


class SqlSignals:
    """Satisfies `domain.journal.signals.Signals`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, signals: Sequence[Signal]) -> None:
        if signals:
            rows = [{**_key_values(_key(signal)), **_values(signal.tally)} for signal in signals]
            self._connection.execute(insert(signal_deltas), rows)

    def compact(self, limit: int) -> int:
        # the primary key
        oldest = delete_first(signal_deltas, order_by=_d.Sequence, limit=limit)
        taken = oldest.returning(*(_d[name] for name in _VALUES))
        rows = self._connection.execute(taken).all()
        sums = _added_up(_with_tenants([_signal(row) for row in rows]))
        # In one order for all, so that two who add to the same hours wait and do not deadlock.
        for key in sorted(sums):
            self._add(key, sums[key])
        return len(rows)

    def read(
        self,
        tenant_id: UUID,
        kind: SubjectKind,
        *,
        since: datetime,
        until: datetime,
        subject_id: UUID | None = None,
    ) -> list[Signal]:
        # PK_SignalBuckets, IX_SignalDelta_Subject
        hours = self._hours(signal_buckets, tenant_id, kind, subject_id, since=since, until=until)
        appended_as = SubjectKind.Webhook if kind == SubjectKind.Tenant else kind
        fresh = self._hours(
            signal_deltas,
            tenant_id,
            appended_as,
            None if kind == SubjectKind.Tenant else subject_id,
            since=since,
            until=until,
        )
        if kind == SubjectKind.Tenant:
            fresh = [Signal(tenant_id, kind, tenant_id, signal.hour, signal.tally) for signal in fresh]
        return [Signal(*key, tally) for key, tally in _added_up([*hours, *fresh]).items()]

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # IX_SignalBucket_Hour
        oldest = delete_first(signal_buckets, _b.Hour < cutoff, order_by=_b.Hour, limit=limit)
        return self._connection.execute(oldest).rowcount

    def _hours(
        self,
        table: Any,
        tenant_id: UUID,
        kind: SubjectKind,
        subject_id: UUID | None,
        *,
        since: datetime,
        until: datetime,
    ) -> list[Signal]:
        statement = select(*(table.c[name] for name in _VALUES)).where(
            table.c.TenantId == tenant_id, table.c.Kind == kind, table.c.Hour >= since, table.c.Hour < until
        )
        if subject_id is not None:
            statement = statement.where(table.c.SubjectId == subject_id)
        return [_signal(row) for row in self._connection.execute(statement)]

    def _add(self, key: _Key, tally: Tally) -> None:
        stored = self._connection.execute(
            select(*(_b[name] for name in _VALUES), _b.Version).where(_is(key))
        ).first()
        if stored is None:
            with guarded_by_unique_key():
                self._connection.execute(insert(signal_buckets), {**_key_values(key), **_values(tally)})
            return
        statement = (
            update(signal_buckets)
            .where(_is(key), _b.Version == stored.Version)
            .values(**_values(_signal(stored).tally + tally), Version=stored.Version + 1)
        )
        if self._connection.execute(statement).rowcount != 1:
            raise Unavailable("The same hour is being added to by another process; try again.")


def _with_tenants(signals: Sequence[Signal]) -> list[Signal]:
    """Add to each webhook's signal the same for its tenant."""
    totals = [
        Signal(signal.tenant_id, SubjectKind.Tenant, signal.tenant_id, signal.hour, signal.tally)
        for signal in signals
        if signal.kind == SubjectKind.Webhook
    ]
    return [*signals, *totals]


def _added_up(signals: Iterable[Signal]) -> dict[_Key, Tally]:
    sums: dict[_Key, Tally] = {}
    for signal in signals:
        key = _key(signal)
        sums[key] = sums[key] + signal.tally if key in sums else signal.tally
    return sums


def _key(signal: Signal) -> _Key:
    return _Key(signal.tenant_id, signal.kind, signal.subject_id, signal.hour)


def _is(key: _Key) -> Any:
    return and_(
        _b.TenantId == key.tenant_id,
        _b.Kind == key.kind,
        _b.Hour == key.hour,
        _b.SubjectId == key.subject_id,
    )


def _key_values(key: _Key) -> dict[str, Any]:
    return {"TenantId": key.tenant_id, "Kind": key.kind, "SubjectId": key.subject_id, "Hour": key.hour}


def _values(tally: Tally) -> dict[str, Any]:
    return {
        "Total": tally.total,
        "Succeeded": tally.succeeded,
        "Failed": tally.failed,
        "FailedForGood": tally.failed_for_good,
        "Volume": tally.volume,
        "Errors": json.dumps(dict(tally.errors), separators=(",", ":")),
        "Latency": tally.latency.to_json(),
    }


def _signal(row: Any) -> Signal:
    tally = Tally(
        total=row.Total,
        succeeded=row.Succeeded,
        failed=row.Failed,
        failed_for_good=row.FailedForGood,
        volume=row.Volume,
        errors=json.loads(row.Errors),
        latency=Sketch.from_json(row.Latency),
    )
    return Signal(row.TenantId, row.Kind, row.SubjectId, row.Hour, tally)
