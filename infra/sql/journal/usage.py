"""What tenants use, over SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, insert, select, update

from domain.core.paging import Page, PageRequest
from domain.journal.usage import UsageCounts, UsageHour, UsagePeriod, UsageSpan, start_of_period
from infra.sql.firsts import delete_first
from infra.sql.journal.tables import tenant_usage
from infra.sql.statements import guarded_by_unique_key, key_lists, page_of

_u = tenant_usage.c
_COUNTS = ("Calls", "Events", "Deliveries", "Records")
# PK_TenantUsage, as all that follows but the deletion
_KNOWN = select(_u.TenantId, _u.Period, _u.Start).where(
    _u.TenantId.in_(bindparam("tenants", expanding=True)), _u.Start.in_(bindparam("starts", expanding=True))
)
_ADD = (
    update(tenant_usage)
    .where(
        _u.TenantId == bindparam("tenant"), _u.Period == bindparam("period"), _u.Start == bindparam("start")
    )
    .values({name: _u[name] + bindparam(f"more_{name}") for name in _COUNTS})
)

_Key = tuple[UUID, UsagePeriod, datetime]


class SqlTenantUsages:
    """Satisfies `domain.journal.usage.TenantUsages`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, counted: Mapping[UsageHour, UsageCounts]) -> None:
        sums: dict[_Key, UsageCounts] = {}
        for (tenant_id, hour), counts in counted.items():
            for period in UsagePeriod:
                key = tenant_id, period, start_of_period(hour, period)
                sums[key] = sums.get(key, UsageCounts()) + counts
        known = self._known(sums)
        # In one order for all, so that two who add to the same rows wait and do not deadlock.
        keys = sorted(sums)
        new = [{**_row_key(key), **_values(sums[key])} for key in keys if key not in known]
        if new:
            with guarded_by_unique_key():
                self._connection.execute(insert(tenant_usage), new)
        for key in keys:
            # One by one: of many at once the driver could not tell the types of what is added.
            if key in known:
                self._connection.execute(_ADD, _addition(key, sums[key]))

    def page(
        self, tenant_id: UUID, period: UsagePeriod, page: PageRequest, *, since: datetime, until: datetime
    ) -> Page[UsageSpan]:
        statement = (
            select(_u.Start, *(_u[name] for name in _COUNTS))
            .where(_u.TenantId == tenant_id, _u.Period == period, _u.Start >= since, _u.Start < until)
            .order_by(_u.Start)
        )
        return page_of(
            self._connection, statement, page, lambda row: UsageSpan(row[0], UsageCounts(*row[1:]))
        )

    def totals(
        self, tenant_ids: Collection[UUID], period: UsagePeriod, *, since: datetime, until: datetime
    ) -> dict[UUID, UsageCounts]:
        summed = [func.coalesce(func.sum(_u[name]), 0) for name in _COUNTS]
        statement = (
            select(_u.TenantId, *summed)
            .where(_u.Period == period, _u.Start >= since, _u.Start < until)
            .group_by(_u.TenantId)
        )
        return {
            tenant_id: UsageCounts(*map(int, counts))
            for chunk in key_lists(tenant_ids)
            for tenant_id, *counts in self._connection.execute(statement.where(_u.TenantId.in_(chunk)))
        }

    def delete_before(self, period: UsagePeriod, cutoff: datetime, limit: int) -> int:
        # IX_TenantUsage_Start
        old = (_u.Period == period, _u.Start < cutoff)
        oldest = delete_first(tenant_usage, *old, order_by=_u.Start, limit=limit)
        return self._connection.execute(oldest).rowcount

    def _known(self, keys: Collection[_Key]) -> set[_Key]:
        starts = list({start for _, _, start in keys})
        return {
            (tenant_id, period, start)
            for chunk in key_lists({tenant_id for tenant_id, _, _ in keys})
            for some in key_lists(starts)
            for tenant_id, period, start in self._connection.execute(
                _KNOWN, {"tenants": chunk, "starts": some}
            )
        }


def _row_key(key: _Key) -> dict[str, Any]:
    return dict(zip(("TenantId", "Period", "Start"), key, strict=True))


def _values(counts: UsageCounts) -> dict[str, Any]:
    return dict(zip(_COUNTS, (counts.calls, counts.events, counts.deliveries, counts.records), strict=True))


def _addition(key: _Key, counts: UsageCounts) -> dict[str, Any]:
    more = {f"more_{name}": value for name, value in _values(counts).items()}
    return {**dict(zip(("tenant", "period", "start"), key, strict=True)), **more}
