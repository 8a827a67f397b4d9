"""Calls every method of the repository of tenants' usage once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from domain.core.paging import PageRequest
from domain.journal.signals import hour_of
from domain.journal.usage import UsageCounts, UsageHour, UsagePeriod
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("usage",)


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    now, counts = world.clock.now(), UsageCounts(1, 2, 3, 4)
    since, until = now - timedelta(days=40), now + timedelta(days=1)
    tenants = [world.tenant, *(world.ids.new() for _ in range(600))]
    counted = {UsageHour(tenant, hour_of(now)): counts for tenant in tenants}

    def added_to(tx: SqlTransaction) -> None:
        tx.usage.add(counted)
        tx.usage.add(counted)

    return {
        "usage.add": [added_to],
        "usage.page": [
            lambda tx: tx.usage.page(
                world.tenant, UsagePeriod.Hour, PageRequest(2, 5), since=since, until=until
            )
        ],
        "usage.totals": [lambda tx: tx.usage.totals(tenants, UsagePeriod.Month, since=since, until=until)],
        "usage.delete_before": [lambda tx: tx.usage.delete_before(UsagePeriod.Hour, until, 10)],
    }
