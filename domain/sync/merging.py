"""The decision what happens to a fetched record, given what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

#: How far the clock of a provider may be ahead.
CLOCK_DIFFERENCE = timedelta(minutes=5)
_NUMBER = "sequence="


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """What is stored under an external id; `modified_at` is of the last change, by provider or tenant.

    - `source_hash` and `version` are of the provider's record as last seen; both are None when it has none.
    - `is_waiting`: the tenant's change, which may be a deletion, is still to be pushed.
    - `local_fields` is the text of LocalFields."""

    source_hash: str | None
    modified_at: datetime | None
    is_deleted: bool
    generation: int
    version: str | None = None
    is_waiting: bool = False
    record_type: str = ""
    local_fields: str | None = None


@dataclass(frozen=True, slots=True)
class IncomingRecord:
    """A record as the provider has it now, transformed and valid; `data` is JSON text, None for a deletion.

    `hash` is of what the provider has; once merged, `data` has the tenant's `local_fields` in it."""

    external_id: str
    data: str | None
    hash: str
    modified_at: datetime | None
    version: str | None
    record_type: str
    local_fields: str | None = None


class MergeAction(Enum):
    """What becomes of a fetched record. `Keep`: the tenant's waiting change stays and is pushed over this version."""

    Insert = auto()
    Update = auto()
    Tombstone = auto()
    Keep = auto()
    Unchanged = auto()
    Duplicate = auto()


def decide(
    stored: StoredVersion | None, incoming: IncomingRecord, generation: int | None, now: datetime
) -> MergeAction:
    """Return what to do with a fetched record; `generation` is that of a full run, None for other runs.

    The later modification wins (BR-DS-07). On a tie, and where the provider names no moment, the fetched one wins,
    except that a deletion without a moment never takes a change of the tenant's that waits to be pushed.
    A stored moment that has not come yet is of a clock that was wrong, and decides nothing: by what was seen, the
    fetched record is the later one. Where both revisions are numbered, the numbers decide and not the moments."""
    if stored is None:
        return MergeAction.Unchanged if incoming.data is None else MergeAction.Insert
    again = generation is not None and stored.generation == generation
    same = MergeAction.Duplicate if again else MergeAction.Unchanged
    if stored.is_waiting:
        return _decide_waiting(stored, incoming, same, now)
    if _is_earlier(stored, incoming, now):
        return same
    if incoming.data is None:
        return same if stored.is_deleted else MergeAction.Tombstone
    if incoming.hash == stored.source_hash and not stored.is_deleted:
        return same
    return MergeAction.Update


def _is_earlier(stored: StoredVersion, incoming: IncomingRecord, now: datetime) -> bool:
    numbers = number_of(stored.version), number_of(incoming.version)
    if numbers[0] is not None and numbers[1] is not None and numbers[0] != numbers[1]:
        return numbers[1] < numbers[0] and not stored.is_deleted
    return _is_older(incoming.modified_at, stored.modified_at) and not is_ahead(stored.modified_at, now)


def numbered(version: str | None, number: int | None) -> str | None:
    """Return a version that carries the number of its revision."""
    return version if number is None else f"{_NUMBER}{number};{version or ''}"


def number_of(version: str | None) -> int | None:
    """Return the number that `numbered` put into a version."""
    number = (version or "").partition(";")[0].removeprefix(_NUMBER)
    is_numbered = version is not None and version.startswith(_NUMBER) and number.isdecimal()
    return int(number) if is_numbered else None


def _decide_waiting(
    stored: StoredVersion, incoming: IncomingRecord, same: MergeAction, now: datetime
) -> MergeAction:
    """Decide between the tenant's waiting change and the provider's record, which may not have changed at all."""
    is_kept = _is_older(incoming.modified_at, stored.modified_at) and not is_ahead(stored.modified_at, now)
    if incoming.data is None:
        if stored.is_deleted or (incoming.modified_at is not None and not is_kept):
            return MergeAction.Tombstone
        return same if stored.source_hash is None else MergeAction.Keep
    is_known = incoming.version is not None and incoming.version == stored.version
    if is_known or incoming.hash == stored.source_hash:
        return same if incoming.version == stored.version else MergeAction.Keep
    return MergeAction.Keep if is_kept else MergeAction.Update


