"""Outbound SMS of Vonage.

Sources: https://developer.vonage.com/en/api/reports (records kept for thirteen months),
https://developer.vonage.com/en/reports/code-snippets/load-records-sync-dates (24 hours in one call; the beginning is
inclusive, the end exclusive), https://developer.vonage.com/en/reports/guides/how-to-handle-pagination (1,000 a page,
`TRUNCATED` with `cursor` and `iv`).

The listing walks through time day by day, oldest first. There is no filter for changes: an incremental run looks back
over the days in which an SMS may still be delivered (three at most).
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
    packed,
    page_of,
    rows_at,
    start_of,
    unpacked,
)
from infra.providers._kit.shaping import DAY_SECONDS, required, short, stamp, unix, when
from infra.providers._kit.wire import (
    basic,
    document,
    moment,
    read_each,
    text_at,
)

_PAGE_MAX = 1_000
_KEPT_SECONDS = 390 * DAY_SECONDS
_LOOK_BACK_SECONDS = 4 * DAY_SECONDS
#: Requests for one page: days without messages are passed over.
_REQUESTS_MAX = 12
_EMPTY_DAY: Mapping[str, Any] = {"request_status": "SUCCESS"}
_FINE = frozenset(("delivered", "accepted", "submitted", "buffered"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position(Position):
    """In the window from `start` to `end` (Unix seconds); `after` and `iv` name the page in it."""

    start: int
    end: int
    after: str | None = None
    iv: str | None = None


class VonageMessages(RecordStreams):
    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return (
            StreamProfile(
                "messages", RecordType.Message, "since", page_size=_PAGE_MAX, complete_history=False
            ),
        )

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        position = _position(connection, request)
        for _ in range(_REQUESTS_MAX):
            response = await connection.http.expect(_request(connection, position), *PAGE)
            answer = _EMPTY_DAY if response.status in NOTHING else document(response)
            records = read_each(rows_at(answer, "records", marks=("request_status",)), _message)
            after = _after(position, answer)
            if records or after is None:
                return page_of(request, position, records, after)
            position = after
        return ListPage((), packed(position))

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        data = record.data
        status = str(required(data, "status")).lower()
        return {
            "channel": "sms",
            "recipient": short(required(data, "to")),
            "sender": short(data.get("from")),
            "status": status,
            "sentAt": when(data.get("date_received")),
            "error": None if status in _FINE else short(data.get("error_code_description")),
        }


def _position(connection: Connection, request: ListingRequest) -> _Position:
    if request.cursor is not None:
        return unpacked(_Position, request.cursor)
    until = unix(connection.now)
    start = start_of(request, until, kept=_KEPT_SECONDS, look_back=_LOOK_BACK_SECONDS)
    return _Position(until=until, start=start, end=min(until, start + DAY_SECONDS))


def _after(position: _Position, answer: Mapping[str, Any]) -> _Position | None:
    match answer.get("request_status"):
        case "TRUNCATED":
            cursor, iv = text_at(answer, "cursor"), text_at(answer, "iv")
            return replace(position, after=cursor, iv=iv, skip=0)
        case "SUCCESS":
            if position.end >= position.until:
                return None
            end = min(position.until, position.end + DAY_SECONDS)
            return replace(position, start=position.end, end=end, after=None, iv=None, skip=0)
        case _:
            raise ProviderFailure("malformed", "The provider does not say whether there is more.")


def _request(connection: Connection, position: _Position) -> ProviderRequest:
    configuration = connection.configuration
    params = {
        "account_id": configuration.api_key,
        "product": "SMS",
        "direction": "outbound",
        "date_start": stamp(position.start),
        "date_end": stamp(position.end),
    }
    if position.after is not None and position.iv is not None:
        params |= {"cursor": position.after, "iv": position.iv}
    return ProviderRequest(
        "GET",
        f"{configuration.reports_url}/v2/reports/records",
        headers={"authorization": basic(configuration.api_key, configuration.api_secret)},
        params=params,
    )


def _message(row: Mapping[str, Any]) -> SourceRecord:
    changed = moment(row.get("date_finalized")) or moment(row.get("date_received"))
    return SourceRecord(text_at(row, "message_id"), row, changed)
