"""The one way the embedded twins open a SQLite file."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from domain.core.errors import Unavailable
from infra.embedded.turns import Turns

BUSY_SECONDS = 30.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01T00:00:00Z. `moment` must be timezone-aware."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the UTC moment `micros` microseconds after 1970-01-01T00:00:00Z."""
    return _EPOCH + timedelta(microseconds=micros)


class SqliteFile:
    """A SQLite file in WAL mode, shared by the threads of this process and by other processes.

    One connection writes, under a lock; reads take an idle connection of a pool. A committed transaction
    survives the death of the process (synchronous=NORMAL gives up only the last commits at a power cut).
    The file is opened, readable by its owner alone, and its schema created on first use. SQLite's errors
    come out as Unavailable, except sqlite3.IntegrityError, which is the caller's answer.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._lock = threading.RLock()
        self._turns = Turns(path, most_seconds=BUSY_SECONDS)
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def writer(self) -> Iterator[sqlite3.Connection]:
        """Open the writing connection, outside a transaction, with the write lock held."""
        with self._lock, _as_unavailable():
            yield self._open_writer()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One immediate transaction: committed at the end, rolled back by an exception."""
        with self.writer() as connection, self._turns.mine():
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """Open a connection to read with. Each statement sees the last committed state."""
        with _as_unavailable():
            connection = self._take_reader()
            try:
                yield connection
            finally:
                self._give_back(connection)

    def ping(self) -> None:
        """Read from the file. Raises Unavailable unless it is there and answers."""
        if self._writer is not None and not self.path.exists():
            raise Unavailable(f"The embedded store {self.path.name} has vanished")
        with self.reader() as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def close(self) -> None:
        """Close all connections; later use raises Unavailable. Closing twice is harmless."""
        with self._lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._turns.close()

    def _open_writer(self) -> sqlite3.Connection:
        if self._closed:
            raise Unavailable(f"The embedded store {self.path.name} is closed")
        if self._writer is None:
            self._create_private()
            connection = self._connect()
            switch_to_wal(connection)
            self._ensure_schema(connection)
            self._writer = connection
        return self._writer

    def _take_reader(self) -> sqlite3.Connection:
        if self._writer is None:
            with self._lock:
                self._open_writer()
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    def _create_private(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise Unavailable(
                f"The embedded store {self.path.name} cannot be opened: {error.strerror}"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA journal_size_limit=67108864")
        return connection

    def _ensure_schema(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA user_version").fetchone()[0]:
            return
        connection.execute("BEGIN IMMEDIATE")
        for statement in self._schema.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute("PRAGMA user_version=1")
        connection.execute("COMMIT")


def switch_to_wal(connection: sqlite3.Connection) -> None:
    """Put the file in WAL mode once and for all, waiting for another process that does the same."""
    # The switch needs the file for itself and does not wait in the busy handler: two processes
    # starting at once would fail with "database is locked".
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise Unavailable(f"The embedded store does not answer: {error}") from error