def is_ahead(modified_at: datetime | None, now: datetime) -> bool:
    """Return whether a moment of change has not come yet, by more than clocks differ."""
    return modified_at is not None and modified_at > now + CLOCK_DIFFERENCE


def latest(records: Iterable[IncomingRecord], now: datetime) -> tuple[list[IncomingRecord], int]:
    """Return the latest record of each external id (BR-DS-06), and how many others were left out.

    One that is stamped in the future is later than none."""
    kept: dict[str, IncomingRecord] = {}
    count = 0
    for record in records:
        count += 1
        before = kept.get(record.external_id)
        is_older = before is not None and _is_older(record.modified_at, before.modified_at)
        if not is_older or is_ahead(before.modified_at if before else None, now):
            kept[record.external_id] = record
    return list(kept.values()), count - len(kept)


def shared_ids(records: Iterable[IncomingRecord]) -> set[str]:
    """Return the ids under which different records came, where no moment tells them apart as revisions."""
    seen: dict[str, IncomingRecord] = {}
    shared = set()
    for record in records:
        before = seen.setdefault(record.external_id, record)
        if _differ(before.modified_at, before.hash, record):
            shared.add(record.external_id)
        seen[record.external_id] = record
    return shared


def seen_otherwise(
    stored: dict[str, StoredVersion], records: Iterable[IncomingRecord], generation: int | None
) -> set[str]:
    """Return the ids of records that this full run has listed before with another content."""
    return {
        record.external_id
        for record in records
        if (before := stored.get(record.external_id)) is not None
        and generation is not None
        and before.generation == generation
        and not before.is_deleted
        and _differ(before.modified_at, before.source_hash, record)
    }


def _differ(modified_at: datetime | None, content: str | None, record: IncomingRecord) -> bool:
    return record.data is not None and record.modified_at == modified_at and record.hash != content


def _is_older(incoming: datetime | None, stored: datetime | None) -> bool:
    return incoming is not None and stored is not None and incoming < stored


@dataclass(frozen=True, slots=True)
class Merge:
    """The records of a batch by action.

    - `seen` are ids of stored rows that a full run marks as seen.
    - `kept`: what the provider has of records whose waiting change stays.
    - `given_up` are ids of records whose waiting change was not the later one."""

    inserts: Sequence[IncomingRecord]
    updates: Sequence[IncomingRecord]
    tombstones: Sequence[IncomingRecord]
    seen: Sequence[str]
    unchanged: int
    duplicate: int
    kept: Sequence[IncomingRecord] = ()
    given_up: Sequence[str] = ()


def merge(
    stored: dict[str, StoredVersion],
    records: Sequence[IncomingRecord],
    generation: int | None,
    *,
    now: datetime,
    refused: Iterable[str] = (),
) -> Merge:
    """Return what becomes of the records; those `refused` are at the provider still, so that they stay stored."""
    by_action: dict[MergeAction, list[IncomingRecord]] = {action: [] for action in MergeAction}
    given_up: list[str] = []
    for record in records:
        known = stored.get(record.external_id)
        action = decide(known, record, generation, now)
        by_action[action].append(record)
        if known is not None and known.is_waiting and _gives_up(known, action):
            given_up.append(record.external_id)
    unchanged = by_action[MergeAction.Unchanged]
    return Merge(
        inserts=by_action[MergeAction.Insert],
        updates=by_action[MergeAction.Update],
        tombstones=by_action[MergeAction.Tombstone],
        kept=by_action[MergeAction.Keep],
        given_up=given_up,
        # A deletion is not a sighting; a duplicate is marked already.
        seen=[
            external_id
            for external_id in (
                *(record.external_id for record in unchanged if record.data is not None),
                *refused,
            )
            if generation is not None and external_id in stored
        ],
        unchanged=len(unchanged) + len(by_action[MergeAction.Keep]),
        duplicate=len(by_action[MergeAction.Duplicate]),
    )


def _gives_up(known: StoredVersion, action: MergeAction) -> bool:
    return action == MergeAction.Update or (action == MergeAction.Tombstone and not known.is_deleted)
