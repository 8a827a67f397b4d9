"""The migrations and the schema they make, on SQLite and as T-SQL."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Dialect, Engine, Index, UniqueConstraint, create_engine, make_url, text
from sqlglot import expressions as exp

from domain.core.errors import Unavailable
from infra.sql.engine import DATABASE_FILE, sqlite_database
from infra.sql.migrate import HEAD, SNAPSHOTS_ON, migrate, script, unmigrate, upgrade, upgrade_embedded
from infra.sql.schema import metadata
from tests import ROOT

_ROOT = ROOT
_FORK = "from pathlib import Path; import sys; from infra.sql.migrate import upgrade_embedded; "


def _objects(engine: Engine) -> dict[str, str]:
    """Tables and indexes by name, their statements without the white space."""
    query = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    with engine.connect() as connection:
        return {name: re.sub(r"\s+", "", sql) for name, sql in connection.execute(query)}


def test_the_migrations_make_exactly_the_schema_of_the_tables(tmp_path: Path) -> None:
    upgrade_embedded(tmp_path)
    database = sqlite_database(tmp_path / DATABASE_FILE, pool_size=1)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    declared = create_engine("sqlite://")
    metadata.create_all(declared)
    migrated, wanted = _objects(database.engine), _objects(declared)
    database.close()
    assert set(migrated) == set(wanted)
    for name, sql in wanted.items():
        if sql.startswith("CREATETABLE"):
            assert _columns(migrated[name]) == _columns(sql), name
        else:
            assert migrated[name].replace('"', "") == sql.replace('"', ""), name


def _columns(sql: str) -> list[str]:
    inside = sql[sql.index("(") + 1 : -1].replace('"', "")
    return sorted(re.split(r",(?![^(]*\))", inside))


def test_going_back_leaves_nothing_and_forth_again_leaves_the_same(tmp_path: Path) -> None:
    upgrade_embedded(tmp_path)
    database = sqlite_database(tmp_path / DATABASE_FILE, pool_size=1)
    before = _objects(database.engine)
    unmigrate(database)
    assert _objects(database.engine) == {}
    migrate(database)
    assert _objects(database.engine) == before
    database.close()


def test_a_second_start_does_nothing(tmp_path: Path) -> None:
    assert upgrade_embedded(tmp_path)
    assert not upgrade_embedded(tmp_path)


def test_the_newest_revision_is_the_one_a_start_looks_for(tmp_path: Path) -> None:
    upgrade_embedded(tmp_path)
    database = sqlite_database(tmp_path / DATABASE_FILE, pool_size=1)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == HEAD
    database.close()


def test_a_migration_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path / DATABASE_FILE, pool_size=1)
    with database.write() as connection:
        connection.exec_driver_sql('CREATE TABLE "WebhookDeliveryAttempts" (x)')
        connection.commit()
    with pytest.raises(Unavailable):
        migrate(database)
    assert set(_objects(database.engine)) == {"WebhookDeliveryAttempts"}
    database.close()


def test_four_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    code = _FORK + "print(upgrade_embedded(Path(sys.argv[1])))"
    started = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=60)[0].strip() for process in started]
    assert sorted(answers) == ["False", "False", "False", "True"]


@pytest.mark.parametrize("damage", ["garbage", "directory"])
def test_a_file_that_is_no_database_is_unavailable_and_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / DATABASE_FILE
    if damage == "garbage":
        path.write_bytes(b"this is no database " * 100)
    else:
        path.mkdir()
    with pytest.raises(Unavailable):
        upgrade_embedded(tmp_path)
    database = sqlite_database(path, pool_size=1)
    with pytest.raises(Unavailable):
        database.ping()
    database.close()
    assert path.is_dir() or path.read_bytes().startswith(b"this is no database")


# -- T-SQL ----------------------------------------------------------------------------------------------------


def _batches() -> list[str]:
    lines = [line for line in script().splitlines() if not line.startswith("--")]
    return [
        batch.strip() for batch in re.split(r"^GO$", "\n".join(lines), flags=re.MULTILINE) if batch.strip()
    ]


def _statements() -> list[exp.Expr]:
    """Those that make the schema; what surrounds them is for sqlcmd."""
    made: list[exp.Expr] = []
    for batch in _batches():
        for statement in batch.split(";\n"):
            words = statement.strip().rstrip(";")
            if words and not words.startswith(("SET ", "IF ", "BEGIN TRANSACTION", "COMMIT")):
                made.append(sqlglot.parse_one(words, dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE))
    return made


def test_the_committed_script_is_what_the_migrations_print() -> None:
    committed = (_ROOT / "deploy" / "sql" / "schema.sql").read_text()
    assert committed == script(), "run: python -m infra.sql.migrate --sql > deploy/sql/schema.sql"


def test_the_script_is_printed_without_a_driver(capsys: pytest.CaptureFixture[str]) -> None:
    upgrade("mssql+pyodbc://user:password@host/hub", sql_only=True)
    printed = capsys.readouterr().out
    assert printed == script()
    assert "password" not in printed


def test_every_statement_of_the_script_parses_as_t_sql() -> None:
    statements = _statements()
    kinds = {type(statement) for statement in statements}
    assert kinds <= {exp.Create, exp.Insert, exp.Update, exp.Alter}, kinds
    tables = [
        statement
        for statement in statements
        if isinstance(statement, exp.Create) and statement.kind == "TABLE"
    ]
    assert len(tables) == len(metadata.tables) + 1, "and Alembic's own"


def test_the_script_turns_on_what_filtered_indexes_need_first() -> None:
    assert _batches()[0] == "SET QUOTED_IDENTIFIER ON;"


def test_the_script_has_the_database_keep_versions_before_its_transaction() -> None:
    """ALTER DATABASE is refused within one (error 226)."""
    batches = _batches()
    assert batches[2:4] == [f"{statement};" for statement in SNAPSHOTS_ON]
    assert batches[4].startswith("BEGIN TRANSACTION;")
    assert [statement.split(" SET ")[1] for statement in SNAPSHOTS_ON] == [
        "READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE",
        "ALLOW_SNAPSHOT_ISOLATION ON",
    ]


def test_columns_have_the_types_of_section_13() -> None:
    printed = script()
    for line in (
        "[Sequence] BIGINT NOT NULL IDENTITY,",
        "[WebhookDeliveryId] UNIQUEIDENTIFIER NOT NULL,",
        "[Configuration] NVARCHAR(max) NOT NULL,",
        "[Name] NVARCHAR(200) NOT NULL,",
        "[IsEnabled] BIT NOT NULL DEFAULT 1,",
        "[UsageCount] BIGINT NOT NULL DEFAULT 0,",
        "[CreatedAt] DATETIME2(6) NOT NULL DEFAULT GETUTCDATE(),",
        "[EventId] NVARCHAR(100) COLLATE Latin1_General_100_BIN2 NOT NULL,",
        "WHERE NextRetryAt IS NOT NULL;",
        "([TenantId], [ActiveSlot]) WHERE ActiveSlot IS NOT NULL;",
        "CREATE CLUSTERED INDEX [IX_WebhookDelivery_Scheduled]",
        "PRIMARY KEY NONCLUSTERED ([WebhookDeliveryId])",
    ):
        assert line in printed, line
    assert printed.count("ON DELETE CASCADE") == 6
    for type_ in ("NTEXT", "DATETIME ", "DATETIME,", "VARCHAR(max)", "BOOLEAN", "DATETIMEOFFSET"):
        assert not re.search(rf"\s{re.escape(type_)}", printed), type_


def test_every_table_is_ordered_by_exactly_one_index() -> None:
    for table in metadata.tables.values():
        key_is_clustered = table.primary_key.dialect_options["mssql"]["clustered"] is not False
        clustered = [index for index in table.indexes if index.dialect_options["mssql"]["clustered"]]
        assert len(clustered) + key_is_clustered == 1, table.name


def test_deletes_cascade_along_one_path_only() -> None:
    """SQL Server refuses a second one (error 1785)."""
    below = {
        name: [
            other.name
            for other in metadata.tables.values()
            for key in other.foreign_keys
            if key.column.table.name == name and key.ondelete == "CASCADE"
        ]
        for name in metadata.tables
    }

    def reached(name: str) -> list[str]:
        return [found for child in below[name] for found in (child, *reached(child))]

    for name in below:
        assert len(reached(name)) == len(set(reached(name))), name
    assert sorted(reached("Webhooks")) == [
        "WebhookDeliveries",
        "WebhookDeliveryAttempts",
        "WebhookSubscriptions",
    ]


def test_index_keys_fit_sql_servers_limits() -> None:
    """900 bytes clustered, 1,700 otherwise; a unique constraint is an index."""
    sizes = {"UNIQUEIDENTIFIER": 16, "INTEGER": 4, "BIGINT": 8, "BIT": 1, "DATETIME2(6)": 8}

    def width(column: Column[Any]) -> int:
        name = column.type.compile(_mssql()).split(" COLLATE")[0]
        match = re.fullmatch(r"NVARCHAR\((\d+)\)", name)
        return 2 * int(match[1]) if match else sizes[name]

    for table in metadata.tables.values():
        assert sum(width(column) for column in table.primary_key.columns) <= 900, table.name
        unique = [constraint for constraint in table.constraints if isinstance(constraint, UniqueConstraint)]
        keys: list[Index | UniqueConstraint] = [*table.indexes, *unique]
        for key in keys:
            assert sum(width(column) for column in key.columns) <= 1_700, key.name


def _mssql() -> Dialect:
    return make_url("mssql+pyodbc://").get_dialect()()
