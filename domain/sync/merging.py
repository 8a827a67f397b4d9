"""What becomes of a record that comes in, given what is stored: BR-DS-06 and BR-DS-07 as one decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored under an external id. `modified_at` is of whoever changed it last, provider or tenant."""

    source_hash: str | None
    modified_at: datetime | None
    is_deleted: bool
    generation: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record as the provider has it now, transformed and valid. `data` is JSON text, None for a deletion."""

    external_id: str
    data: str | None
    hash: str
    modified_at: datetime | None
    version: str | None
    record_type: str


class Verdict(Enum):
    Insert = auto()
    Update = auto()
    Tombstone = auto()
    Unchanged = auto()
    Duplicate = auto()


def decide(known: Known | None, incoming: Incoming, generation: int | None) -> Verdict:
    """`generation` is a full run's, None otherwise. The later modification wins (BR-DS-07); on a tie, and where
    the provider names no moment, what was fetched last does."""
    if known is None:
        return Verdict.Unchanged if incoming.data is None else Verdict.Insert
    again = generation is not None and known.generation == generation
    same = Verdict.Duplicate if again else Verdict.Unchanged
    if _is_older(incoming.modified_at, known.modified_at):
        return same
    if incoming.data is None:
        return same if known.is_deleted else Verdict.Tombstone
    if incoming.hash == known.source_hash and not known.is_deleted:
        return same
    return Verdict.Update


def latest(records: Iterable[Incoming]) -> tuple[list[Incoming], int]:
    """One record for each external id, the latest (BR-DS-06), and how many were left out."""
    kept: dict[str, Incoming] = {}
    count = 0
    for one in records:
        count += 1
        before = kept.get(one.external_id)
        if before is None or not _is_older(one.modified_at, before.modified_at):
            kept[one.external_id] = one
    return list(kept.values()), count - len(kept)


def _is_older(incoming: datetime | None, known: datetime | None) -> bool:
    return incoming is not None and known is not None and incoming < known


@dataclass(frozen=True, slots=True)
class Merge:
    """Verdicts of a batch, grouped for writing. `seen` are stored rows to be marked as seen by a full run."""

    inserts: Sequence[Incoming]
    updates: Sequence[Incoming]
    tombstones: Sequence[Incoming]
    seen: Sequence[str]
    unchanged: int
    duplicate: int


def merge(known: dict[str, Known], records: Sequence[Incoming], generation: int | None) -> Merge:
    """Decide on every record of a batch."""
    by_verdict: dict[Verdict, list[Incoming]] = {verdict: [] for verdict in Verdict}
    for one in records:
        by_verdict[decide(known.get(one.external_id), one, generation)].append(one)
    unchanged = by_verdict[Verdict.Unchanged]
    return Merge(
        inserts=by_verdict[Verdict.Insert],
        updates=by_verdict[Verdict.Update],
        tombstones=by_verdict[Verdict.Tombstone],
        # A deletion is not a sighting; a duplicate is marked already.
        seen=[
            one.external_id
            for one in unchanged
            if generation is not None and one.data is not None and one.external_id in known
        ],
        unchanged=len(unchanged),
        duplicate=len(by_verdict[Verdict.Duplicate]),
    )
