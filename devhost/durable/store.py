# ruff: noqa: S608 - statements are put together from constants of this module only
"""The engine's state: one SQLite file shared by every worker process.

`instances` are the orchestrations, `history` their events, `inbox` the messages that wake them (a timer is a
message due later), `activities` the work to do. A row is worked on by whoever holds its lease: leases run on
the machine's clock (seconds since 1970), not on the product's clock, which may be moved; a result is stored
only while the lease it was claimed under still stands. A process killed at any instruction leaves either the
whole of a step or nothing of it, and its leases run out.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devhost.durable.episode import Episode, EpisodeResult, NewInstance, Parent
from devhost.durable.events import Event, child_failed, started
from infra.embedded.sqlite import switch_to_wal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, input TEXT, execution TEXT NOT NULL,
    parent TEXT, parent_execution TEXT, parent_task INTEGER,
    status TEXT NOT NULL, suspended INTEGER NOT NULL DEFAULT 0, output TEXT, custom_status TEXT,
    created REAL NOT NULL, updated REAL NOT NULL, lease TEXT, lease_until REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS instances_leased ON instances (lease) WHERE lease IS NOT NULL;
CREATE INDEX IF NOT EXISTS instances_created ON instances (created, id);
CREATE TABLE IF NOT EXISTS history (
    instance TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL,
    PRIMARY KEY (instance, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL, execution TEXT, timer INTEGER,
    due REAL NOT NULL, event TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS inbox_due ON inbox (due);
CREATE INDEX IF NOT EXISTS inbox_instance ON inbox (instance, due);
CREATE TABLE IF NOT EXISTS activities (
    id INTEGER PRIMARY KEY AUTOINCREMENT, instance TEXT NOT NULL, execution TEXT NOT NULL,
    task INTEGER NOT NULL, name TEXT NOT NULL, input TEXT NOT NULL,
    lease TEXT, lease_until REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS activities_leased ON activities (lease) WHERE lease IS NOT NULL;
"""
_READY = """FROM inbox m JOIN instances i ON i.id = m.instance
    WHERE m.due <= :now AND i.suspended = 0 AND i.lease_until < :wall LIMIT :room"""
_ACTIVE = "status IN ('Pending', 'Running')"


@dataclass(frozen=True, slots=True)
class ClaimedWork:
    """A claimed activity. `payload` is its input as JSON text."""

    id: int
    instance_id: str
    execution: str
    task: int
    name: str
    payload: str
    lease: str


