"""Bounces of SendGrid, as messages that were not delivered.

Source: https://www.twilio.com/docs/sendgrid/api-reference/bounces-api/retrieve-all-bounces (times inclusive, 500 a
page).

Pages are counted by offset, so that a bounce removed meanwhile moves those behind it forward, one of them past the
next page's beginning. Each page therefore begins with the last bounce of the one before; where it does not, the
list has moved and is read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, RecordStreams
from domain.providers.records import ListingRequest, ListPage, RecordType, SourceRecord, StreamProfile
from infra.providers._kit.paging import (
    NOTHING,
    PAGE,
    Position,
    check_stream,
    page_of,
    page_size,
    since_of,
    unpacked,
)
from infra.providers._kit.shaping import required, short, unix
from infra.providers._kit.wire import (
    at,
    items,
    moment,
    number_at,
    read_each,
    text_at,
)

_PAGE_MAX = 499  # one less than SendGrid's, for the bounce that is read again
_LATE_SECONDS = 3600
_RESTARTS_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position(Position):
    """`offset` bounces were read, the last of them `last`."""

    since: int | None
    offset: int = 0
    last: str | None = None
    restarts: int = 0


class SendGridBounces(RecordStreams):
    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return (StreamProfile("bounces", RecordType.Message, "since", page_size=_PAGE_MAX),)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        position = _position(connection, request)
        size, restarted = page_size(request, _PAGE_MAX), False
        while True:
            again = 1 if position.last is not None else 0
            found = await _bounces(connection, position, position.offset - again, size + again)
            if not again or (found and _identity(found[0]) == position.last):
                break
            position, restarted = _restarted(position), True
        fresh = found[again:]
        after = None
        if len(found) >= size + again:
            offset, last = position.offset + len(fresh), _identity(found[-1])
            after = replace(position, offset=offset, last=last)
        page = page_of(request, position, read_each(fresh, _bounce), after)
        return replace(page, restarted=restarted)

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        data = record.data
        return {
            "channel": "email",
            "recipient": short(required(data, "email")),
            "status": "bounced",
            "error": short(data.get("reason")) or short(data.get("status")),
        }


def _position(connection: Connection, request: ListingRequest) -> _Position:
    if request.cursor is not None:
        return unpacked(_Position, request.cursor)
    return _Position(until=unix(connection.now), since=since_of(request, _LATE_SECONDS))


def _restarted(position: _Position) -> _Position:
    if position.restarts >= _RESTARTS_MAX:
        raise ProviderFailure("unavailable", "SendGrid's list of bounces changes while it is read.")
    return replace(position, offset=0, last=None, restarts=position.restarts + 1)


async def _bounces(connection: Connection, position: _Position, offset: int, size: int) -> list[Any]:
    configuration = connection.configuration
    params = {"end_time": str(position.until), "limit": str(size), "offset": str(offset)}
    if position.since is not None:
        params["start_time"] = str(position.since)
    request = ProviderRequest(
        "GET",
        f"{configuration.base_url}/v3/suppression/bounces",
        headers={"authorization": f"Bearer {configuration.api_key}"},
        params=params,
    )
    response = await connection.http.expect(request, *PAGE)
    return [] if response.status in NOTHING else list(items(response.json()))


def _identity(row: Any) -> str:
    return f"{at(row, 'created')} {at(row, 'email')}"


def _bounce(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord(text_at(row, "email"), row, moment(number_at(row, "created")))
