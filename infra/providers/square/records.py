"""Payments of Square.

Source: https://developer.squareup.com/reference/square/payments-api/list-payments (`begin_time` defaults to one year
ago; a cursor belongs to the query it came from; results may be seconds late).

The listing is ordered by the time of change, oldest first: a payment that changes meanwhile moves to the end and is
seen again. It has no upper bound for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    since_of,
    unpacked,
)
from infra.providers._kit.shaping import exponent, required, rescaled, short, stamp, unix, when
from infra.providers._kit.wire import (
    at,
    items,
    moment,
    read_each,
    text_at,
)

_PAGE_MAX = 100
_LATE_SECONDS = 300
_API_VERSION = "2025-04-16"
#: Before Square's first payment.
_BEGINNING = "2009-01-01T00:00:00Z"
_STATUSES = {"APPROVED": "authorized", "COMPLETED": "succeeded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position(Position):
    since: int | None
    size: int
    after: str | None = None


class SquarePayments(RecordStreams):
    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return (StreamProfile("payments", RecordType.Payment, "since", page_size=_PAGE_MAX),)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        position = _position(connection, request)
        answer = page_body(await connection.http.expect(_request(connection, position), *PAGE))
        if answer is None:
            return NOTHING_SAID
        if "errors" in answer:
            raise ProviderFailure("malformed", "The provider's answer holds errors.")
        # An empty list is left out.
        found = items(answer, "payments") if answer.get("payments") is not None else ()
        after = replace(position, after=text_at(answer, "cursor"), skip=0) if answer.get("cursor") else None
        return page_of(request, position, read_each(found, _payment), after)

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        data = record.data
        currency = str(required(data, "amount_money", "currency")).upper()
        amount = rescaled(required(data, "amount_money", "amount"), exponent(currency), currency)
        refunded = rescaled(at(data, "refunded_money", "amount") or 0, exponent(currency), currency)
        status = str(required(data, "status"))
        return {
            "amountMinor": amount,
            "currency": currency,
            "status": "refunded" if 0 < amount <= refunded else _STATUSES.get(status, status.lower()),
            "paidAt": when(data.get("created_at")) if status == "COMPLETED" else None,
            "refundedMinor": refunded,
            "description": short(data.get("note")),
            "payerEmail": short(data.get("buyer_email_address")),
            "method": (short(data.get("source_type")) or "").lower() or None,
        }


def _position(connection: Connection, request: ListingRequest) -> _Position:
    if request.cursor is not None:
        return unpacked(_Position, request.cursor)
    since, size = since_of(request, _LATE_SECONDS), page_size(request, _PAGE_MAX)
    return _Position(until=unix(connection.now), since=since, size=size)


def _request(connection: Connection, position: _Position) -> ProviderRequest:
    configuration = connection.configuration
    params = {
        "begin_time": _BEGINNING,
        "sort_field": "UPDATED_AT",
        "sort_order": "ASC",
        "limit": str(position.size),
    }
    if position.since is not None:
        params["updated_at_begin_time"] = stamp(position.since)
    if configuration.location_id:
        params["location_id"] = configuration.location_id
    if position.after is not None:
        params["cursor"] = position.after
    return ProviderRequest(
        "GET",
        f"{configuration.address}/v2/payments",
        headers={
            "authorization": f"Bearer {configuration.access_token}",
            "square-version": _API_VERSION,
        },
        params=params,
    )


def _payment(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord(
        text_at(row, "id"), row, moment(row.get("updated_at")), short(row.get("version_token"))
    )
