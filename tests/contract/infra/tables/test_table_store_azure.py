"""What only a table service at a distance has: pages, a service that is busy, and outages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from domain.core.errors import Unavailable
from domain.core.ports import EntityExists, TableEntity, TableWrite
from infra.azure.tables.store import PAUSE_SECONDS, AzureTableStore
from tests.loopback.azurite import ACCOUNT, tables_connection
from tests.loopback.gateway import Fault, Gateway, gateway_to
from tests.loopback.plug import plugged

pytestmark = pytest.mark.azure

BUSY: Fault = (429, {"Retry-After": "1"})
DOWN: Fault = (503, {})


@pytest.fixture
def azurite(azurite_tables: str) -> str:
    """The address of the service."""
    parts = dict(part.split("=", 1) for part in azurite_tables.split(";") if part)
    return parts["TableEndpoint"]


@pytest.fixture
def gateway(azurite: str) -> Iterator[Gateway]:
    with gateway_to(azurite) as made:
        yield made


@pytest.fixture
def store(gateway: Gateway) -> Iterator[AzureTableStore]:
    made = AzureTableStore(connection_string=tables_connection(f"{gateway.address}/{ACCOUNT}"))
    yield made
    made.close()


@pytest.fixture
def table() -> str:
    return f"t{uuid4().hex}"


def entity(row_key: str = "r", n: int = 0) -> TableEntity:
    return TableEntity("p", row_key, {"n": n})


def test_more_than_a_thousand_entities_come_in_pages_that_go_on_where_the_last_ended(
    store: AzureTableStore, gateway: Gateway, table: str
) -> None:
    for start in range(0, 2_300, 100):
        store.transact(table, [TableWrite("insert", entity(f"{n:05}", n)) for n in range(start, start + 100)])
    gateway.requests.clear()
    assert [row.properties["n"] for row in store.query(table, "p", limit=5_000)] == list(range(2_300))
    assert len(gateway.requests) == 3
    assert all("NextRowKey" in request for request in gateway.requests[1:])
    gateway.requests.clear()
    assert [
        row.properties["n"] for row in store.query(table, "p", row_key_from="00100", limit=1_200)
    ] == list(range(100, 1_300))
    assert len(gateway.requests) == 2, "no page is asked for that is not needed"


CALLS: list[tuple[str, Callable[[AzureTableStore, str], object]]] = [
    ("get", lambda store, table: store.get(table, "p", "r")),
    ("query", lambda store, table: store.query(table, "p")),
    ("insert", lambda store, table: store.insert(table, entity("new"))),
    ("upsert", lambda store, table: store.upsert(table, entity("r", 2))),
    ("delete", lambda store, table: store.delete(table, "p", "r")),
    ("transact", lambda store, table: store.transact(table, [TableWrite("upsert", entity("r", 3))])),
    ("ping", lambda store, table: store.ping()),
]


@pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])
def test_a_busy_service_is_asked_again_when_it_says_so(
    store: AzureTableStore, gateway: Gateway, table: str, call: Callable[[AzureTableStore, str], object]
) -> None:
    store.upsert(table, entity())
    gateway.requests.clear()
    gateway.faults = [BUSY]
    begun = time.monotonic()
    call(store, table)
    assert time.monotonic() - begun >= 1.0
    assert len(gateway.requests) == 2


@pytest.mark.parametrize("call", [call for _, call in CALLS], ids=[name for name, _ in CALLS])
def test_a_service_that_stays_down_is_unavailable_after_four_tries(
    store: AzureTableStore, gateway: Gateway, table: str, call: Callable[[AzureTableStore, str], object]
) -> None:
    store.upsert(table, entity())
    gateway.requests.clear()
    gateway.faults = [DOWN] * 4
    with pytest.raises(Unavailable, match="503"):
        call(store, table)
    assert len(gateway.requests) == 4
    call(store, table)


def test_after_an_outage_the_same_store_goes_on(azurite: str, table: str) -> None:
    now = [0.0]
    with plugged() as plug:
        plug.target = int(urlsplit(azurite).port or 0)
        store = AzureTableStore(
            connection_string=tables_connection(f"http://127.0.0.1:{plug.port}/{ACCOUNT}"),
            monotonic=lambda: now[0],
        )
        store.insert(table, entity("before", 1))
        plug.pull()
        for call in (
            store.ping,
            lambda: store.query(table, "p"),
            lambda: store.insert(table, entity("lost")),
        ):
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached"):
                call()
            assert time.monotonic() - begun < 5, "a refused connection is known at once"
        plug.restore()
        with pytest.raises(Unavailable, match="a moment ago"):
            store.ping()
        now[0] += PAUSE_SECONDS
        store.ping()
        store.insert(table, entity("after", 2))
        assert [row.row_key for row in store.query(table, "p")] == ["after", "before"]
        with pytest.raises(EntityExists):
            store.insert(table, entity("before"))
        store.close()


def test_a_service_that_hangs_is_waited_for_by_one_at_a_time(
    azurite: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.azure.tables.store.READ_SECONDS", 0.4)
    now = [0.0]
    with plugged() as plug:
        plug.target = int(urlsplit(azurite).port or 0)
        store = AzureTableStore(
            connection_string=tables_connection(f"http://127.0.0.1:{plug.port}/{ACCOUNT}"),
            monotonic=lambda: now[0],
        )
        store.insert(table, entity("before", 1))

        def asked() -> float:
            """Seconds until it was known that the service is away."""
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached"):
                store.get(table, "p", "before")
            return time.monotonic() - begun

        plug.hold()
        assert 0.4 < asked() < 3, "tried twice"
        assert asked() < 0.1, "a pause"
        now[0] += PAUSE_SECONDS
        with ThreadPoolExecutor(8) as pool:
            took = sorted(pool.map(lambda _: asked(), range(8)))
        assert took[6] < 0.2, "seven did not wait"
        assert took[7] > 0.4, "for the one who asked"
        plug.restore()
        now[0] += PAUSE_SECONDS
        assert store.get(table, "p", "before") is not None
        store.close()
