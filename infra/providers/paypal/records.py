"""Transactions of PayPal.

Source: https://developer.paypal.com/docs/api/transaction-search/v1/ (three years back, at most 31 days in one call,
up to three hours late, `RESULTSET_TOO_LARGE` where a window holds more than 10,000).

The listing walks through time in windows, oldest first. A window that holds too much is halved; after it the windows
grow again. Windows share the second they meet in. There is no filter for changes, so that an incremental run looks
back over the days in which pending transactions, such as eChecks, are decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.providers.contract import (
    Connection,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    RecordStreams,
)
from domain.providers.records import ListingRequest, ListPage, RecordType, SourceRecord, StreamProfile
from infra.providers._kit.paging import (
    NOTHING,
    PAGE,
    Position,
    check_stream,
    packed,
    page_of,
    page_size,
    rows_at,
    start_of,
    unpacked,
)
from infra.providers._kit.shaping import (
    DAY_SECONDS,
    minor_units,
    required,
    short,
    stamp,
    unix,
    when,
)
from infra.providers._kit.wire import (
    at,
    basic,
    document,
    event_type,
    moment,
    number_at,
    read_each,
    text_at,
)

_PAGE_MAX = 500
_WINDOW_SECONDS = 31 * DAY_SECONDS
_KEPT_SECONDS = (3 * 365 - 1) * DAY_SECONDS
_LOOK_BACK_SECONDS = 10 * DAY_SECONDS
_TOO_LARGE = "RESULTSET_TOO_LARGE"
#: Requests for one page: empty windows and windows that are halved are passed over.
_REQUESTS_MAX = 12
_STATUSES = {"S": "succeeded", "P": "pending", "D": "failed", "V": "refunded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position(Position):
    """Page `page` of the window from `start` to `end` (Unix seconds), in pages of `size`."""

    start: int
    end: int
    size: int
    page: int = 1


class PayPalTransactions(RecordStreams):
    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return (
            StreamProfile(
                "transactions", RecordType.Payment, "since", page_size=_PAGE_MAX, complete_history=False
            ),
        )

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        position = _position(connection, request)
        token = text_at(await granted_token(connection), "access_token")
        for _ in range(_REQUESTS_MAX):
            answer = await _window(connection, token, position)
            if answer is None:
                position = _halved(position)
                continue
            records = read_each(rows_at(answer, "transaction_details", marks=("total_pages",)), _transaction)
            after = _after(position, answer)
            if records or after is None:
                return page_of(request, position, records, after)
            position = after
        return ListPage((), packed(position))

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        info = required(record.data, "transaction_info")
        currency = str(required(info, "transaction_amount", "currency_code")).upper()
        status = str(required(info, "transaction_status"))
        return {
            "amountMinor": minor_units(required(info, "transaction_amount", "value"), currency),
            "currency": currency,
            "status": _STATUSES.get(status, status.lower()),
            "paidAt": when(at(info, "transaction_initiation_date")) if status in "SV" else None,
            "description": short(at(info, "transaction_subject")) or short(at(info, "transaction_note")),
            "payerEmail": short(at(record.data, "payer_info", "email_address")),
            "method": short(at(info, "instrument_type")) or short(at(info, "payment_method_type")),
        }


async def granted_token(connection: Connection) -> Mapping[str, Any]:
    """Return the answer of the token endpoint, with an `access_token`. Raises ProviderFailure."""
    configuration = connection.configuration
    request = ProviderRequest(
        "POST",
        f"{configuration.address}/v1/oauth2/token",
        headers={"authorization": basic(configuration.client_id, configuration.client_secret)},
        form={"grant_type": "client_credentials"},
        idempotent=True,
    )
    granted = document(await connection.http.expect(request))
    text_at(granted, "access_token")
    return granted


def _position(connection: Connection, request: ListingRequest) -> _Position:
    if request.cursor is not None:
        return unpacked(_Position, request.cursor)
    until = unix(connection.now)
    start = start_of(request, until, kept=_KEPT_SECONDS, look_back=_LOOK_BACK_SECONDS)
    end = min(until, start + _WINDOW_SECONDS)
    return _Position(until=until, start=start, end=end, size=page_size(request, _PAGE_MAX))


def _halved(position: _Position) -> _Position:
    span = position.end - position.start
    if span < 2:
        raise ProviderFailure("rejected", "PayPal has more transactions in one second than it lists.")
    return replace(position, end=position.start + span // 2, page=1, skip=0)


def _after(position: _Position, answer: Mapping[str, Any]) -> _Position | None:
    if position.page < number_at(answer, "total_pages"):
        return replace(position, page=position.page + 1, skip=0)
    # A window that begins after the reports were last refreshed is refused, not empty.
    refreshed = moment(answer.get("last_refreshed_datetime"))
    if position.end >= position.until or (refreshed is not None and position.end >= unix(refreshed)):
        return None
    span = min(_WINDOW_SECONDS, 2 * (position.end - position.start))
    end = min(position.until, position.end + span)
    return replace(position, start=position.end, end=end, page=1, skip=0)


async def _window(connection: Connection, token: str, position: _Position) -> dict[str, Any] | None:
    """One page of a window, None when the window holds too much."""
    request = ProviderRequest(
        "GET",
        f"{connection.configuration.address}/v1/reporting/transactions",
        headers={"authorization": f"Bearer {token}"},
        params={
            "start_date": stamp(position.start),
            "end_date": stamp(position.end),
            "fields": "all",
            "page": str(position.page),
            "page_size": str(position.size),
        },
    )
    response = await connection.http.expect(request, *PAGE, 400)
    if response.status in PAGE:
        return {"total_pages": 0} if response.status in NOTHING else document(response)
    code = _refusal(response)
    if code == _TOO_LARGE:
        return None
    raise ProviderFailure("rejected", f"PayPal refused the listing: {event_type(code)}.", status=400)


def _refusal(response: ProviderResponse) -> str:
    error = document(response)
    names = [error.get("name"), at(error, "details", 0, "issue")]
    return _TOO_LARGE if _TOO_LARGE in names else next((name for name in names if isinstance(name, str)), "")


def _transaction(row: Mapping[str, Any]) -> SourceRecord:
    updated = moment(at(row, "transaction_info", "transaction_updated_date"))
    return SourceRecord(text_at(row, "transaction_info", "transaction_id"), row, updated)
