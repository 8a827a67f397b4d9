"""What a run remembers of the list that it reads, so that a list that goes round ends as failed, not with its time."""

from __future__ import annotations

import base64
import json
import struct
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Self

from domain.providers.records import ListPage, SourceRecord

#: Empty pages in a row that may still lead on.
EMPTY_MAX = 1_000
#: After so many pages without a new record at most one request is made in `SLOW`, after `STALE_MAX` none.
STALE_FAST = 3
STALE_MAX = 60
SLOW = timedelta(seconds=5)
_RECENT = 1_024
_SAMPLED = 4_096


class ListGoesRound(Exception):
    """A list leads back to where it has been, or on without an end; the text says how, and quotes nothing of it."""


@dataclass(slots=True)
class Memory:
    """Digests that were seen, within bounds: the latest 1,024, and of all the 4,096 smallest.

    The smallest are a sample that does not depend on the order. So every short round is noticed with its first
    repetition, a long one with the first repetition that is in the sample."""

    recent: OrderedDict[int, None] = field(default_factory=OrderedDict)
    sample: list[int] = field(default_factory=list)

    def knows(self, digest: int) -> bool:
        return digest in self.recent or self._is_sampled(digest)

    def is_new(self, digest: int) -> bool:
        """Return whether it was certainly not seen; False also where nobody knows any more."""
        would_be_sampled = len(self.sample) < _SAMPLED or digest < self.sample[-1]
        return would_be_sampled and not self.knows(digest)

    def add(self, digest: int) -> None:
        self.recent.pop(digest, None)
        self.recent[digest] = None
        if len(self.recent) > _RECENT:
            self.recent.popitem(last=False)
        if (len(self.sample) < _SAMPLED or digest < self.sample[-1]) and not self._is_sampled(digest):
            self.sample.insert(bisect_left(self.sample, digest), digest)
            del self.sample[_SAMPLED:]

    def _is_sampled(self, digest: int) -> bool:
        place = bisect_left(self.sample, digest)
        return place < len(self.sample) and self.sample[place] == digest

    def to_wire(self) -> list[str]:
        return [_packed(self.recent), _packed(self.sample)]

    @classmethod
    def from_wire(cls, wire: list[str]) -> Self:
        recent, sample = map(_unpacked, wire)
        return cls(OrderedDict.fromkeys(recent), sample)


@dataclass(slots=True)
class Trail:
    """The pages and records that a run has read, its resumptions included.

    - `pages`: the cursors that were asked for, and the contents of pages that were not empty.
    - `records`: each version of a record.
    - `empty`: empty pages in a row; `stale`: pages with records of which none was new, since the last new one."""

    pages: Memory = field(default_factory=Memory)
    records: Memory = field(default_factory=Memory)
    empty: int = 0
    stale: int = 0
    asked_at: datetime | None = None

    @property
    def is_slow(self) -> bool:
        return self.stale >= STALE_FAST

    def wait(self, now: datetime) -> float:
        """Return the seconds until the next request may be made."""
        if not self.is_slow or self.asked_at is None:
            return 0.0
        return max(0.0, (self.asked_at + SLOW - now).total_seconds())

    def check_cursor(self, cursor: str | None) -> None:
        """Raise ListGoesRound when no page may be asked for by this cursor."""
        if self.stale >= STALE_MAX:
            raise ListGoesRound(
                f"The provider's list does not get on: {STALE_MAX} pages held no record that had not come before."
            )
        if cursor is not None and self.pages.knows(_digest("cursor", cursor)):
            raise ListGoesRound(
                "The provider's list goes round: a page leads to one that was read before in this run."
            )

    def add_page(self, page: ListPage, asked_at: datetime) -> None:
        """Remember what a page holds. Raises ListGoesRound when it came before, or too many were empty."""
        self.asked_at = asked_at
        if page.restarted:
            self.pages, self.records, self.stale = Memory(), Memory(), 0
        if not page.records:
            self.empty += 1
            if self.empty > EMPTY_MAX and page.next_cursor is not None:
                raise ListGoesRound(f"The provider's list has more than {EMPTY_MAX:,} empty pages in a row.")
            return
        self.empty = 0
        contents = [_content(record) for record in page.records]
        content = _digest("page", *contents)
        if any(contents) and self.pages.knows(content):
            raise ListGoesRound(
                "The provider's list goes round: a page holds what a page before held in this run."
            )
        self.pages.add(content)
        self._add_records(
            [
                _digest("record", _version(record) or text)
                for record, text in zip(page.records, contents, strict=True)
                if text
            ]
        )

    def _add_records(self, digests: list[int]) -> None:
        """Count the page; one of whose records nobody knows counts for nothing."""
        if any(map(self.records.is_new, digests)):
            self.stale = 0
        elif any(map(self.records.knows, digests)):
            self.stale += 1
        for digest in digests:
            self.records.add(digest)

    def add_cursor(self, cursor: str | None) -> None:
        """Remember a cursor whose page was taken as a whole."""
        if cursor is not None:
            self.pages.add(_digest("cursor", cursor))

    def to_text(self) -> str:
        wire = {
            "pages": self.pages.to_wire(),
            "records": self.records.to_wire(),
            "empty": self.empty,
            "stale": self.stale,
            "askedAt": self.asked_at.isoformat() if self.asked_at is not None else None,
        }
        return json.dumps(wire, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str | None) -> Self:
        """Return the trail of a checkpoint; one of before trails has none."""
        if not text:
            return cls()
        wire: dict[str, Any] = json.loads(text)
        asked_at = wire["askedAt"]
        return cls(
            Memory.from_wire(wire["pages"]),
            Memory.from_wire(wire["records"]),
            wire["empty"],
            wire["stale"],
            datetime.fromisoformat(asked_at) if asked_at is not None else None,
        )


def _content(record: SourceRecord) -> str:
    """Return all that a record says; "" for one of which nothing could be read."""
    if not record.external_id and not record.data:
        return ""
    data = json.dumps(record.data, default=str)
    return f"{_version(record)}\x00{record.deleted}{record.unread}\x00{data}"


def _version(record: SourceRecord) -> str:
    """Return what tells a record, as it is now, from others; "" for one without an id."""
    if not record.external_id:
        return ""
    return f"{record.external_id}\x00{record.version}\x00{record.modified_at}"


def _digest(*parts: str) -> int:
    text = "\x01".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest())


def _packed(digests: Iterable[int]) -> str:
    values = list(digests)
    return base64.b64encode(struct.pack(f">{len(values)}Q", *values)).decode()


def _unpacked(text: str) -> list[int]:
    raw = base64.b64decode(text)
    return list(struct.unpack(f">{len(raw) // 8}Q", raw))
