"""What tenants use: counted where it happens, stored together, shown to the tenant alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID

import pytest

from domain.authentication.service import Authenticator, Credentials
from domain.core.errors import Forbidden, OutcomeUnknown, Unavailable
from domain.core.paging import PageRequest
from domain.core.permissions import INSIGHTS_READ
from domain.core.principal import Principal
from domain.journal.usage import (
    TenantUsageService,
    UsageCounts,
    UsageMeter,
    UsagePeriod,
    UsageSpan,
    UsageTransaction,
)
from tests.worlds.apikey_world import START, ApiKeyWorld
from tests.worlds.sync_world import SyncWorld

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    return ApiKeyWorld(tmp_path, usage_days=2, usage_months=2)


def used(world: ApiKeyWorld, principal: Principal, period: UsagePeriod = UsagePeriod.Hour) -> list[UsageSpan]:
    service = world.hub.use(TenantUsageService)
    return list(service.page(principal, period, PageRequest(), since=None, until=None).page.items)


def test_a_call_is_a_request_that_was_let_in(world: ApiKeyWorld) -> None:
    authenticator = world.hub.use(Authenticator)
    key = world.issue(scopes=["events:write"], rateLimitPerHour=2).plain.text
    for permission in ("events:write", "audit:read", None, "events:write"):
        authenticator.authenticate(Credentials(api_key=key), permission)
    authenticator.authenticate(Credentials(api_key="ihk_nonsense"))
    assert [span.counts.calls for span in used(world, world.admin)] == [2]


def test_the_usage_of_a_tenant_is_its_own(world: ApiKeyWorld) -> None:
    stranger = world.user()
    meter = world.hub.use(UsageMeter)
    meter.count(world.admin.tenant_id, UsageCounts(calls=7))
    meter.count(stranger.tenant_id, UsageCounts(records=1))
    assert used(world, world.admin) == [UsageSpan(HOUR, UsageCounts(calls=7))]
    assert used(world, stranger, UsagePeriod.Month) == [
        UsageSpan(HOUR.replace(hour=0), UsageCounts(records=1))
    ]
    nosy = world.user("integration:manage", tenant=world.admin.tenant_id)
    with pytest.raises(Forbidden):
        used(world, nosy)
    assert used(world, world.user(INSIGHTS_READ)) == []


def test_the_platform_reads_the_sums_of_many_tenants(world: ApiKeyWorld) -> None:
    other = world.user().tenant_id
    meter = world.hub.use(UsageMeter)
    meter.count(world.admin.tenant_id, UsageCounts(calls=1))
    world.clock.advance(hours=1)
    meter.count(world.admin.tenant_id, UsageCounts(calls=2))
    meter.count(other, UsageCounts(deliveries=5))
    sums = world.hub.use(TenantUsageService).of_tenants(
        [world.admin.tenant_id, other, UUID(int=9)],
        UsagePeriod.Month,
        since=START.replace(day=1, hour=0),
        until=START,
    )
    assert sums == {world.admin.tenant_id: UsageCounts(calls=3), other: UsageCounts(deliveries=5)}


def test_what_was_counted_while_the_database_was_away_is_stored_later(world: ApiKeyWorld) -> None:
    tenant = world.admin.tenant_id
    transactions = UnsteadyTransactions(world.hub.transactions)
    meter = UsageMeter(transactions, world.clock, every=timedelta(hours=1))
    meter.count(tenant, UsageCounts(calls=1))
    transactions.error = Unavailable("The database is away.")
    assert not meter.flush()
    meter.count(tenant, UsageCounts(calls=2))
    transactions.error = None
    assert meter.flush()
    assert used(world, world.admin) == [UsageSpan(HOUR, UsageCounts(calls=3))]


def test_what_may_be_stored_already_is_not_stored_again(world: ApiKeyWorld) -> None:
    transactions = UnsteadyTransactions(world.hub.transactions)
    meter = UsageMeter(transactions, world.clock, every=timedelta(hours=1))
    meter.count(world.admin.tenant_id, UsageCounts(calls=1))
    transactions.error = OutcomeUnknown("Lost while it stored.")
    assert meter.flush()
    transactions.error = None
    assert meter.flush()
    assert used(world, world.admin) == []


def test_what_waits_is_stored_without_being_asked_for(world: ApiKeyWorld) -> None:
    transactions = UnsteadyTransactions(world.hub.transactions)
    meter = UsageMeter(transactions, world.clock, every=timedelta(milliseconds=1))
    for _ in range(2):
        transactions.written.clear()
        meter.count(world.admin.tenant_id, UsageCounts(events=1))
        assert transactions.written.wait(10)
    assert used(world, world.admin) == [UsageSpan(HOUR, UsageCounts(events=2))]


def test_hours_and_months_are_forgotten_each_in_their_time(world: ApiKeyWorld) -> None:
    meter, service = world.hub.use(UsageMeter), world.hub.use(TenantUsageService)
    for _ in range(5):
        meter.count(world.admin.tenant_id, UsageCounts(calls=1))
        world.clock.advance(days=1)
    meter.flush()
    assert service.forget_old() == 3
    assert [span.counts.calls for span in used(world, world.admin, UsagePeriod.Month)] == [5]
    world.clock.advance(days=62)
    assert service.forget_old() == 3
    assert used(world, world.admin, UsagePeriod.Month) == []


async def test_events_and_synchronised_records_are_counted(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path)
    for name in ("a", "b", "c", "d"):
        world.crm.put(name)
    integration = await world.integration()
    before = spent(world)
    await world.synced(integration)
    world.clock.advance(seconds=86_400)
    await world.synced(integration)
    after = spent(world)
    assert after.records - before.records == 8
    raised = len(world.raised("DataSyncInitiated")) + len(world.raised("DataSyncCompleted"))
    assert (raised, after.events - before.events) == (4, 4)
    world.close()


def spent(world: SyncWorld) -> UsageCounts:
    service = world.hub.use(TenantUsageService)
    return service.page(world.principal, UsagePeriod.Month, PageRequest(), since=None, until=None).total


class UnsteadyTransactions:
    """Transactions that fail with `error` while there is one."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.written = Event()
        self.error: Exception | None = None

    @contextmanager
    def write(self) -> Iterator[UsageTransaction]:
        if self.error is not None:
            raise self.error
        with self._inner.write() as tx:
            yield tx
        self.written.set()

    @contextmanager
    def read(self) -> Iterator[UsageTransaction]:
        with self._inner.read() as tx:
            yield tx
