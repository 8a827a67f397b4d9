"""Names whose server never answers held every thread for look-ups, and no tenant's delivery found its receiver."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from domain.core.acting_for import acting_for
from domain.core.ports import OutboundError
from infra.outbound.client import OutboundClient
from infra.outbound.guard import AddressInfo
from infra.outbound.lookups import LOOKUPS_AT_MOST, LOOKUPS_OF_ONE_AT_MOST
from tests.worlds.builders import settings_at
from tests.worlds.heartbeat import beating


class Resolver:
    """Answers at once, but for names under hang.example and its like."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.hanging = self.most_hanging = 0
        self._lock = threading.Lock()

    def __call__(self, host: str, port: int, **options: Any) -> list[AddressInfo]:
        if "hang" in host:
            with self._lock:
                self.hanging += 1
                self.most_hanging = max(self.hanging, self.most_hanging)
            self.released.wait(30)
            with self._lock:
                self.hanging -= 1
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", port))]


@pytest.fixture
def client(tmp_path: Any, resolver: Resolver) -> OutboundClient:
    return OutboundClient(settings_at(tmp_path), lookup=resolver)


@pytest.fixture
def resolver() -> Resolver:
    return Resolver()


def attacks(
    client: OutboundClient, count: int, tenant: str | None, domain: str
) -> list[asyncio.Future[None]]:
    def one(number: int) -> asyncio.Future[None]:
        return asyncio.ensure_future(client.check(f"https://n{number}.{domain}/hook"))

    if tenant is None:
        return [one(number) for number in range(count)]
    with acting_for(tenant):
        return [one(number) for number in range(count)]


@pytest.mark.parametrize("tenant", ["a", None], ids=["a tenant", "nobody said whose"])
async def test_names_that_never_resolve_hold_up_their_own_tenant_alone(
    client: OutboundClient, resolver: Resolver, tenant: str | None
) -> None:
    async with beating() as heartbeat:
        hanging = attacks(client, 300, tenant, "hang.example")
        try:
            await asyncio.sleep(0.2)
            for number in range(20):
                with acting_for(f"b{number % 3}"):
                    await asyncio.wait_for(client.check(f"https://n{number}.example.org/hook"), 5)
            assert resolver.hanging == resolver.most_hanging == LOOKUPS_OF_ONE_AT_MOST
        finally:
            for attack in hanging[: len(hanging) // 2]:
                attack.cancel()
            resolver.released.set()
            told = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(error, OutboundError | asyncio.CancelledError) for error in told)
    assert resolver.most_hanging == LOOKUPS_OF_ONE_AT_MOST
    assert heartbeat.is_steady, heartbeat


async def test_a_look_up_that_nobody_waits_for_any_more_still_counts(
    client: OutboundClient, resolver: Resolver
) -> None:
    try:
        for _ in range(5):
            hanging = attacks(client, 10, "a", "hang.example")
            await asyncio.sleep(0.05)
            for attack in hanging:
                attack.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        assert resolver.hanging == LOOKUPS_OF_ONE_AT_MOST
    finally:
        resolver.released.set()
    with acting_for("a"):
        await asyncio.wait_for(client.check("https://n.example.org/hook"), 5)


async def test_as_many_tenants_as_there_are_shares_are_needed_to_take_every_thread(
    client: OutboundClient, resolver: Resolver
) -> None:
    tenants = LOOKUPS_AT_MOST // LOOKUPS_OF_ONE_AT_MOST - 1
    hanging = [
        attack for tenant in range(tenants) for attack in attacks(client, 20, str(tenant), "hang.example")
    ]
    try:
        await asyncio.sleep(0.2)
        assert resolver.hanging == LOOKUPS_AT_MOST - LOOKUPS_OF_ONE_AT_MOST
        await asyncio.wait_for(client.check("https://n.example.org/hook"), 5)
    finally:
        resolver.released.set()
        await asyncio.gather(*hanging, return_exceptions=True)
