# ruff: noqa: S608 - statements are put together from constants of this module only
"""What a client may do to orchestrations: look, raise events, terminate, suspend, resume, purge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from devhost.durable.episode import NewInstance
from devhost.durable.events import EventKind, child_failed, event, iso, stamped
from devhost.durable.store import Store

Answer = Literal["done", "missing", "finished"]
_COLUMNS = """id, name, CASE WHEN suspended THEN 'Suspended' ELSE status END, input, custom_status, output,
    created, updated FROM instances"""
_FINISHED = "status IN ('Completed', 'Failed', 'Terminated', 'Canceled')"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which orchestrations. Seconds since 1970; `after` is the continuation token of the page before."""

    created_from: float | None = None
    created_to: float | None = None
    statuses: Sequence[str] = ()
    prefix: str = ""
    after: str = ""
    page_size: int = 100


class Control:
    """Client operations on the store, each in one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = store.db

    def start(self, new: NewInstance, now: float) -> bool:
        """Start an orchestration. Returns False when one of that id is pending, running or suspended."""
        with self._store.transaction():
            return self._store.create(new, now)

    def origin(self, instance_id: str) -> tuple[str, str | None] | None:
        """Return the name and input (JSON text) that an orchestration was started with."""
        found: tuple[str, str | None] | None = self._db.execute(
            "SELECT name, input FROM instances WHERE id = ?", (instance_id,)
        ).fetchone()
        return found

    def status(self, instance_id: str, *, show_input: bool) -> dict[str, Any] | None:
        """Return the status as the extension's HTTP API shows it."""
        row = self._db.execute(f"SELECT {_COLUMNS} WHERE id = ?", (instance_id,)).fetchone()
        return _payload(row, show_input=show_input) if row else None

    def page(self, which: Filter, *, show_input: bool) -> tuple[list[dict[str, Any]], str]:
        """One page in order of id, and the continuation token of the next ("" after the last)."""
        condition, values = _where(which)
        rows = self._db.execute(
            f"SELECT {_COLUMNS} WHERE {condition} AND id > ? ORDER BY id LIMIT ?",
            (*values, which.after, which.page_size + 1),
        ).fetchall()
        page = [_payload(row, show_input=show_input) for row in rows[: which.page_size]]
        return page, page[-1]["instanceId"] if len(rows) > which.page_size else ""

    def history(self, instance_id: str, *, show_output: bool) -> list[dict[str, Any]]:
        """Return the history for a reader: without the engine's own bookkeeping, with payloads on request."""
        rows = self._db.execute("SELECT event FROM history WHERE instance = ? ORDER BY seq", (instance_id,))
        shown = []
        for item in (json.loads(text) for (text,) in rows):
            kind = EventKind(item["EventType"])
            if kind in (EventKind.ORCHESTRATOR_STARTED, EventKind.ORCHESTRATOR_COMPLETED):
                continue
            hidden = {"IsPlayed"} if show_output else {"IsPlayed", "Input", "Result"}
            readable = "".join(word.title() for word in kind.name.split("_"))
            shown.append({k: v for k, v in item.items() if k not in hidden} | {"EventType": readable})
        return shown

    def raise_event(self, instance_id: str, name: str, payload: str, now: float) -> Answer:
        """Hand over an external event; it waits until the orchestrator asks for it. `payload` is JSON text."""
        with self._store.transaction():
            raised = event(EventKind.EVENT_RAISED, Name=name, Input=payload)
            if self._store.post(instance_id, None, raised, now):
                return "done"
            return self._refusal(instance_id)

    def suspend(self, instance_id: str, *, suspended: bool, now: float) -> Answer:
        """Stop, or let go on. Messages and due timers of a suspended orchestration wait."""
        with self._store.transaction():
            changed = self._db.execute(
                f"UPDATE instances SET suspended = ?, updated = ? WHERE id = ? AND NOT {_FINISHED}",
                (suspended, now, instance_id),
            ).rowcount
            return "done" if changed else self._refusal(instance_id)

    def terminate(self, instance_id: str, reason: str, now: float) -> Answer:
        """End it now; a running episode is fenced off.

        Activities under way run on and their results are dropped; children run on; a waiting parent sees a
        failure."""
        with self._store.transaction():
            ended = self._db.execute(
                f"""UPDATE instances SET status = 'Terminated', output = ?, updated = ?, suspended = 0,
                        lease = NULL, lease_until = 0
                    WHERE id = ? AND NOT {_FINISHED} RETURNING parent, parent_execution, parent_task""",
                (json.dumps(reason), now, instance_id),
            ).fetchall()
            if not ended:
                return self._refusal(instance_id)
            self._db.execute("DELETE FROM inbox WHERE instance = ?", (instance_id,))
            final = stamped(event(EventKind.EXECUTION_TERMINATED, Reason=reason), _moment(now), played=True)
            self._db.execute(
                """INSERT INTO history (instance, seq, event)
                   SELECT ?1, coalesce(max(seq) + 1, 0), ?2 FROM history WHERE instance = ?1""",
                (instance_id, json.dumps(final)),
            )
            for parent, execution, task in ended:
                if parent:
                    self._store.post(parent, execution, child_failed(task, reason), now)
            return "done"

    def purge(self, which: Filter) -> int:
        """Delete the finished orchestrations that match; how many."""
        condition, values = _where(which)
        with self._store.transaction():
            matching = f"SELECT id FROM instances WHERE {condition} AND {_FINISHED}"
            doomed = self._db.execute(matching, values).fetchall()
            for (instance_id,) in doomed:
                self._store.forget(instance_id)
            return len(doomed)

    def purge_one(self, instance_id: str) -> Answer | Literal["running"]:
        """Delete one finished orchestration; a running one stays."""
        with self._store.transaction():
            answer = self._refusal(instance_id)
            if answer != "finished":
                return "missing" if answer == "missing" else "running"
            self._store.forget(instance_id)
            return "done"

    def _refusal(self, instance_id: str) -> Answer:
        row = self._db.execute(f"SELECT {_FINISHED} FROM instances WHERE id = ?", (instance_id,)).fetchone()
        if row is None:
            return "missing"
        return "finished" if row[0] else "done"


def _where(which: Filter) -> tuple[str, list[Any]]:
    parts: list[tuple[str, Any]] = []
    if which.created_from is not None:
        parts.append(("created >= ?", which.created_from))
    if which.created_to is not None:
        parts.append(("created <= ?", which.created_to))
    if which.statuses:
        shown = "CASE WHEN suspended THEN 'Suspended' ELSE status END"
        parts.append((f"{shown} IN (SELECT value FROM json_each(?))", json.dumps(list(which.statuses))))
    if which.prefix:
        parts.append(("instr(id, ?) = 1", which.prefix))
    return " AND ".join(["1", *(text for text, _ in parts)]), [value for _, value in parts]


def _payload(row: tuple[Any, ...], *, show_input: bool) -> dict[str, Any]:
    instance_id, name, status, payload, custom_status, output, created, updated = row
    return {
        "name": name,
        "instanceId": instance_id,
        "runtimeStatus": status,
        "input": json.loads(payload) if show_input and payload is not None else None,
        "customStatus": json.loads(custom_status) if custom_status is not None else None,
        "output": json.loads(output) if output is not None else None,
        "createdTime": iso(_moment(created)),
        "lastUpdatedTime": iso(_moment(updated)),
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
