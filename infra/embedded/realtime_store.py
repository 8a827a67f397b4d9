"""What the processes of one machine share about realtime messages, in one SQLite file."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from infra.embedded.sqlite import SqliteFile

_KEPT_SECONDS = 10.0
ROWS_KEPT = 10_000
_CLOSURES_KEPT_SECONDS = 2 * 3600.0
#: A process that has not said so for this long no longer listens.
PRESENCE_SECONDS = 12.0

_SCHEMA = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, group_name TEXT NOT NULL, kind TEXT NOT NULL, payloads TEXT NOT NULL,
    sent_at REAL NOT NULL);
CREATE TABLE closures (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user TEXT NOT NULL, closed_at REAL NOT NULL);
CREATE INDEX closures_user ON closures (user);
CREATE TABLE listeners (
    process TEXT NOT NULL, group_name TEXT NOT NULL, seen_at REAL NOT NULL,
    PRIMARY KEY (process, group_name)) WITHOUT ROWID;
CREATE TABLE signing_key (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL)
"""


class Message(NamedTuple):
    """One message to a group; `payloads` is JSON."""

    group: str
    kind: str
    payloads: str


class News(NamedTuple):
    """What was published since the last look: messages, and users whose connections are to close."""

    messages: Sequence[Message]
    closed: Sequence[str]


NOTHING_NEW = News((), ())


class RealtimeStore:
    """What processes tell each other about realtime connections. Raises Unavailable when the file does not answer.

    Times are the machine's own: what is kept here lives for seconds."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, _SCHEMA)
        self._key: str | None = None

    def signing_key(self) -> str:
        """Return the key of access tokens, drawn on first use; every process gets the same."""
        if self._key is None:
            with self._file.transaction() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO signing_key VALUES (1, ?)", (secrets.token_urlsafe(48),)
                )
                self._key = str(connection.execute("SELECT value FROM signing_key").fetchone()[0])
        return self._key

    def add(self, group: str, kind: str, payloads: Sequence[Any]) -> None:
        now = time.time()
        with self._file.transaction() as connection:
            row = (group, kind, json.dumps(payloads, separators=(",", ":")), now)
            added = connection.execute(
                "INSERT INTO messages (group_name, kind, payloads, sent_at) VALUES (?, ?, ?, ?)", row
            )
            # Ids and times grow together, so the old are at the front.
            connection.execute("DELETE FROM messages WHERE id <= ?", ((added.lastrowid or 0) - ROWS_KEPT,))
            oldest = connection.execute("SELECT sent_at FROM messages ORDER BY id LIMIT 1").fetchone()
            if oldest[0] < now - 2 * _KEPT_SECONDS:
                connection.execute("DELETE FROM messages WHERE sent_at < ?", (now - _KEPT_SECONDS,))

    def close_user(self, user: str, at: float) -> None:
        """`at` is the moment by the clock that tokens are issued by, in seconds since 1970."""
        with self._file.transaction() as connection:
            connection.execute("DELETE FROM closures WHERE closed_at < ?", (at - _CLOSURES_KEPT_SECONDS,))
            connection.execute("INSERT INTO closures (user, closed_at) VALUES (?, ?)", (user, at))

    def closed_at(self, user: str) -> float | None:
        """When the user was closed last; None if not while a token of today could be about."""
        with self._file.reader() as connection:
            row = connection.execute("SELECT max(closed_at) FROM closures WHERE user = ?", (user,)).fetchone()
            return None if row[0] is None else float(row[0])

    def announce(self, process: str, groups: Collection[str]) -> None:
        """Store the groups that have connections in this process; to be repeated well within PRESENCE_SECONDS."""
        now = time.time()
        with self._file.transaction() as connection:
            connection.execute(
                "DELETE FROM listeners WHERE process = ? OR seen_at < ?", (process, now - PRESENCE_SECONDS)
            )
            connection.executemany(
                "INSERT INTO listeners VALUES (?, ?, ?)", [(process, group, now) for group in groups]
            )

    def groups(self) -> frozenset[str]:
        """Return the groups that have connections in any process."""
        since = time.time() - PRESENCE_SECONDS
        with self._file.reader() as connection:
            rows = connection.execute("SELECT group_name FROM listeners WHERE seen_at >= ?", (since,))
            return frozenset(row[0] for row in rows)

    def watch(self) -> Watch:
        """Follow what is published from now on."""
        return Watch(self._file)

    def close(self) -> None:
        self._file.close()


class Watch:
    """A reader of what is new. A look while nothing is costs a few microseconds."""

    def __init__(self, file: SqliteFile) -> None:
        self._stack = ExitStack()
        self._connection: sqlite3.Connection = self._stack.enter_context(file.reader())
        self._version = self._data_version()
        self._messages, self._closures = self._last("messages"), self._last("closures")

    def look(self) -> News:
        """Return what was published since the last look. Raises sqlite3.Error."""
        version = self._data_version()
        if version == self._version:
            return NOTHING_NEW
        self._version = version
        rows = self._connection.execute(
            "SELECT id, group_name, kind, payloads FROM messages WHERE id > ? ORDER BY id", (self._messages,)
        ).fetchall()
        closed = self._connection.execute(
            "SELECT id, user FROM closures WHERE id > ? ORDER BY id", (self._closures,)
        ).fetchall()
        if rows:
            self._messages = rows[-1][0]
        if closed:
            self._closures = closed[-1][0]
        return News([Message(*row[1:]) for row in rows], [row[1] for row in closed])

    def end(self) -> None:
        """Give the connection back."""
        self._stack.close()

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _last(self, table: str) -> int:
        row = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return int(row[0]) if row else 0
