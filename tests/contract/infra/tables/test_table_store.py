"""Every table store keeps the same contract."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from domain.core.errors import Unavailable
from domain.core.ports import EntityExists, EtagMismatch, TableEntity, TableStore, TableValue, TableWrite
from infra.azure.tables.store import AzureTableStore
from infra.clock import SystemClock
from infra.embedded.tables import EmbeddedTableStore


class Pingable(TableStore, Protocol):
    def ping(self) -> None: ...


@pytest.fixture(params=["embedded", pytest.param("azure", marks=pytest.mark.azure)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pingable]:
    made: EmbeddedTableStore | AzureTableStore
    if request.param == "embedded":
        made = EmbeddedTableStore(tmp_path / "tables.db", SystemClock())
    else:
        made = AzureTableStore(connection_string=request.getfixturevalue("azurite_tables"))
    yield made
    made.close()


@pytest.fixture
def table() -> str:
    return f"t{uuid4().hex}"


def entity(row_key: str = "r", partition_key: str = "p", **properties: TableValue) -> TableEntity:
    return TableEntity(partition_key, row_key, properties)


def keys(found: list[TableEntity]) -> list[tuple[str, str]]:
    return [(each.partition_key, each.row_key) for each in found]


def test_what_is_not_there_reads_as_none_or_empty(store: Pingable, table: str) -> None:
    assert store.get(table, "p", "r") is None
    assert store.query(table) == []
    assert store.delete(table, "p", "r") is False
    store.upsert(table, entity("other"))
    assert store.get(table, "p", "r") is None
    assert store.delete(table, "p", "r") is False


@pytest.mark.parametrize(
    "value",
    [
        "größe 'quoted' \N{SNOWMAN}",
        "",
        0,
        -(2**63),
        2**63 - 1,
        2**31,
        1.5,
        1.0,
        1e300,
        float("inf"),
        True,
        False,
        b"",
        b"\x00\xff" * 1000,
        datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC),
        datetime(2026, 2, 3, tzinfo=UTC),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:20]}",
)
def test_a_value_comes_back_with_its_type(store: Pingable, table: str, value: TableValue) -> None:
    store.insert(table, entity(value=value))
    found = store.get(table, "p", "r")
    assert found is not None
    assert dict(found.properties) == {"value": value}
    assert type(found.properties["value"]) is type(value)


def test_insert_refuses_a_key_that_is_taken(store: Pingable, table: str) -> None:
    store.insert(table, entity(n=1))
    with pytest.raises(EntityExists):
        store.insert(table, entity(n=2))
    found = store.get(table, "p", "r")
    assert found is not None
    assert found.properties["n"] == 1


def test_the_etag_returned_is_the_one_read_and_changes_with_every_write(store: Pingable, table: str) -> None:
    etags = [store.insert(table, entity(n=1))]
    etags.append(store.upsert(table, entity(n=1)))
    etags.append(store.replace(table, entity(n=1), etag=etags[-1]))
    found = store.get(table, "p", "r")
    assert found is not None
    assert found.etag == etags[-1]
    assert len(set(etags)) == 3
    assert store.query(table, "p")[0].etag == etags[-1]


def test_replace_needs_the_current_etag_and_drops_the_old_properties(store: Pingable, table: str) -> None:
    stale = store.insert(table, entity(a=1, b=2))
    current = store.replace(table, entity(a=3), etag=stale)
    with pytest.raises(EtagMismatch):
        store.replace(table, entity(a=4), etag=stale)
    found = store.get(table, "p", "r")
    assert found is not None
    assert dict(found.properties) == {"a": 3}
    assert store.delete(table, "p", "r", etag=current)
    with pytest.raises(EtagMismatch):
        store.replace(table, entity(a=5), etag=current)


def test_upsert_replaces_all_properties(store: Pingable, table: str) -> None:
    store.upsert(table, entity(a=1, b=2))
    store.upsert(table, entity(c=3))
    found = store.get(table, "p", "r")
    assert found is not None
    assert dict(found.properties) == {"c": 3}


def test_delete_heeds_the_etag_when_one_is_given(store: Pingable, table: str) -> None:
    stale = store.insert(table, entity(n=1))
    store.upsert(table, entity(n=2))
    with pytest.raises(EtagMismatch):
        store.delete(table, "p", "r", etag=stale)
    assert store.delete(table, "p", "r") is True
    assert store.delete(table, "p", "r", etag=stale) is False


def test_query_gives_a_range_of_one_partition_in_key_order(store: Pingable, table: str) -> None:
    for partition_key, row_key in [("p", "c"), ("p", "a"), ("q", "b"), ("p", "b'x"), ("p", "d")]:
        store.insert(table, entity(row_key, partition_key))
    assert keys(store.query(table, "p", row_key_from="b", row_key_to="d")) == [("p", "b'x"), ("p", "c")]
    assert keys(store.query(table, "p", row_key_from="b'x", limit=1)) == [("p", "b'x")]
    assert keys(store.query(table, "q")) == [("q", "b")]
    assert keys(store.query(table, row_key_from="b", row_key_to="c")) == [("p", "b'x"), ("q", "b")]
    assert keys(store.query(table)) == [("p", "a"), ("p", "b'x"), ("p", "c"), ("p", "d"), ("q", "b")]
    assert keys(store.query(table, limit=0)) == []


def test_a_transaction_applies_every_kind_of_write(store: Pingable, table: str) -> None:
    etag = store.insert(table, entity("replaced", n=1))
    store.insert(table, entity("deleted", n=1))
    store.insert(table, entity("upserted", n=1, gone=True))
    writes = [
        TableWrite("insert", entity("inserted", n=2)),
        TableWrite("replace", entity("replaced", n=2), etag),
        TableWrite("delete", entity("deleted")),
        TableWrite("upsert", entity("upserted", n=2)),
    ]
    store.transact(table, writes)
    assert {each.row_key: dict(each.properties) for each in store.query(table, "p")} == {
        "inserted": {"n": 2},
        "replaced": {"n": 2},
        "upserted": {"n": 2},
    }


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (TableWrite("insert", entity("taken")), EntityExists),
        (TableWrite("replace", entity("taken"), 'W/"stale"'), EtagMismatch),
        (TableWrite("delete", entity("taken"), 'W/"stale"'), EtagMismatch),
        (TableWrite("replace", entity("missing"), 'W/"stale"'), EtagMismatch),
        (TableWrite("delete", entity("missing")), EtagMismatch),
    ],
)
def test_a_transaction_with_one_refused_write_changes_nothing(
    store: Pingable, table: str, refused: TableWrite, error: type[Exception]
) -> None:
    stale = store.upsert(table, entity("taken", n=0))
    store.upsert(table, entity("taken", n=1))
    if refused.etag:
        refused = TableWrite(refused.kind, refused.entity, stale)
    with pytest.raises(error):
        store.transact(table, [TableWrite("upsert", entity("first", n=1)), refused])
    assert keys(store.query(table, "p")) == [("p", "taken")]


def test_the_first_write_of_a_table_may_be_a_transaction_of_100(store: Pingable, table: str) -> None:
    store.transact(table, [TableWrite("insert", entity(f"{n:03}", n=n)) for n in range(100)])
    assert [each.properties["n"] for each in store.query(table, "p")] == list(range(100))
    store.transact(table, [])


@pytest.mark.parametrize(
    "writes",
    [
        [TableWrite("upsert", entity(f"{n}")) for n in range(101)],
        [TableWrite("upsert", entity("a", "p")), TableWrite("upsert", entity("a", "q"))],
        [TableWrite("upsert", entity("a")), TableWrite("delete", entity("a"))],
    ],
    ids=["over 100", "two partitions", "one entity twice"],
)
def test_a_transaction_outside_the_model_is_refused(
    store: Pingable, table: str, writes: list[TableWrite]
) -> None:
    with pytest.raises(ValueError, match="transaction"):
        store.transact(table, writes)


@pytest.mark.parametrize(
    "refused",
    [
        entity("a/b"),
        entity("a#b"),
        entity("r", "a?b"),
        entity("a\\b"),
        entity("a\nb"),
        entity("k" * 513),
        entity(value=2**63),
        entity(value=b"x" * (64 * 1024 + 1)),
        entity(value="x" * (32 * 1024 + 1)),
        entity(value=datetime(2026, 1, 1)),  # noqa: DTZ001 - a naive one is the point
        entity(Timestamp="x"),
        TableEntity("p", "r", {"not-a-name": 1}),
        TableEntity("p", "r", {f"p{n}": n for n in range(253)}),
    ],
    ids=repr,
)
def test_an_entity_outside_the_model_is_refused(store: Pingable, table: str, refused: TableEntity) -> None:
    with pytest.raises(ValueError):
        store.insert(table, refused)
    with pytest.raises(ValueError):
        store.transact(table, [TableWrite("upsert", refused)])


def test_a_table_name_outside_the_model_is_refused(store: Pingable) -> None:
    with pytest.raises(ValueError, match="table name"):
        store.insert("no-dashes", entity())


def test_concurrent_increments_under_etags_lose_none(store: Pingable, table: str) -> None:
    store.insert(table, entity(n=0))

    def increment() -> None:
        done = 0
        while done < 5:
            found = store.get(table, "p", "r")
            assert found is not None
            count = found.properties["n"]
            assert isinstance(count, int)
            try:
                store.replace(table, entity(n=count + 1), etag=found.etag)
            except EtagMismatch:
                continue
            done += 1

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.get(table, "p", "r")
    assert found is not None
    assert found.properties["n"] == 20


def test_ping_answers_while_the_store_does(store: Pingable) -> None:
    store.ping()


def test_an_embedded_store_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = EmbeddedTableStore(tmp_path / "file" / "tables.db", SystemClock())
    with pytest.raises(Unavailable):
        store.ping()
    with pytest.raises(Unavailable):
        store.get("table", "p", "r")


@pytest.mark.azure
def test_an_azure_store_that_cannot_be_reached_is_unavailable_within_its_bounded_retries() -> None:
    store = AzureTableStore(
        connection_string="DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;"
        "TableEndpoint=http://127.0.0.1:1/a;"
    )
    with pytest.raises(Unavailable, match="cannot be reached"):
        store.ping()
    with pytest.raises(Unavailable, match="cannot be reached"):
        store.insert("table", entity())


def test_an_azure_store_needs_exactly_one_address() -> None:
    with pytest.raises(ValueError, match="either"):
        AzureTableStore()
