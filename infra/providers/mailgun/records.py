"""Messages of Mailgun, from its events.

Sources: https://documentation.mailgun.com/docs/mailgun/user-manual/events/events (30 days at most, by plan),
https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-polling (events reach the storage out of order:
what is younger than half an hour may be incomplete), https://documentation.mailgun.com/docs/mailgun/api-reference
(`begin`, `end`, `ascending`, 300 a page, an empty page is the last).

A record is one message to one recipient, in the state of its latest event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.providers.contract import Connection, ProviderRequest, RecordStreams
from domain.providers.records import ListingRequest, ListPage, RecordType, SourceRecord, StreamProfile
from infra.providers._kit.paging import (
    NOTHING_SAID,
    PAGE,
    Position,
    check_stream,
    linked,
    page_body,
    page_of,
    page_size,
    rows_at,
    start_of,
    unpacked,
)
from infra.providers._kit.shaping import DAY_SECONDS, required, short, unix, when
from infra.providers._kit.wire import (
    at,
    basic,
    moment,
    read_each,
    segment,
    text_at,
)

_PAGE_MAX = 300
_KEPT_SECONDS = 30 * DAY_SECONDS
_LATE_SECONDS = 3600
#: What becomes of a message; opens and clicks come after that.
_EVENTS = "accepted OR rejected OR delivered OR failed OR complained"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position(Position):
    begin: int
    size: int
    link: str | None = None


class MailgunMessages(RecordStreams):
    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return (
            StreamProfile(
                "messages", RecordType.Message, "since", page_size=_PAGE_MAX, complete_history=False
            ),
        )

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        position = _position(connection, request)
        asked = _request(connection, position)
        answer = page_body(await connection.http.expect(asked, *PAGE))
        if answer is None:
            return NOTHING_SAID
        found, after = rows_at(answer, "items", marks=("paging",)), None
        if found:
            address = linked(connection.configuration.address, at(answer, "paging", "next"), asked.url)
            after = replace(position, link=address, skip=0)
        return page_of(request, position, read_each(found, _message), after)

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        data = record.data
        event = str(required(data, "event"))
        deferred = event == "failed" and data.get("severity") == "temporary"
        return {
            "channel": "email",
            "recipient": short(required(data, "recipient")),
            "sender": short(at(data, "envelope", "sender")) or short(at(data, "message", "headers", "from")),
            "subject": short(at(data, "message", "headers", "subject")),
            "status": "deferred" if deferred else event,
            "sentAt": when(data.get("timestamp")) if event in ("accepted", "delivered") else None,
            "error": _error(data) if event in ("failed", "rejected") else None,
        }


def _position(connection: Connection, request: ListingRequest) -> _Position:
    if request.cursor is not None:
        return unpacked(_Position, request.cursor)
    until = unix(connection.now)
    begin = start_of(request, until, kept=_KEPT_SECONDS, look_back=_LATE_SECONDS)
    return _Position(until=until, begin=begin, size=page_size(request, _PAGE_MAX))


def _request(connection: Connection, position: _Position) -> ProviderRequest:
    configuration = connection.configuration
    headers = {"authorization": basic("api", configuration.api_key)}
    if position.link is not None:
        return ProviderRequest("GET", linked(configuration.address, position.link), headers=headers)
    params = {
        "begin": str(position.begin),
        "end": str(position.until),
        "ascending": "yes",
        "limit": str(position.size),
        "event": _EVENTS,
    }
    url = f"{configuration.address}/v3/{segment(configuration.domain)}/events"
    return ProviderRequest("GET", url, headers=headers, params=params)


def _message(row: Mapping[str, Any]) -> SourceRecord:
    recipient = text_at(row, "recipient")
    # A message refused before it had an id is known by its event alone.
    message = at(row, "message", "headers", "message-id") or text_at(row, "id")
    return SourceRecord(f"{message} {recipient}", row, moment(row.get("timestamp")), short(row.get("id")))


def _error(data: Mapping[str, Any]) -> str | None:
    places = (("delivery-status", "message"), ("delivery-status", "description"), ("reject", "reason"))
    return next((text for place in places if (text := short(at(data, *place)))), short(data.get("reason")))
