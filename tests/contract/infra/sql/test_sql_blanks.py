"""Names from outside that differ in blanks at their end, which SQL Server ignores where it compares and in unique keys.

What is stored must differ without them too: `rtrim` of SQLite tells what a unique key of SQL Server would see."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Column, text
from sqlalchemy.dialects import mssql

from domain.monitoring.anomalies.ports import Sighting, Trait
from domain.providers.records import RecordType
from domain.sync.merging import Merge
from domain.sync.ports import LocalChange, PushedRecord, RecordFilter, RunMark
from domain.sync.rules import stored_id
from infra.sql.migrate import migrate, unmigrate
from infra.sql.monitoring.tables import key_sightings
from infra.sql.sync.tables import sync_record_errors, sync_steps, sync_streams, synced_records
from tests.worlds.sql_drive_sync import STREAM, incoming, integration_of, merge_of
from tests.worlds.sql_world import SqlWorld, world_under

NAMES = ["t", "t ", "t  ", " t", "t x", "t\t", " ", "  "]


@pytest.fixture
def integration(world: SqlWorld) -> UUID:
    return integration_of(world)


def _mark(world: SqlWorld, generation: int = 1) -> RunMark:
    return RunMark(world.ids.new(), world.clock.now(), generation)


def _seen_by_sql_server(world: SqlWorld, table: str, column: str) -> list[str]:
    with world.database.read() as connection:
        return sorted(connection.execute(text(f'SELECT rtrim("{column}") FROM "{table}"')).scalars())


def test_records_whose_ids_differ_in_a_blank_at_the_end_are_two(world: SqlWorld, integration: UUID) -> None:
    with world.transactions.write() as tx:
        tx.sync_records.store(world.tenant, integration, STREAM, merge_of(NAMES), run=_mark(world))
        tx.commit()
    seen = _seen_by_sql_server(world, "SyncedRecords", "ExternalId")
    assert len(set(seen)) == len(NAMES)
    with world.transactions.read() as tx:
        known = tx.sync_records.stored_versions(world.tenant, integration, STREAM, NAMES)
        listed = tx.sync_records.page(world.tenant, integration, RecordFilter(limit=100))
    assert set(known) == set(NAMES)
    assert {record.external_id for record in listed} == set(NAMES)


def test_a_record_is_changed_buried_and_looked_through_by_its_own_name(
    world: SqlWorld, integration: UUID
) -> None:
    with world.transactions.write() as tx:
        tx.sync_records.store(world.tenant, integration, STREAM, merge_of(NAMES), run=_mark(world))
        changed = replace(incoming("t "), data='{"fields":{"name":"new"}}')
        tx.sync_records.store(
            world.tenant, integration, STREAM, Merge([], [changed], [], ["t"], 0, 0), run=_mark(world, 2)
        )
        tx.commit()
    unseen: list[str] = []
    with world.transactions.write() as tx:
        while page := tx.sync_records.unseen(
            world.tenant, integration, STREAM, generation=2, after=unseen[-1] if unseen else "", limit=2
        ):
            unseen += page
        assert sorted(unseen) == sorted(set(NAMES) - {"t", "t "})
        buried = tx.sync_records.bury(world.tenant, integration, STREAM, ["t  "], run=_mark(world, 2))
        tx.commit()
    assert buried == 1
    with world.transactions.read() as tx:
        records = tx.sync_records.page(world.tenant, integration, RecordFilter(limit=100))
    assert [record.external_id for record in records if record.deleted_at] == ["t  "]
    assert [record.external_id for record in records if "new" in (record.data or "")] == ["t "]


def test_every_page_of_records_ends(world: SqlWorld, integration: UUID) -> None:
    with world.transactions.write() as tx:
        tx.sync_records.store(world.tenant, integration, STREAM, merge_of(NAMES), run=_mark(world))
        tx.commit()
    found: list[str] = []
    filter_ = RecordFilter(limit=1)
    with world.transactions.read() as tx:
        while page := tx.sync_records.page(world.tenant, integration, filter_):
            found += [record.external_id for record in page]
            assert len(found) <= len(NAMES), "it goes round"
            last = page[-1]
            filter_ = replace(filter_, after=(last.synced_at, last.stream, last.external_id))
    assert sorted(found) == sorted(NAMES)


def test_records_of_a_tenants_own_whose_ids_differ_in_a_blank_are_two(
    world: SqlWorld, integration: UUID
) -> None:
    """The second took the first one's row: "L" was lost without a word."""
    now = world.clock.now()
    changes = [
        LocalChange(STREAM, RecordType.Generic, f'{{"fields":{{"n":"{name}"}}}}', now, local_id=name)
        for name in ("L", "L ", "L  ")
    ]
    with world.transactions.write() as tx:
        assert tx.sync_records.change(world.tenant, integration, changes, now).stored == 3
        tx.commit()
    with world.transactions.write() as tx:
        again = [replace(change, modified_at=now + timedelta(seconds=1)) for change in changes]
        assert tx.sync_records.change(world.tenant, integration, again, now).stored == 3
        tx.commit()
    assert len(set(_seen_by_sql_server(world, "SyncedRecords", "LocalId"))) == 3
    assert len(set(_seen_by_sql_server(world, "SyncedRecords", "ExternalId"))) == 3
    with world.transactions.write() as tx:
        waiting = tx.sync_records.to_export(
            world.tenant, integration, STREAM, after="", limit=10, everything=False
        )
        assert {record.local_id for record in waiting} == {"L", "L ", "L  "}
        pushed = [PushedRecord(record, f"{record.local_id}", now, "v1", "1" * 32) for record in waiting]
        tx.sync_records.pushed(world.tenant, integration, STREAM, pushed, run=_mark(world))
        tx.commit()
    assert len(set(_seen_by_sql_server(world, "SyncedRecords", "ExternalId"))) == 3


