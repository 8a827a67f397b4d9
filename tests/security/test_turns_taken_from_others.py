"""Health checks that hang, tokens that never come, floods of webhooks and of syncs: others go on all the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.incoming.receive import Caller, IncomingReceiver, Receipt
from domain.integrations.health import HealthMonitor
from domain.integrations.model import Integration
from domain.providers.contract import Connection, IncomingAnswer, IncomingRequest, VerifiedEvent
from domain.sync.dispatch import Dispatcher
from domain.sync.model import SyncDirection, SyncJob, SyncStatus, SyncType
from tests.worlds.builders import OTHER_TENANT, OTHER_USER, TENANT, USER
from tests.worlds.incoming_world import seed
from tests.worlds.integration_world import GOOD_KEY, OTHER_KEY, IntegrationWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntegrationWorld]:
    made = IntegrationWorld(tmp_path, settings={"sync_concurrency": 20})
    yield made
    made.close()


def of_hostile(world: IntegrationWorld, count: int) -> list[Integration]:
    return [_seeded(world, mine=False) for _ in range(count)]


def of_healthy(world: IntegrationWorld, count: int) -> list[Integration]:
    return [_seeded(world, mine=True) for _ in range(count)]


def _seeded(world: IntegrationWorld, *, mine: bool) -> Integration:
    return seed(
        world.hub,
        tenant=TENANT if mine else OTHER_TENANT,
        user=USER if mine else OTHER_USER,
        provider="REST",
        configuration={"apiKey": OTHER_KEY if mine else GOOD_KEY},
    )


def is_hostile(connection: Connection) -> bool:
    return bool(connection.configuration.api_key == GOOD_KEY)


def checked(world: IntegrationWorld, integrations: list[Integration]) -> int:
    """How many have the result of a check stored."""
    return sum(world.now(each).last_health_check is not None for each in integrations)


async def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)


async def test_health_checks_that_hang_delay_no_other_tenants(world: IntegrationWorld) -> None:
    hostile, healthy = of_hostile(world, 60), of_healthy(world, 20)
    never = asyncio.Event()

    async def hang(connection: Connection) -> None:
        if is_hostile(connection):
            await never.wait()

    world.api.probe = hang  # type: ignore[method-assign]
    running = asyncio.create_task(world.hub.use(HealthMonitor).check_due())
    await until(lambda: checked(world, healthy) == 20)
    assert checked(world, hostile) == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_tokens_that_never_come_hold_no_threads_of_other_tenants(world: IntegrationWorld) -> None:
    hostile, healthy = of_hostile(world, 20), of_healthy(world, 5)
    go = threading.Event()

    def current(integration: Integration, plain: object = None) -> None:
        if integration.tenant_id == OTHER_TENANT:
            go.wait(10)

    world.current = current  # type: ignore[method-assign, assignment]
    world.api.profile = replace(world.api.profile, oauth=world.google.profile.oauth)  # type: ignore[misc]
    running = asyncio.create_task(world.hub.use(HealthMonitor).check_due())
    try:
        await until(lambda: checked(world, healthy) == 5)
        assert checked(world, hostile) == 0
    finally:
        go.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_thousands_of_webhooks_of_one_tenant_delay_another_by_none(world: IntegrationWorld) -> None:
    (hostile,), (healthy,) = of_hostile(world, 1), of_healthy(world, 1)

    async def receive(connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        return IncomingAnswer([VerifiedEvent(request.body.decode(), "changed", {}, request.received_at)])

    world.api.receive = receive  # type: ignore[method-assign]
    await _receive(world, hostile, "known")
    await _receive(world, healthy, "known")
    flood = [asyncio.create_task(_receive(world, hostile, f"e{number}")) for number in range(500)]
    await asyncio.sleep(0)
    receipts = [await _receive(world, healthy, f"e{number}") for number in range(3)]
    assert [receipt.accepted for receipt in receipts] == [1, 1, 1]
    assert sum(each.done() for each in flood) < 250
    assert sum(receipt.accepted for receipt in await asyncio.gather(*flood)) == 500


async def _receive(world: IntegrationWorld, to: Integration, event_id: str) -> Receipt:
    request = IncomingRequest("POST", "https://hub.example", {}, {}, event_id.encode(), world.clock.now())
    return await world.hub.use(IncomingReceiver).receive(to.integration_id, request, Caller())


def test_a_thousand_older_syncs_of_one_tenant_do_not_hide_those_of_another(world: IntegrationWorld) -> None:
    hostile, (healthy,) = of_hostile(world, 30), of_healthy(world, 1)
    jobs = [_job(world, each, hours=-1) for each in hostile] + [_job(world, healthy, hours=0)]
    with world.transactions.read() as tx:
        waiting = [job.tenant_id for job in tx.sync_jobs.waiting(world.clock.now(), 10)]
    assert waiting.count(TENANT) == 1
    assert waiting.count(OTHER_TENANT) == 10
    started = {start.data_sync_job_id for start in world.hub.use(Dispatcher).claim()}
    assert jobs[-1].data_sync_job_id in started
    # Places are left for whoever comes next, though thirty wait.
    assert len(started) == 15
    again = [_job(world, each, hours=0) for each in of_other_tenants(world, 3)]
    started = {start.data_sync_job_id for start in world.hub.use(Dispatcher).claim()}
    assert {job.data_sync_job_id for job in again} <= started


def of_other_tenants(world: IntegrationWorld, count: int) -> list[Integration]:
    return [
        seed(world.hub, tenant=uuid4(), user=uuid4(), provider="REST", configuration={"apiKey": GOOD_KEY})
        for _ in range(count)
    ]


def _job(world: IntegrationWorld, of: Integration, *, hours: int) -> SyncJob:
    now = world.clock.now()
    job = SyncJob(
        data_sync_job_id=world.ids.new(),
        tenant_id=of.tenant_id,
        integration_id=of.integration_id,
        sync_type=SyncType.Full,
        direction=SyncDirection.Import,
        status=SyncStatus.Scheduled,
        scheduled_at=now + timedelta(hours=hours),
        created_at=now,
        created_by=of.created_by,
    )
    with world.transactions.write() as tx:
        tx.sync_jobs.add(of.tenant_id, job)
        tx.commit()
    return job