class Store:
    """One connection, for one thread at a time. `wall` gives the time leases run on."""

    def __init__(self, path: Path, *, lease_seconds: float, wall: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.db = connect(path)
        self.db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        self._lease_seconds = lease_seconds
        self._wall = wall

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction: all of it is stored, or none."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def create(self, new: NewInstance, now: float) -> bool:
        """Insert an orchestration, replacing a finished one of its id. Call inside a transaction.

        Returns False when that id is still running."""
        blocked = f"SELECT 1 FROM instances WHERE id = ? AND {_ACTIVE}"
        if self.db.execute(blocked, (new.instance_id,)).fetchone():
            return False
        self.forget(new.instance_id)
        execution = uuid.uuid4().hex
        origin = (
            (new.parent.instance_id, new.parent.execution, new.parent.task) if new.parent else (None,) * 3
        )
        self.db.execute(
            """INSERT INTO instances (id, name, input, execution, parent, parent_execution, parent_task,
                   status, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, 'Pending', ?, ?)""",
            (new.instance_id, new.name, new.payload, execution, *origin, now, now),
        )
        self.post(new.instance_id, execution, started(new.name, new.payload), now)
        return True

    def forget(self, instance_id: str) -> None:
        """Delete an orchestration with all that belongs to it. Call inside a transaction."""
        self.db.execute("DELETE FROM instances WHERE id = ?", (instance_id,))
        for table in ("history", "inbox", "activities"):
            self.db.execute(f"DELETE FROM {table} WHERE instance = ?", (instance_id,))

    def post(
        self, instance_id: str, execution: str | None, message: Event, due: float, *, timer: int | None = None
    ) -> bool:
        """Put a message into the inbox of a running orchestration. Call inside a transaction.

        Returns False when there is no such orchestration (of this execution, when one is given)."""
        cursor = self.db.execute(
            f"""INSERT INTO inbox (instance, execution, timer, due, event)
                SELECT id, ?1, ?2, ?3, ?4 FROM instances
                WHERE id = ?5 AND {_ACTIVE} AND (?1 IS NULL OR execution = ?1)""",
            (execution, timer, due, json.dumps(message), instance_id),
        )
        return cursor.rowcount == 1

    # Orchestrations

    def claim_episodes(self, room: int, now: float, lease: str) -> list[Episode]:
        """Take up to `room` orchestrations that have a message due, each with its history and messages."""
        wall = self._wall()
        values = {"now": now, "wall": wall, "room": room, "lease": lease, "until": wall + self._lease_seconds}
        if room < 1 or not self.db.execute(f"SELECT 1 {_READY}", values | {"room": 1}).fetchone():
            return []  # without taking the write lock
        with self.transaction():
            claimed = self.db.execute(
                f"""UPDATE instances SET lease = :lease, lease_until = :until
                    WHERE id IN (SELECT DISTINCT i.id {_READY})
                    RETURNING id, execution, name, input, parent, parent_execution, parent_task""",
                values,
            ).fetchall()
            return [self._episode(row, now, lease) for row in claimed]

    def _episode(
        self, row: tuple[str, str, str, str | None, str, str, int], now: float, lease: str
    ) -> Episode:
        instance_id, execution, name, payload, *origin = row
        history = self.db.execute("SELECT event FROM history WHERE instance = ? ORDER BY seq", (instance_id,))
        inbox = self.db.execute(
            "SELECT id, event FROM inbox WHERE instance = ? AND due <= ? ORDER BY due, id", (instance_id, now)
        ).fetchall()
        return Episode(
            instance_id=instance_id,
            execution=execution,
            name=name,
            payload=payload,
            parent=Parent(*origin) if origin[0] else None,  # type: ignore[arg-type]
            lease=lease,
            history=[text for (text,) in history],
            message_ids=[message_id for message_id, _ in inbox],
            messages=[json.loads(text) for _, text in inbox],
        )

    def finish_episode(self, episode: Episode, outcome: EpisodeResult, now: float) -> bool:
        """Store what an episode decided. False, and nothing stored, when its lease was lost."""
        with self.transaction() as db:
            held = db.execute(
                """UPDATE instances SET status = :status, output = :output, updated = :now,
                       custom_status = coalesce(:custom_status, custom_status),
                       execution = coalesce(:execution, execution), input = coalesce(:payload, input),
                       suspended = suspended AND :status = 'Running', lease = NULL, lease_until = 0
                   WHERE id = :id AND lease = :lease""",
                {
                    "status": outcome.status,
                    "output": outcome.output,
                    "now": now,
                    "custom_status": outcome.custom_status,
                    "execution": outcome.next_execution,
                    "payload": outcome.payload,
                    "id": episode.instance_id,
                    "lease": episode.lease,
                },
            ).rowcount
            if not held:
                return False
            self._consume(episode, outcome)
            self._schedule(episode, outcome, now)
            if outcome.next_execution:
                for message in outcome.carried:
                    self.post(episode.instance_id, None, message, 0.0)  # before what came later
            elif outcome.to_parent and episode.parent:
                self.post(episode.parent.instance_id, episode.parent.execution, outcome.to_parent, now)
            return True

    def _consume(self, episode: Episode, outcome: EpisodeResult) -> None:
        mine = (episode.instance_id,)
        taken = "DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(?))"
        self.db.execute(taken, (json.dumps(episode.message_ids),))
        if outcome.next_execution:
            self.db.execute("DELETE FROM history WHERE instance = ?", mine)
            self.db.execute("DELETE FROM inbox WHERE instance = ? AND execution IS NOT NULL", mine)
            return
        if outcome.status != "Running":
            self.db.execute("DELETE FROM inbox WHERE instance = ?", mine)
        rows = enumerate(outcome.history, start=len(episode.history))
        self.db.executemany(
            "INSERT INTO history (instance, seq, event) VALUES (?, ?, ?)",
            [(episode.instance_id, seq, json.dumps(item)) for seq, item in rows],
        )

    def _schedule(self, episode: Episode, outcome: EpisodeResult, now: float) -> None:
        mine = (episode.instance_id, episode.execution)
        self.db.executemany(
            "INSERT INTO activities (instance, execution, task, name, input) VALUES (?, ?, ?, ?, ?)",
            [(*mine, call.task, call.name, call.payload) for call in outcome.activities],
        )
        for timer, fired in outcome.timers:
            self.post(*mine, fired, timer.fire_at.timestamp(), timer=timer.task)
        self.db.executemany(
            "DELETE FROM inbox WHERE instance = ? AND execution = ? AND timer = ?",
            [(*mine, task) for task in outcome.cancelled],
        )
        for child in outcome.children:
            if not self.create(child, now) and child.parent:
                reason = f"an orchestration with the id '{child.instance_id}' is already running"
                self.post(*mine, child_failed(child.parent.task, reason), now)

    # Activities

    def claim_activities(self, room: int, lease: str) -> list[ClaimedWork]:
        """Take up to `room` activities that nobody holds, oldest first."""
        wall = self._wall()
        idle = "SELECT id FROM activities WHERE lease_until < :wall ORDER BY id LIMIT :room"
        values = {"wall": wall, "room": room, "lease": lease, "until": wall + self._lease_seconds}
        if room < 1 or not self.db.execute(idle, values).fetchone():
            return []
        claimed = self.db.execute(
            f"""UPDATE activities SET lease = :lease, lease_until = :until WHERE id IN ({idle})
                RETURNING id, instance, execution, task, name, input, lease""",
            values,
        ).fetchall()
        return [ClaimedWork(*row) for row in sorted(claimed)]

    def finish_activity(self, work: ClaimedWork, result: Event, now: float) -> bool:
        """Store an activity's result for its orchestration.

        Returns False, and stores nothing, when the lease was lost: whoever took the activity over reports its
        result."""
        with self.transaction() as db:
            done = "DELETE FROM activities WHERE id = ? AND lease = ?"
            if not db.execute(done, (work.id, work.lease)).rowcount:
                return False
            self.post(work.instance_id, work.execution, result, now)
            return True

    # Leases and time

    def renew(self, leases: Collection[str]) -> None:
        """Extend the leases that still stand by another term."""
        until = self._wall() + self._lease_seconds
        for table in ("instances", "activities"):
            self.db.executemany(
                f"UPDATE {table} SET lease_until = ? WHERE lease = ?", [(until, lease) for lease in leases]
            )

    def holders(self) -> set[str]:
        """Return the workers that hold a lease. A lease is named `worker/anything`."""
        found: set[str] = set()
        for table in ("instances", "activities"):
            rows = self.db.execute(f"SELECT lease FROM {table} WHERE lease IS NOT NULL")
            found.update(lease.partition("/")[0] for (lease,) in rows)
        return found

    def release(self, worker: str) -> None:
        """Give up every lease of a worker whose process is known to be gone."""
        for table in ("instances", "activities"):
            ended = f"UPDATE {table} SET lease = NULL, lease_until = 0 WHERE substr(lease, 1, ?) = ?"
            self.db.execute(ended, (len(worker) + 1, f"{worker}/"))

    def next_due(self, now: float) -> float | None:
        """When the next message falls due, in seconds since 1970 of the product's clock."""
        row: tuple[float | None] = self.db.execute(
            "SELECT min(due) FROM inbox WHERE due > ?", (now,)
        ).fetchone()
        return row[0]


def connect(path: Path) -> sqlite3.Connection:
    """Open the file in WAL mode, made for its owner alone; several processes may do so at once."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA busy_timeout = 10000")
    switch_to_wal(db)
    db.execute("PRAGMA synchronous = NORMAL")
    return db
