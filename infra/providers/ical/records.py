"""Events of a calendar in iCalendar format: a published one (ICS feed) or one on a CalDAV server.

A feed has no changes to ask for: it is read whole when its validators (RFC 9110 section 8.8) say that it changed, and
what it no longer holds is told by the identities that were in it before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, RecordStreams
from domain.providers.records import (
    MAX_PAGE_RECORDS,
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    RecordType,
    SourceRecord,
    StateExpired,
    StreamProfile,
)
from infra.providers._kit.paging import check_stream, pack, unpack
from infra.providers._kit.pushing import EVENT_PUSHES
from infra.providers.ical.caldav import access_of, find_calendar
from infra.providers.ical.caldav_records import PAGE_MAX, list_caldav, push_caldav
from infra.providers.ical.events import is_nameless, parse_feed, to_internal

FEED_BYTES_MAX = 8 * 1024 * 1024
_FOLDED_MAX = 64 * 1024 * 1024
_START = "BEGIN:VCALENDAR"

_FEED = (
    StreamProfile("events", RecordType.Event, "token", lists_deletions=True, page_size=MAX_PAGE_RECORDS),
)
_CALENDAR = (
    StreamProfile(
        "events",
        RecordType.Event,
        "token",
        lists_deletions=True,
        exportable=True,
        page_size=PAGE_MAX,
        pushes=EVENT_PUSHES,
    ),
)


@dataclass(frozen=True, slots=True)
class Feed:
    """A published calendar in UTF-8, lines whole. `body` is None when it has not changed since the validators."""

    body: bytes | None = field(repr=False)
    etag: str | None
    last_modified: str | None


class ICalEvents(RecordStreams):
    """The events of a published calendar, which is read only, or of a calendar on a CalDAV server."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return _FEED if configuration.server_url is None else _CALENDAR

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return to_internal(record)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        access = access_of(connection)
        if access is None:
            return await _list_feed(connection, request)
        return await list_caldav(access, await find_calendar(access), request)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        check_stream(self.streams_of(connection.configuration), request.stream, push=True)
        access = access_of(connection)
        assert access is not None
        return await push_caldav(access, await find_calendar(access), request)


async def _list_feed(connection: Connection, request: ListingRequest) -> ListPage:
    """Return a page of the feed in the order of identities. An unchanged feed is an empty page that keeps the state.

    The validators of the first page stand, so that a feed that changes meanwhile is read again by the next run."""
    source = hashlib.sha256(str(connection.configuration.feed_url).encode()).hexdigest()[:32]
    before = unpack(request.state) if request.state else {}
    here = unpack(request.cursor) if request.cursor else {}
    if any(position and position.get("of") != source for position in (before, here)):
        raise StateExpired("Another calendar is configured now.")
    conditions = {} if here else {name: before.get(name) for name in ("etag", "last_modified")}
    feed = await fetch_feed(connection, **conditions)
    if feed.body is None:
        return ListPage((), next_state=request.state, is_complete=False)
    validators = here or {"of": source, "etag": feed.etag, "last_modified": feed.last_modified}
    listing = _Listing(before, validators, request.limit)
    return await connection.read(len(feed.body), _page_of, feed.body, listing)


@dataclass(frozen=True, slots=True)
class _Listing:
    """Where the listing of a feed stands, and how many records are wanted."""

    before: Mapping[str, Any]
    validators: Mapping[str, Any]
    limit: int


def _page_of(body: bytes, listing: _Listing) -> ListPage:
    before, validators = listing.before, listing.validators
    events = {event.external_id: event for event in parse_feed(body)}
    known = set(_unfold(before["ids"])) if before else set()
    is_complete = not any(is_nameless(event) for event in events.values())
    gone = known - set(events) if is_complete else set()
    kept_ids = sorted(events if is_complete else known.union(events))
    after = str(validators.get("after") or "")
    order = sorted(identity for identity in gone.union(events) if identity > after)
    page = order[: min(listing.limit, MAX_PAGE_RECORDS)]
    records = [events.get(identity) or SourceRecord(identity, {}, deleted=True) for identity in page]
    if len(page) < len(order):
        following = pack(**{**validators, "after": page[-1]})
        return ListPage(records, following, total=len(events), is_complete=is_complete)
    kept = {name: validators.get(name) for name in ("of", "etag", "last_modified")}
    state = pack(**kept, ids=_fold(kept_ids))
    return ListPage(records, next_state=state, total=len(events), is_complete=is_complete)


async def fetch_feed(
    connection: Connection, *, etag: str | None = None, last_modified: str | None = None
) -> Feed:
    """Fetch the published calendar, if it changed.

    Raises ProviderFailure: malformed when it is no calendar, rejected when it is larger than FEED_BYTES_MAX (a part
    of it would look like a calendar with events removed)."""
    conditions = {"if-none-match": etag, "if-modified-since": last_modified}
    request = ProviderRequest(
        "GET",
        str(connection.configuration.feed_url),
        headers={
            "accept": "text/calendar",
            **{name: value for name, value in conditions.items() if value is not None},
        },
        max_response_bytes=FEED_BYTES_MAX,
        reads_apart=True,
    )
    response = await connection.http.expect(request, 200, 204, 304)
    validators = response.headers.get("etag", etag), response.headers.get("last-modified", last_modified)
    if response.status != 200:
        return Feed(None, *validators)
    if response.is_too_long:
        raise ProviderFailure("rejected", f"The calendar is larger than {FEED_BYTES_MAX} bytes.", status=200)
    content = response.content()
    content_type = response.headers.get("content-type", "")
    text = await connection.read(len(content), _calendar_text, content, content_type)
    return Feed(text, *validators)


def _calendar_text(content: bytes, content_type: str) -> bytes:
    from infra.providers.ical.reading import unfolded  # here: the library takes long to import

    text = unfolded(content, content_type)
    if not text.lstrip()[: len(_START)].upper() == _START:
        raise ProviderFailure("malformed", "The address does not answer with a calendar.", status=200)
    return text.encode("utf-8", "replace")


def _fold(ids: Sequence[str]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(ids).encode())).decode()


def _unfold(text: Any) -> list[str]:
    try:
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _FOLDED_MAX)
        ids = json.loads(raw)
    except (TypeError, ValueError, binascii.Error, zlib.error):
        raise StateExpired("The position cannot be read.") from None
    return [id_ for id_ in ids if isinstance(id_, str)]
