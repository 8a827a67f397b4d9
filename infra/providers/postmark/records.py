"""Outbound messages of Postmark.

Source: https://postmarkapp.com/developer/api/messages-api (kept 45 days by default; newest first; 500 a page; offset
and count reach 10,000 together; `fromdate` and `todate` are inclusive, to the second, in Eastern Time).

Where more than 10,000 match, the listing goes on before the oldest message it has seen, that second included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, RecordStreams
from domain.providers.records import ListingRequest, ListPage, RecordType, SourceRecord, StreamProfile
from infra.providers._kit.paging import (
    NOTHING_SAID,
    PAGE,
    Position,
    check_stream,
    page_body,
    page_of,
    page_size,
    rows_at,
    since_of,
    unpacked,
)
from infra.providers._kit.shaping import DAY_SECONDS, joined, required, short, unix, when
from infra.providers._kit.wire import (
    moment,
    number_at,
    read_each,
    text_at,
)

_PAGE_MAX = 500
REACH = 10_000
#: A message's status changes after it was received; there is no filter for changes.
_LOOK_BACK_SECONDS = 3 * DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position(Position):
    """`offset` messages of those received from `since` to `before` (Unix seconds) were read."""

    since: int | None
    before: int
    offset: int = 0


class PostmarkMessages(RecordStreams):
    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return (
            StreamProfile(
                "messages", RecordType.Message, "since", page_size=_PAGE_MAX, complete_history=False
            ),
        )

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        position = _position(connection, request)
        count = min(page_size(request, _PAGE_MAX), REACH - position.offset)
        answer = page_body(await connection.http.expect(_request(connection, position, count), *PAGE))
        if answer is None:
            return NOTHING_SAID
        found = rows_at(answer, "Messages", marks=("TotalCount",))
        total = number_at(answer, "TotalCount")
        records = read_each(found, _message)
        after = _after(position, records, total)
        return page_of(
            request, position, records, after, total=total if position.before > position.until else None
        )

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        data = record.data
        addresses = data.get("Recipients") or [short(required(data, "To", 0, "Email"))]
        return {
            "channel": "email",
            "recipient": joined(str(address) for address in addresses),
            "sender": short(data.get("From")),
            "subject": short(data.get("Subject")),
            "status": str(required(data, "Status")).lower(),
            "sentAt": when(data.get("ReceivedAt")),
        }


def _position(connection: Connection, request: ListingRequest) -> _Position:
    if request.cursor is not None:
        return unpacked(_Position, request.cursor)
    until = unix(connection.now)
    return _Position(
        until=until,
        since=since_of(request, _LOOK_BACK_SECONDS),
        # Postmark's clock may be ahead of ours.
        before=until + DAY_SECONDS,
    )


def _after(position: _Position, records: Sequence[SourceRecord], total: int) -> _Position | None:
    reached = position.offset + len(records)
    if not records or (reached >= total and total < REACH):
        return None
    if reached < REACH:
        return replace(position, offset=reached)
    oldest = records[-1].modified_at
    if oldest is None:
        raise ProviderFailure("malformed", "The provider's message has no ReceivedAt.")
    before = unix(oldest) + 1
    if before >= position.before:
        raise ProviderFailure("rejected", "Postmark has more messages in one second than it lists.")
    return replace(position, before=before, offset=0)


def _request(connection: Connection, position: _Position, count: int) -> ProviderRequest:
    configuration = connection.configuration
    params = {
        "count": str(count),
        "offset": str(position.offset),
        "todate": eastern(datetime.fromtimestamp(position.before, UTC)),
    }
    if position.since is not None:
        params["fromdate"] = eastern(datetime.fromtimestamp(position.since, UTC))
    return ProviderRequest(
        "GET",
        f"{configuration.base_url}/messages/outbound",
        headers={"accept": "application/json", "x-postmark-server-token": configuration.server_token},
        params=params,
    )


def _message(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord(text_at(row, "MessageID"), row, moment(row.get("ReceivedAt")))


def eastern(when_utc: datetime) -> str:
    """Return the wall clock of New York, worked out here because a host need not have a time zone database.

    Daylight saving lasts from the second Sunday of March to the first of November, both at 2 o'clock (15 U.S.C.
    260a)."""
    begins = _sunday(when_utc.year, 3, 8) + timedelta(hours=7)
    ends = _sunday(when_utc.year, 11, 1) + timedelta(hours=6)
    local = when_utc - timedelta(hours=4 if begins <= when_utc < ends else 5)
    return local.strftime("%Y-%m-%dT%H:%M:%S")


def _sunday(year: int, month: int, earliest: int) -> datetime:
    day = datetime(year, month, earliest, tzinfo=UTC)
    return day + timedelta(days=(6 - day.weekday()) % 7)
