"""Bursts of what security forbids, over SQL."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, case, delete, insert, literal, select, update

from domain.core.text_length import cut
from domain.journal.bursts import Burst, BurstSource
from infra.sql.journal.tables import security_bursts
from infra.sql.statements import guarded_by_unique_key
from infra.sql.types import Utc

_b = security_bursts.c


class SqlBursts:
    """Satisfies `domain.journal.bursts.SecurityBursts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, burst: Burst) -> None:
        last_at = literal(burst.last_at, Utc())
        more = (
            update(security_bursts)
            .where(*_named(burst.tenant_id, burst.source, burst.subject))
            .values(
                Occurred=_b.Occurred + burst.count,
                LastAt=case((_b.LastAt <= last_at, last_at), else_=_b.LastAt),
                Label=cut(burst.label, 200),
                Reason=cut(burst.reason, 400),
                SourceIp=burst.source_ip,
            )
        )
        if self._connection.execute(more).rowcount:
            return
        with guarded_by_unique_key():
            self._connection.execute(
                insert(security_bursts).values(
                    TenantId=burst.tenant_id,
                    Source=burst.source.value,
                    Subject=burst.subject,
                    Label=cut(burst.label, 200),
                    StartedAt=burst.started_at,
                    LastAt=burst.last_at,
                    Occurred=burst.count,
                    Reason=cut(burst.reason, 400),
                    SourceIp=burst.source_ip,
                )
            )

    def has(self, tenant_id: UUID, source: BurstSource, subject: str) -> bool:
        statement = select(_b.Source).where(*_named(tenant_id, source, subject))
        return self._connection.execute(statement).first() is not None

    def largest(self, limit: int) -> list[Burst]:
        statement = select(security_bursts).order_by(_b.Occurred.desc()).limit(limit)
        return [_burst_of(row) for row in self._connection.execute(statement)]

    def note(self, burst: Burst) -> None:
        here = _named(burst.tenant_id, burst.source, burst.subject)
        told = {"LoggedAt": burst.logged_at, "ToldCount": burst.told_count}
        self._connection.execute(update(security_bursts).where(*here).values(**told))

    def end(self, burst: Burst) -> bool:
        here = _named(burst.tenant_id, burst.source, burst.subject)
        as_read = delete(security_bursts).where(*here, _b.Occurred == burst.count)
        return self._connection.execute(as_read).rowcount == 1

    def forget_quiet(self, source: BurstSource, before: datetime) -> None:
        untold = _b.LoggedAt.is_(None), _b.ToldCount.is_(None)
        quiet = delete(security_bursts).where(_b.Source == source.value, _b.LastAt <= before, *untold)
        self._connection.execute(quiet)


def _named(tenant_id: UUID, source: BurstSource, subject: str) -> tuple[ColumnElement[bool], ...]:
    return _b.TenantId == tenant_id, _b.Source == source.value, _b.Subject == subject


def _burst_of(row: Any) -> Burst:
    return Burst(
        tenant_id=row.TenantId,
        source=BurstSource(row.Source),
        subject=row.Subject,
        label=row.Label,
        started_at=row.StartedAt,
        last_at=row.LastAt,
        count=row.Occurred,
        reason=row.Reason,
        source_ip=row.SourceIp,
        logged_at=row.LoggedAt,
        told_count=row.ToldCount,
    )
