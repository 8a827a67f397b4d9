"""Events of a published calendar (ICS feed).

A feed has no changes to ask for: it is read whole when its validators (RFC 9110 section 8.8) say that it changed, and
what it no longer holds is told by the identities that were in it before.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from domain.providers.contract import Connection
from domain.providers.records import MAX_PAGE_RECORDS, ListPage, ListRequest, SourceRecord, StateExpired
from infra.providers._kit.paging import pack, unpack
from infra.providers.ical.events import read_feed as read_events

_FOLDED_MAX = 64 * 1024 * 1024


class FeedAnswer(Protocol):
    """A published calendar as it came. `body` is None when it has not changed."""

    @property
    def body(self) -> bytes | None: ...
    @property
    def etag(self) -> str | None: ...
    @property
    def last_modified(self) -> str | None: ...


class ReadFeed(Protocol):
    """Fetches the feed, on the condition that it changed."""

    def __call__(
        self, connection: Connection, *, etag: str | None = None, last_modified: str | None = None
    ) -> Awaitable[FeedAnswer]: ...


async def list_feed(connection: Connection, request: ListRequest, read: ReadFeed) -> ListPage:
    """A page of the feed in the order of identities. An unchanged feed is an empty page that keeps the state. The
    validators of the first page stand, so that a feed that changes meanwhile is read again by the next run."""
    source = hashlib.sha256(str(connection.configuration.feed_url).encode()).hexdigest()[:32]
    before = unpack(request.state) if request.state else {}
    here = unpack(request.cursor) if request.cursor else {}
    if any(one and one.get("of") != source for one in (before, here)):
        raise StateExpired("Another calendar is configured now.")
    conditions = {} if here else {name: before.get(name) for name in ("etag", "last_modified")}
    feed = await read(connection, **conditions)
    if feed.body is None:
        return ListPage((), next_state=request.state)
    # A feed of megabytes takes seconds to parse.
    events = {one.external_id: one for one in await asyncio.to_thread(read_events, feed.body)}
    gone = set(_unfold(before["ids"])) - set(events) if before else set()
    validators = here or {"of": source, "etag": feed.etag, "last_modified": feed.last_modified}
    after = str(here.get("after") or "")
    order = sorted(one for one in gone.union(events) if one > after)
    page = order[: min(request.limit, MAX_PAGE_RECORDS)]
    records = [events.get(one) or SourceRecord(one, {}, deleted=True) for one in page]
    if len(page) < len(order):
        return ListPage(records, pack(**{**validators, "after": page[-1]}), total=len(events))
    kept = {name: validators.get(name) for name in ("of", "etag", "last_modified")}
    return ListPage(records, next_state=pack(**kept, ids=_fold(sorted(events))), total=len(events))


def _fold(ids: Sequence[str]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(ids).encode())).decode()


def _unfold(text: Any) -> list[str]:
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _FOLDED_MAX)
        ids = json.loads(raw)
    except (TypeError, ValueError, binascii.Error, zlib.error):
        raise StateExpired("The position cannot be read.") from None
    return [id_ for id_ in ids if isinstance(id_, str)]
