"""In which order of keys SQL Server is sent what changes several rows, in how many texts, and with which types."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import UniqueConstraint, event, select

from domain.journal.ports import EventRef
from domain.sync.merging import Merge
from domain.sync.ports import RunMark
from domain.webhooks.model import DeliveryStatus
from domain.webhooks.ports import EndpointTally, NewDelivery
from infra.sql.apikeys.tables import api_keys
from infra.sql.schema import metadata
from infra.sql.statements import CHUNK, in_key_order, key_lists
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_drive_sync import STREAM, integration_of, merge_of
from tests.worlds.sql_server_replay import handed_over
from tests.worlds.sql_server_wire import Sent, Wire, sql_server_engine
from tests.worlds.sql_world import EXPIRY, SqlWorld, claim_in, world_under

_CHANGED = re.compile(r"^(?:UPDATE|DELETE FROM|INSERT INTO) \[(\w+)\]")
_EQUAL = re.compile(r"\[(\w+)\] = \?")
_LISTED = re.compile(r"\[(\w+)\] IN \((\?(?:, \?)*)\)")
#: A line's place is an event's Sequence: events are stored in the order they came in. Two requests that store the same
#: ids in another order are undone and done again.
_IN_ORDER_OF_ARRIVAL = {"DomainEvents"}


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> list[Sent]:
    return handed_over(tmp_path_factory.mktemp("sql"), scattered=True)[0]


def _rows_named(statement: Sent) -> list[tuple[Any, ...]]:
    """The keys of the rows that an UPDATE or DELETE names, in the order it names them."""
    where = statement.text.rindex(" WHERE ")
    names = [*_EQUAL.finditer(statement.text, where)]
    places = [statement.text.count("?", 0, found.start()) for found in names]
    keys = [tuple(row[place] for place in places) for row in statement.rows]
    table = metadata.tables[_table(statement)]
    own = [found for found in _LISTED.finditer(statement.text, where) if found[1] in table.c]
    if not own:
        return keys
    first = statement.text.count("?", 0, own[0].start())
    (row,) = statement.rows
    return [(*keys[0], value) for value in row[first : first + own[0][2].count("?")]]


def _rows_inserted(statement: Sent) -> list[tuple[Any, ...]]:
    """The keys under which two transactions could store the same row; none where an id of its own is the only one."""
    table = metadata.tables[_table(statement)]
    if table.name in _IN_ORDER_OF_ARRIVAL:
        return []
    unique = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)] or [
        table.primary_key
    ]
    names = re.findall(r"\[(\w+)\]", statement.text[: statement.text.index(" VALUES ")])[1:]
    key = [column.name for column in unique[0].columns]
    if len(key) == 1 or not set(key) <= set(names):
        return []
    return [tuple(row[names.index(name)] for name in key) for row in statement.rows]


def _table(statement: Sent) -> str:
    found = _CHANGED.match(statement.text)
    return found[1] if found else ""


def test_what_changes_several_rows_names_them_in_the_order_of_their_keys(scattered: list[Sent]) -> None:
    """Two writers that lock the same rows in different orders deadlock; each statement, and all of one kind that a
    method sends, keep to one order whatever order the rows came in."""
    together: dict[tuple[int, str], list[tuple[Any, ...]]] = defaultdict(list)
    method: dict[tuple[int, str], str] = {}
    for statement in scattered:
        if not _table(statement):
            continue
        kind = statement.call, re.sub(r"\?(, \?)+", "?", statement.text)
        method[kind] = statement.method
        if statement.text.startswith("INSERT"):
            together[kind] += _rows_inserted(statement)
        else:
            together[kind] += _rows_named(statement)
    several = {kind: keys for kind, keys in together.items() if len(set(keys)) > 1}
    disordered = {
        (method[kind], kind[1]) for kind, keys in several.items() if any(b < a for a, b in pairwise(keys))
    }
    assert disordered == set()
    assert {method[kind] for kind in several} >= {
        "pipeline.tally",
        "pipeline.record",
        "pipeline.claim",
        "pipeline.hold",
        "pipeline.add_deliveries",
        "pipeline.give_turns",
        "deliveries.reset",
        "outbox.mark_fanned_out",
        "outbox.not_announced",
        "sync_records.store",
        "sync_records.bury",
        "sync_records.change",
        "sync_records.pushed",
        "usage.add",
        "api_keys.set_usage",
        "api_keys.set_closed",
        "integrations.record_checks",
        "sightings.see",
        "notifications.append",
    }


def test_the_webhooks_of_a_record_are_locked_in_one_order_before_lines_and_counters(
    scattered: list[Sent],
) -> None:
    """Lines lock some of the webhooks; the counters that follow must not go back to one before them."""
    locks = [
        statement
        for statement in scattered
        if statement.method == "pipeline.record" and "SET [Version]=[Webhooks].[Version]" in statement.text
    ]
    assert locks
    first = locks[0]
    last = [
        statement
        for statement in scattered
        if statement.call == first.call and "SET [Line]=" in statement.text
    ]
    assert last
    assert len(first.rows) == 2, "one of them has no line"
    assert first.rows == sorted(first.rows)


def test_a_list_is_in_order_without_repeats_and_filled_up_to_a_power_of_two() -> None:
    assert list(key_lists(["b", "a", "b", "c", "d", "e"])) == [["a", "b", "c", "d", "e", "e", "e", "e"]]
    assert list(key_lists([])) == []
    lists = list(key_lists(range(CHUNK + 3)))
    assert [len(some) for some in lists] == [CHUNK, 4]
    assert lists[1] == [CHUNK, CHUNK + 1, CHUNK + 2, CHUNK + 2]


def test_rows_of_an_array_are_in_the_order_of_their_keys() -> None:
    rows = [{"a": 2, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 1}]
    assert in_key_order(rows, "a", "b") == [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}]


def test_no_null_is_bound(scattered: list[Sent]) -> None:
    """pyodbc asks the server for the type of each, before the statement; of an array it asks for all types once."""
    single = [statement for statement in scattered if not statement.is_array]
    assert [statement.text for statement in single if None in statement.rows[0]] == []
    written = {statement.method for statement in single if "NULL" in statement.text}
    assert {"pipeline.claim", "deliveries.reset", "webhooks.add", "sync_jobs.move"} <= written


def test_a_null_that_is_written_stands_where_sql_server_takes_one(scattered: list[Sent]) -> None:
    """Nothing but NULL as the result of COALESCE or CASE has no type (errors 4127, 8133); `= NULL` finds nothing."""
    for text in {statement.text for statement in scattered}:
        assert not re.search(
            r"coalesce\((NULL(, )?)+\)|THEN NULL (ELSE NULL )?END|[-+*<>] NULL", text, re.I
        ), text
        conditions = text[text.rindex(" WHERE ") :] if " WHERE " in text else ""
        assert "= NULL" not in conditions, text


def test_the_sizes_that_are_told_are_those_of_the_parameters(scattered: list[Sent]) -> None:
    for statement in scattered:
        if statement.sizes is not None and not statement.is_array:
            assert len(statement.sizes) == len(statement.rows[0]), statement.text
            for size, value in zip(statement.sizes, statement.rows[0], strict=True):
                assert (size[0] == "SQL_WVARCHAR") == isinstance(value, str), (size, value, statement.text)


def _texts_of_many(
    home: Path, call: Callable[[SqlWorld, int], Callable[[SqlTransaction], object]]
) -> set[Any]:
    """What the server makes plans for when a method is called with 1, 2, 3 ... things, whose texts are of all lengths:
    the statements' texts with the types of their parameters."""
    wire = Wire()
    server = sql_server_engine(wire).connect()
    with world_under(home) as world:

        def replay(connection: Any, statement: Any, many: Any, one: Any, options: Any) -> None:
            if wire.method:
                server.execute(statement, many or one)

        event.listen(world.database.engine, "before_execute", replay)
        for count in range(1, 65):
            todo = call(world, count)
            with world.transactions.write() as tx:
                wire.method = "counted"
                todo(tx)
                wire.method = ""
    return {(statement.text, tuple(statement.sizes or ())) for statement in wire.sent}


