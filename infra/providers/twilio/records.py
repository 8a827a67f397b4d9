"""Messages of Twilio.

Sources: https://www.twilio.com/docs/messaging/api/message-resource#read-multiple-message-resources (`DateSent>=` takes
a GMT date), https://www.twilio.com/docs/usage/twilios-response#pagination (`next_page_uri`, 1,000 a page),
https://support.twilio.com/hc/en-us/articles/223181008 (listed for 400 days, or fewer as the account says).

There is no filter for changes: an incremental run looks back over the days in which a carrier may still report what
became of a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

from domain.core.wire import rfc3339
from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, RecordStreams
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
    since_of,
    unpacked,
)
from infra.providers._kit.shaping import DAY_SECONDS, required, short, stamp, unix
from infra.providers._kit.wire import (
    basic,
    moment,
    read_each,
    text_at,
)

_PAGE_MAX = 1_000
_LOOK_BACK_SECONDS = 3 * DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position(Position):
    since: int | None
    size: int
    link: str | None = None


class TwilioMessages(RecordStreams):
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
        if "next_page_uri" not in answer:
            raise ProviderFailure("malformed", "The provider's answer has no next_page_uri.")
        link, after = answer["next_page_uri"], None
        if link is not None:
            address = linked(connection.configuration.base_url, link, asked.url)
            after = replace(position, link=address, skip=0)
        rows = rows_at(answer, "messages", marks=("next_page_uri",))
        return page_of(request, position, read_each(rows, _message), after)

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        data = record.data
        to, sender = str(required(data, "to")), short(data.get("from"))
        # Other channels carry their name: whatsapp:+..., messenger:...
        return {
            "channel": "other" if ":" in to else "sms",
            "recipient": short(to),
            "sender": sender or short(data.get("messaging_service_sid")),
            "status": str(required(data, "status")),
            "sentAt": _moment(data.get("date_sent")),
            "error": _error(data),
        }


def _position(connection: Connection, request: ListingRequest) -> _Position:
    if request.cursor is not None:
        return unpacked(_Position, request.cursor)
    since, size = since_of(request, _LOOK_BACK_SECONDS), page_size(request, _PAGE_MAX)
    return _Position(until=unix(connection.now), since=since, size=size)


def _request(connection: Connection, position: _Position) -> ProviderRequest:
    configuration = connection.configuration
    headers = {"authorization": basic(configuration.account_sid, configuration.auth_token)}
    if position.link is not None:
        return ProviderRequest("GET", linked(configuration.base_url, position.link), headers=headers)
    params = {"PageSize": str(position.size)}
    if position.since is not None:
        params["DateSent>"] = stamp(position.since)[:10]
    url = f"{configuration.base_url}/2010-04-01/Accounts/{configuration.account_sid}/Messages.json"
    return ProviderRequest("GET", url, headers=headers, params=params)


def _message(row: Mapping[str, Any]) -> SourceRecord:
    updated = moment(_moment(row.get("date_updated")))
    return SourceRecord(text_at(row, "sid"), row, updated)


def _moment(value: Any) -> str | None:
    """Twilio's dates are those of RFC 2822."""
    try:
        read = parsedate_to_datetime(value) if isinstance(value, str) else None
        return rfc3339(read) if read is not None and read.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _error(data: Mapping[str, Any]) -> str | None:
    code, text = data.get("error_code"), short(data.get("error_message"))
    if code is None:
        return text
    return f"{code}: {text}"[:2_000] if text else str(code)
