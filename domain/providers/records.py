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
    """One kind of record a provider has. `incremental` says how later runs ask only for changes: `token` (the
    provider gives a sync token), `since` (a modified-since filter), or None (always everything).
    `lists_deletions` when an incremental page can say that a record is gone. `complete_history` is False where the
    provider forgets old records or lists a window of them: what a listing does not show may still exist then, so
    that no run takes its absence for a deletion."""

    name: str
    record_type: RecordType
    incremental: str | None
    lists_deletions: bool = False
    exportable: bool = False
    page_size: int = 100
    complete_history: bool = True


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Ask for one page. `cursor` is the opaque `next_cursor` of the page before, None for the first; `since` and
    `state` are set for incremental runs (`state` is the opaque `next_state` of the last complete run). `limit`
    is the most records wanted; adapters may return fewer."""

    stream: str
    limit: int
    cursor: str | None = None
    since: datetime | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record as the provider has it. `version` is anything that changes with the record (ETag, revision) where
    there is no `modified_at`."""

    external_id: str
    data: Mapping[str, Any]
    modified_at: datetime | None = None
    version: str | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ListPage:
    """`next_cursor` None: this was the last page. `next_state` comes with the last page only: an adapter must not
    give it before everything was listed. `total` when the provider tells."""

    records: Sequence[SourceRecord]
    next_cursor: str | None = None
    next_state: str | None = None
    total: int | None = None


class StateExpired(Exception):
    """The provider no longer knows `state` (HTTP 410 and its kin): list everything again."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """Create or change one record at the provider. `idempotency_key` is the same on every repeat; that of a
    creation even when the content has changed since, so that the record an earlier try made is to be changed.
    `external_id` is None for a record the provider has not seen; `if_version` guards against overwriting a newer
    one."""

    stream: str
    idempotency_key: str
    data: Mapping[str, Any]
    external_id: str | None = None
    if_version: str | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class PushResult:
    external_id: str
    modified_at: datetime | None = None
    version: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