def _verified(world: SqlWorld, count: int) -> Callable[[SqlTransaction], object]:
    return lambda tx: tx.api_keys.by_hashes([f"{number:064d}" for number in range(count)])


def _fanned_out(world: SqlWorld, count: int) -> Callable[[SqlTransaction], object]:
    webhook, later = world.webhook("*"), world.clock.now() + EXPIRY
    events = [world.event("e" * count + f"{count}-{number}") for number in range(count)]
    with world.transactions.write() as tx:
        tx.outbox.append(events)
        tx.commit()
    refs = [EventRef(event.tenant_id, event.event_id) for event in events]

    def fan_out(tx: SqlTransaction) -> None:
        pending = tx.outbox.pending(refs)
        tx.pipeline.subscribers([(event.tenant_id, event.type) for event in pending])
        new = [NewDelivery(world.ids.new(), webhook.webhook_id, event, False) for event in pending]
        tx.pipeline.add_deliveries(new, now=world.clock.now(), expires_at=later, requeue_at=later)
        tx.outbox.mark_fanned_out(refs, world.clock.now())

    return fan_out


def _delivered(world: SqlWorld, count: int) -> Callable[[SqlTransaction], object]:
    webhook, now = world.webhook("*"), world.clock.now()
    ids = world.deliveries(webhook, count)

    def deliver(tx: SqlTransaction) -> None:
        claimed = claim_in(tx, webhook.webhook_id, ids, world.ids.new(), now)
        status = (DeliveryStatus.Delivered, DeliveryStatus.Retrying)[count % 2]
        tx.pipeline.record([world.result(delivery, status) for delivery in claimed], now=now, requeue_at=now)
        tx.pipeline.tally([EndpointTally(webhook.webhook_id, delivered=count, learns=True)], now)

    return deliver


