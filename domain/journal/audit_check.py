"""The check of a tenant's audit chain against its hashes, its stored tree, and the newest head kept elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.journal.audit import AuditRecord, canonical
from domain.journal.audit_heads import AuditTreeTransaction, Head, stored_edge
from domain.journal.merkle import Edge, leaf_hash

CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class CheckpointReport:
    """The newest head that is kept outside the database: up to which row it covers, and whether the rows are those.

    `holds` is None while the check has not come that far."""

    sequence: int
    signed_at: datetime
    holds: bool | None


@dataclass(frozen=True, slots=True)
class ChainReport:
    """The result of a check of a tenant's chain, as far as it came.

    - `first_broken` is the sequence of the first row that was changed, is missing, or does not fit; None too when every
      row fits the others and yet they are not the rows that were signed.
    - `head` is the hash of the newest row: kept elsewhere, it proves later that nothing up to it was rewritten.
    - `cursor` is where the next call goes on; without one the check is complete."""

    intact: bool
    rows: int
    first_broken: int | None
    reason: str | None
    head_sequence: int
    head: str
    checkpoint: CheckpointReport | None = None
    cursor: str | None = None


class _Broken(Exception):
    def __init__(self, sequence: int | None, reason: str) -> None:
        super().__init__(reason)
        self.sequence, self.reason = sequence, reason


class ChainCheck:
    """Walks from the oldest row to the newest, in one go or in several with `saved` and `state` between them.

    `head` is the newest head kept elsewhere, or None where there is none yet. Raises ValueError for a `state` that
    `saved` did not write."""

    def __init__(
        self, tx: AuditTreeTransaction, tenant_id: UUID, head: Head | None, state: str | None = None
    ) -> None:
        self._tx, self._tenant_id, self._head = tx, tenant_id, head
        self._ends = tx.audit.ends(tenant_id)
        self._tree = tx.audit_tree.state(tenant_id)
        self._holds: bool | None = None
        self._edge: Edge | None = None
        if state is None:
            self._expected, self._previous = self._ends.anchor_sequence + 1, self._ends.anchor_hash
            self._rows = 0
        else:
            self._resume(json.loads(state))

    def walk(self, most: int) -> ChainReport:
        """Check up to about `most` rows."""
        try:
            if self._edge is None:
                self._edge = self._start()
            until = self._rows + most
            while self._rows < until:
                if not self._chunk():
                    self._end()
                    return self._report(cursor=None)
        except _Broken as broken:
            return ChainReport(
                False,
                self._rows,
                broken.sequence,
                broken.reason,
                self._ends.head_sequence,
                self._ends.head_hash,
                self._checkpoint(),
            )
        return self._report(cursor=self.saved())

    def saved(self) -> str:
        """Return the state as JSON text."""
        assert self._edge is not None
        edge = [hash_.hex() for hash_ in self._edge.hashes]
        return json.dumps([self._expected, self._previous, self._rows, self._holds, self._edge.size, edge])

    def _resume(self, state: Sequence[object]) -> None:
        match state:
            case [int(expected), str(previous), int(rows), holds, int(size), list(edge)] if holds in (
                None,
                True,
            ):
                self._expected, self._previous, self._rows = expected, previous, rows
                self._holds = bool(holds) or None
                self._edge = Edge(size, [bytes.fromhex(hash_) for hash_ in edge])
            case _:
                raise ValueError("Not the state of a check")

    def _start(self) -> Edge:
        """Return the tree below the oldest row, whose leaves outlived their rows."""
        first = self._first()
        if first is None:
            return Edge()
        size = self._expected - first
        if size < 0:
            raise _Broken(self._expected, "The row is older than the tree that was signed.")
        edge = stored_edge(self._tx.audit_tree, self._tenant_id, size)
        if edge is None:
            raise _Broken(None, "The stored tree, which keeps the hashes of removed rows, has gaps.")
        return edge

    def _first(self) -> int | None:
        if self._head is not None:
            return self._head.first
        return self._tree.first if self._tree else None

    def _chunk(self) -> bool:
        """Check the next rows; return whether there may be more."""
        rows = self._tx.audit.chain(self._tenant_id, self._expected - 1, CHUNK)
        first = self._first()
        kept: Sequence[bytes] = ()
        if first is not None:
            kept = self._tx.audit_tree.leaves(self._tenant_id, self._expected - first, len(rows))
        for number, row in enumerate(rows):
            self._row(row, kept[number] if number < len(kept) else None)
        return len(rows) == CHUNK

    def _row(self, row: AuditRecord | int, kept: bytes | None) -> None:
        sequence = row if isinstance(row, int) else row.sequence
        if sequence != self._expected:
            raise _Broken(self._expected, "The row is missing.")
        if isinstance(row, int):
            raise _Broken(sequence, "The row cannot be read.")
        if row.previous_hash != self._previous:
            raise _Broken(sequence, "The row does not follow the one before it.")
        text = canonical(row)
        if hashlib.sha256(text).hexdigest() != row.hash:
            raise _Broken(sequence, "The row was changed.")
        leaf = leaf_hash(text)
        if kept is not None and kept != leaf:
            raise _Broken(sequence, "The row was rewritten after it had been signed.")
        self._expected, self._previous, self._rows = sequence + 1, row.hash, self._rows + 1
        if self._first() is not None:
            self._grow(leaf)

    def _grow(self, leaf: bytes) -> None:
        assert self._edge is not None
        self._edge.append(leaf)
        self._compare()

    def _compare(self) -> None:
        """Compare the tree with the kept head once it has that head's size."""
        head, edge = self._head, self._edge
        if head is None or edge is None or edge.size != head.size:
            return
        self._holds = edge.root() == head.root
        if not self._holds:
            raise _Broken(
                None, f"The rows up to {head.last} and their stored hashes are not those that were signed."
            )

    def _end(self) -> None:
        ends, head = self._ends, self._head
        if head is not None and self._expected <= head.last:
            self._holds = False
            raise _Broken(
                self._expected, f"Rows were cut off: a head that was signed covers row {head.last}."
            )
        if ends.head_sequence >= self._expected:
            raise _Broken(self._expected, "The row is missing.")
        if (ends.head_sequence, ends.head_hash) != (self._expected - 1, self._previous):
            raise _Broken(self._expected - 1, "The newest row is not the one the tenant's record names.")
        # Everything that was signed may have left with retention.
        self._compare()

    def _report(self, *, cursor: str | None) -> ChainReport:
        ends = self._ends
        return ChainReport(
            True, self._rows, None, None, ends.head_sequence, ends.head_hash, self._checkpoint(), cursor
        )

    def _checkpoint(self) -> CheckpointReport | None:
        head = self._head
        return None if head is None else CheckpointReport(head.last, head.signed_at, self._holds)