def test_streams_whose_names_differ_in_a_blank_are_two(world: SqlWorld, integration: UUID) -> None:
    with world.transactions.write() as tx:
        for stream in ("s", "s "):
            tx.sync_records.store(world.tenant, integration, stream, merge_of(["r"]), run=_mark(world))
        tx.commit()
    assert len(set(_seen_by_sql_server(world, "SyncedRecords", "Stream"))) == 2


def test_a_key_is_seen_under_two_names_that_differ_in_a_blank(world: SqlWorld) -> None:
    key, now = world.ids.new(), world.clock.now()
    seen = [Sighting(world.tenant, key, Trait.Client, name) for name in ("curl", "curl ")]
    with world.transactions.write() as tx:
        assert tx.sightings.see(seen, now) == seen
        assert tx.sightings.see(seen, now) == []
        tx.commit()
    assert len(set(_seen_by_sql_server(world, "KeySightings", "Value"))) == 2


def test_an_id_that_looks_like_a_stored_one_is_kept_apart_by_its_digest() -> None:
    assert stored_id("t ") == "t "
    assert stored_id("t\uffff").startswith("t\uffff~")
    assert stored_id("x\uffff" + "y") == "x\uffffy"


@pytest.mark.parametrize(
    "column",
    [
        synced_records.c.ExternalId,
        synced_records.c.LocalId,
        synced_records.c.Stream,
        sync_streams.c.Stream,
        sync_steps.c.Stream,
        sync_record_errors.c.Stream,
        key_sightings.c.Value,
    ],
    ids=str,
)
def test_sql_server_is_sent_no_name_that_ends_in_a_blank(column: Column[str]) -> None:
    dialect = mssql.dialect()
    stores = column.type.dialect_impl(dialect).bind_processor(dialect)
    compared = column == "a "
    finds = compared.right.type.dialect_impl(dialect).bind_processor(dialect)
    shows = column.type.dialect_impl(dialect).result_processor(dialect, None)
    assert stores is not None and finds is not None and shows is not None
    for name in (*NAMES, "", None):
        assert stores(name) == finds(name)
        assert not (stores(name) or "x").endswith(" ")
        assert shows(stores(name)) == name


def test_rows_of_an_earlier_release_are_found_after_the_upgrade_and_before_it(tmp_path: Path) -> None:
    with world_under(tmp_path) as world:
        integration = integration_of(world)
        unmigrate(world.database, "0032")
        with world.transactions.write() as tx:
            tx.sync_records.store(world.tenant, integration, STREAM, merge_of(["t", "u"]), run=_mark(world))
            tx.commit()
        with world.database.write() as connection:
            old = 'UPDATE "SyncedRecords" SET "ExternalId" = \'t \' WHERE "ExternalId" = \'u\''
            connection.execute(text(old))
            connection.commit()
        migrate(world.database)
        with world.transactions.read() as tx:
            known = tx.sync_records.stored_versions(world.tenant, integration, STREAM, ["t", "t "])
        assert set(known) == {"t", "t "}
        unmigrate(world.database, "0032")
        assert _seen_by_sql_server(world, "SyncedRecords", "ExternalId") == ["t", "t"]