def _synchronised(world: SqlWorld, count: int) -> Callable[[SqlTransaction], object]:
    integration = integration_of(world, name=f"Guests {count}")
    keys = [f"{count}" + "r" * number for number in range(count)]
    mark = RunMark(world.ids.new(), world.clock.now(), 1)

    def synchronise(tx: SqlTransaction) -> None:
        tx.sync_records.stored_versions(world.tenant, integration, STREAM, keys)
        tx.sync_records.store(world.tenant, integration, STREAM, merge_of(keys), run=mark)
        tx.sync_records.store(world.tenant, integration, STREAM, Merge([], [], [], keys, 0, 0), run=mark)

    return synchronise


@pytest.mark.parametrize(
    ("call", "most"),
    [(_verified, 7), (_fanned_out, 7 * 3 + 7), (_delivered, 7 * 3 + 8), (_synchronised, 7 * 2 + 2)],
)
def test_however_many_things_and_however_long_their_names_the_plans_are_few(
    call: Callable[[SqlWorld, int], Callable[[SqlTransaction], object]], most: int, tmp_path: Path
) -> None:
    """From 1 to 64 things there are seven lengths of lists, each of a type that no value's length changes."""
    texts = _texts_of_many(tmp_path, call)
    assert 7 <= len(texts) <= most, sorted(texts)


def test_a_text_that_is_longer_than_any_column_is_compared_as_one_of_any_length() -> None:
    wire = Wire()
    with sql_server_engine(wire).connect() as connection:
        for length in (1, 2_000, 2_001):
            connection.execute(select(api_keys.c.APIKeyId).where(api_keys.c.KeyHash == "x" * length))
    assert [statement.sizes for statement in wire.sent] == [
        [("SQL_WVARCHAR", 4_000, 0)],
        [("SQL_WVARCHAR", 4_000, 0)],
        [("SQL_WVARCHAR", 0, 0)],
    ]
