"""What the sync engine and a provider adapter tell each other about records: streams, pages, pushes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class RecordType(StrEnum):
    """The internal record models that provider records are transformed to."""

    Event = "Event"
    Contact = "Contact"
    Payment = "Payment"
    Message = "Message"
    FileObject = "FileObject"
    Generic = "Generic"


MAX_PAGE_RECORDS = 10_000  # BR-DS-03


@dataclass(frozen=True, slots=True)
class StreamProfile:
    """One kind of record that a provider has.

    - `incremental`: how later runs ask only for changes: `token` (the provider gives a sync token), `since` (a
      modified-since filter), or None (they list everything).
    - `lists_deletions`: an incremental page can say that a record was deleted.
    - `importable`: it can be listed; False where the provider only takes.
    - `complete_history`: False where the provider forgets or hides old records: one that a listing lacks may still
      exist, and no run takes it as deleted.
    - `pushes`: the fields of the internal record that a push writes, None for all of them."""

    name: str
    record_type: RecordType
    incremental: str | None
    lists_deletions: bool = False
    exportable: bool = False
    importable: bool = True
    page_size: int = 100
    complete_history: bool = True
    pushes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ListingRequest:
    """A request for one page of at most `limit` records.

    - `cursor`: the opaque `next_cursor` of the page before, None for the first page.
    - `since`, `state`: set for incremental runs; `state` is the opaque `next_state` of the last complete run."""

    stream: str
    limit: int
    cursor: str | None = None
    since: datetime | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record as the provider has it; `version` changes with it (ETag, revision) where no `modified_at` does.

    - `unread` says why the provider named the record but did not give it: what is stored stays, and it is asked for
      again.
    - `sequence` numbers the revisions of the record, where its standard says so: one with a lower number is older,
      whatever its moment.
    - `repeats` is how many more came under the id and were left out by the adapter, which knows which one stands.
    - `shares_id`: one of them is another record, and shares the id by mistake."""

    external_id: str
    data: Mapping[str, Any]
    modified_at: datetime | None = None
    version: str | None = None
    deleted: bool = False
    unread: str | None = None
    sequence: int | None = None
    repeats: int = 0
    shares_id: bool = False


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of records; `total` is None when the provider does not tell.

    - `next_cursor`: None on the last page.
    - `next_state`: only with the last page, when everything was listed.
    - `is_complete`: False when something may be missing here: nothing that the list lacks counts as deleted.
    - `restarted`: the list moved while it was read, and this is its first page again.
    - `problem`: what is wrong with the page itself, told once for it. Such a page is not complete, and the next run
      asks again from where this one began."""

    records: Sequence[SourceRecord]
    next_cursor: str | None = None
    next_state: str | None = None
    total: int | None = None
    is_complete: bool = True
    problem: str | None = None
    restarted: bool = False


class StateExpired(Exception):
    """The provider does not know `state` any more (HTTP 410 and similar): list everything again."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A request to create, change or delete one record at the provider (`external_id` None: one it does not have).

    - `idempotency_key`: the same on every repeat; that of a creation stays when the content changes, so that the
      record of an earlier try is changed instead of made again.
    - `if_version`: guards against overwriting a newer version.
    - `fields`: those of `data` that changed, None for all; a change leaves the others at the provider as they are.
    - `recreate`: the provider deleted the record, and the tenant's change is the later one. Where it is really gone,
      it is made anew, under another id if need be."""

    stream: str
    idempotency_key: str
    data: Mapping[str, Any]
    external_id: str | None = None
    if_version: str | None = None
    deleted: bool = False
    fields: frozenset[str] | None = None
    recreate: bool = False


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did; `record` is the whole record as the provider has it now, where it tells."""

    external_id: str
    modified_at: datetime | None = None
    version: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    record: SourceRecord | None = None
