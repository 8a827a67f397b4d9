"""What becomes of a record that comes in, given what is stored: BR-DS-06 and BR-DS-07 as one decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """What is stored under an external id. `modified_at` is of whoever changed it last, provider or tenant."""

    source_hash: str | None
    modified_at: datetime | None
    is_deleted: bool
    generation: int


@dataclass(frozen=True, slots=True)
class IncomingRecord:
    """A record as the provider has it now, transformed and valid. `data` is JSON text, None for a deletion."""

    external_id: str
    data: str | None
    hash: str
    modified_at: datetime | None
    version: str | None
    record_type: str


class MergeAction(Enum):
    Insert = auto()
    Update = auto()
    Tombstone = auto()
    Unchanged = auto()
    Duplicate = auto()


def decide(known: StoredVersion | None, incoming: IncomingRecord, generation: int | None) -> MergeAction:
    """`generation` is a full run's, None otherwise. The later modification wins (BR-DS-07); on a tie, and where
    the provider names no moment, what was fetched last does."""
    if known is None:
        return MergeAction.Unchanged if incoming.data is None else MergeAction.Insert
    again = generation is not None and known.generation == generation
    same = MergeAction.Duplicate if again else MergeAction.Unchanged
    if _is_older(incoming.modified_at, known.modified_at):
        return same
    if incoming.data is None:
        return same if known.is_deleted else MergeAction.Tombstone
    if incoming.hash == known.source_hash and not known.is_deleted:
        return same
    return MergeAction.Update


def latest(records: Iterable[IncomingRecord]) -> tuple[list[IncomingRecord], int]:
    """One record for each external id, the latest (BR-DS-06), and how many were left out."""
    kept: dict[str, IncomingRecord] = {}
    count = 0
    for record in records:
        count += 1
        before = kept.get(record.external_id)
        if before is None or not _is_older(record.modified_at, before.modified_at):
            kept[record.external_id] = record
    return list(kept.values()), count - len(kept)


def _is_older(incoming: datetime | None, known: datetime | None) -> bool:
    return incoming is not None and known is not None and incoming < known


@dataclass(frozen=True, slots=True)
class Merge:
    """Verdicts of a batch, grouped for writing. `seen` are stored rows to be marked as seen by a full run."""

    inserts: Sequence[IncomingRecord]
    updates: Sequence[IncomingRecord]
    tombstones: Sequence[IncomingRecord]
    seen: Sequence[str]
    unchanged: int
    duplicate: int


def merge(
    known: dict[str, StoredVersion], records: Sequence[IncomingRecord], generation: int | None
) -> Merge:
    """Decide on every record of a batch."""
    by_verdict: dict[MergeAction, list[IncomingRecord]] = {verdict: [] for verdict in MergeAction}
    for record in records:
        by_verdict[decide(known.get(record.external_id), record, generation)].append(record)
    unchanged = by_verdict[MergeAction.Unchanged]
    return Merge(
        inserts=by_verdict[MergeAction.Insert],
        updates=by_verdict[MergeAction.Update],
        tombstones=by_verdict[MergeAction.Tombstone],
        # A deletion is not a sighting; a duplicate is marked already.
        seen=[
            one.external_id
            for one in unchanged
            if generation is not None and one.data is not None and one.external_id in known
        ],
        unchanged=len(unchanged),
        duplicate=len(by_verdict[MergeAction.Duplicate]),
    )
