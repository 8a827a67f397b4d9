"""Azure Tables' model on SQLite."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from domain.core.ports import Clock, EntityExists, EtagMismatch, TableEntity, TableValue, TableWrite
from infra.azure.tables.limits import check_entity, check_key, check_table, check_writes
from infra.embedded.sqlite import SqliteFile, to_micros

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entities (
    tbl TEXT NOT NULL, partition_key TEXT NOT NULL, row_key TEXT NOT NULL, etag TEXT NOT NULL,
    properties TEXT NOT NULL, PRIMARY KEY (tbl, partition_key, row_key)) WITHOUT ROWID
"""
_KEY = "tbl = ? AND partition_key = ? AND row_key = ?"
_SELECT = "SELECT partition_key, row_key, etag, properties FROM entities"
_GET = f"{_SELECT} WHERE {_KEY}"
_INSERT = "INSERT INTO entities (tbl, partition_key, row_key, etag, properties) VALUES (?, ?, ?, ?, ?)"
_UPSERT = f"{_INSERT} ON CONFLICT DO UPDATE SET etag = excluded.etag, properties = excluded.properties"
_REPLACE = f"UPDATE entities SET etag = ?, properties = ? WHERE {_KEY} AND etag = coalesce(?, etag)"  # noqa: S608
_DELETE = f"DELETE FROM entities WHERE {_KEY} AND etag = coalesce(?, etag)"  # noqa: S608 - a constant


class EmbeddedTableStore:
    """All tables in one SQLite file; safe for many threads and processes. Implements TableStore.

    Tables exist by being named. Raises ValueError for what Azure Tables would refuse (`infra.azure.tables.limits`).
    In a transaction, replacing or deleting an entity that is not there is an EtagMismatch.
    """

    #: It has one writer.
    parallelism = 1

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = SqliteFile(path, _SCHEMA)
        self._clock = clock

    def get(self, table: str, partition_key: str, row_key: str) -> TableEntity | None:
        check_table(table)
        check_key(partition_key)
        check_key(row_key)
        with self._file.reader() as connection:
            row = connection.execute(_GET, (table, partition_key, row_key)).fetchone()
        return None if row is None else _entity(row)

    def insert(self, table: str, entity: TableEntity) -> str:
        return self._write(table, TableWrite("insert", entity))

    def replace(self, table: str, entity: TableEntity, *, etag: str) -> str:
        return self._write(table, TableWrite("replace", entity, etag))

    def upsert(self, table: str, entity: TableEntity) -> str:
        return self._write(table, TableWrite("upsert", entity))

    def delete(self, table: str, partition_key: str, row_key: str, *, etag: str | None = None) -> bool:
        check_table(table)
        check_key(partition_key)
        check_key(row_key)
        key = (table, partition_key, row_key)
        with self._file.transaction() as connection:
            if connection.execute(_DELETE, (*key, etag)).rowcount:
                return True
            if connection.execute(_GET, key).fetchone() is not None:
                raise EtagMismatch(f"{partition_key}/{row_key}")
        return False

    def query(
        self,
        table: str,
        partition_key: str | None = None,
        *,
        row_key_from: str = "",
        row_key_to: str | None = None,
        limit: int = 1000,
    ) -> list[TableEntity]:
        check_table(table)
        conditions, arguments = ["tbl = ?", "row_key >= ?"], [table, row_key_from]
        if partition_key is not None:
            conditions.append("partition_key = ?")
            arguments.append(partition_key)
        if row_key_to is not None:
            conditions.append("row_key < ?")
            arguments.append(row_key_to)
        where = " AND ".join(conditions)
        statement = f"{_SELECT} WHERE {where} ORDER BY partition_key, row_key LIMIT ?"
        with self._file.reader() as connection:
            return [_entity(row) for row in connection.execute(statement, (*arguments, limit))]

    def transact(self, table: str, writes: Sequence[TableWrite]) -> None:
        check_table(table)
        check_writes(writes)
        with self._file.transaction() as connection:
            for write in writes:
                self._apply(connection, table, write)

    @property
    def serial(self) -> EmbeddedTableStore:
        return self

    def change_each(
        self,
        table: str,
        keys: Sequence[tuple[str, str]],
        change: Callable[[int, TableEntity | None], Sequence[TableEntity]],
    ) -> None:
        """Hand each entity, with its position in `keys`, to `change`, and store what it returns.

        One transaction, which nobody else writes during. Implements `domain.apikeys.rate_limit.SerialTables`."""
        check_table(table)
        with self._file.transaction() as connection:
            for position, key in enumerate(keys):
                row = connection.execute(_GET, (table, *key)).fetchone()
                for entity in change(position, None if row is None else _entity(row)):
                    check_entity(entity)
                    self._apply(connection, table, TableWrite("upsert", entity))

    def ping(self) -> None:
        """Read from the file. Raises Unavailable if it does not answer."""
        self._file.ping()

    def close(self) -> None:
        self._file.close()

    def _write(self, table: str, write: TableWrite) -> str:
        check_table(table)
        check_entity(write.entity)
        with self._file.transaction() as connection:
            return self._apply(connection, table, write)

    def _apply(self, connection: sqlite3.Connection, table: str, write: TableWrite) -> str:
        entity, etag = write.entity, self._new_etag()
        key = (table, entity.partition_key, entity.row_key)
        if write.kind == "insert":
            try:
                connection.execute(_INSERT, (*key, etag, _encode(entity.properties)))
            except sqlite3.IntegrityError as error:
                raise EntityExists(f"{entity.partition_key}/{entity.row_key}") from error
            return etag
        if write.kind == "upsert":
            connection.execute(_UPSERT, (*key, etag, _encode(entity.properties)))
            return etag
        if write.kind == "replace":
            written = connection.execute(
                _REPLACE, (etag, _encode(entity.properties), *key, write.etag)
            ).rowcount
        else:
            written = connection.execute(_DELETE, (*key, write.etag)).rowcount
        if not written:
            raise EtagMismatch(f"{entity.partition_key}/{entity.row_key}")
        return etag

    def _new_etag(self) -> str:
        # The moment alone would repeat when two writes fall into one microsecond.
        return f'W/"{to_micros(self._clock.now()):x}-{secrets.token_hex(4)}"'


def _entity(row: tuple[str, str, str, str]) -> TableEntity:
    partition_key, row_key, etag, properties = row
    return TableEntity(partition_key, row_key, _decode(properties), etag)


def _encode(properties: Mapping[str, TableValue]) -> str:
    return json.dumps(dict(properties), default=_tagged, separators=(",", ":"))


def _tagged(value: object) -> dict[str, str]:
    if isinstance(value, datetime):
        return {"t": value.astimezone(UTC).isoformat()}
    assert isinstance(value, bytes)
    return {"b": base64.b64encode(value).decode()}


def _decode(stored: str) -> dict[str, TableValue]:
    return {name: _untagged(value) for name, value in json.loads(stored).items()}


def _untagged(value: str | int | float | bool | dict[str, str]) -> TableValue:
    if not isinstance(value, dict):
        return value
    if "t" in value:
        return datetime.fromisoformat(value["t"])
    return base64.b64decode(value["b"])
