"""Charges of Stripe.

Sources: https://docs.stripe.com/api/charges/list, https://docs.stripe.com/api/events/list (newest first, kept for
30 days), https://docs.stripe.com/api/pagination, https://docs.stripe.com/currencies#zero-decimal (and its special
cases ISK and UGX).

A full run lists the charges. Charges carry no time of change, so an incremental run lists the events about them and
takes the charge each event carries. Events come newest first: the next run may start from this one's beginning only
after everything in between was listed, which is why the state comes with the last page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, RecordStreams
from domain.providers.records import (
    ListingRequest,
    ListPage,
    RecordType,
    SourceRecord,
    StateExpired,
    StreamProfile,
)
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
from infra.providers._kit.shaping import DAY_SECONDS, required, rescaled, short, unix, when
from infra.providers._kit.wire import (
    at,
    moment,
    read_each,
    text_at,
)

_PAGE_MAX = 100
_EVENTS_KEPT_SECONDS = 30 * DAY_SECONDS
#: Events may be listed a little after they happened.
_LATE_SECONDS = 300
_TYPES = tuple(
    f"charge.{name}"
    for name in ("captured", "expired", "failed", "pending", "refunded", "succeeded", "updated")
)
_NO_DECIMALS = frozenset(
    (
        *("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"),
        *("PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"),
    )
)
_THREE_DECIMALS = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position(Position):
    """A place among the charges (`since` None), or among the events from `since` on.

    `after` is the id the next page follows; `taken` are the charges that a later event of the second `second`
    brought already."""

    since: int | None
    after: str | None = None
    second: int = 0
    taken: Sequence[str] = ()


class StripeCharges(RecordStreams):
    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return (StreamProfile("charges", RecordType.Payment, "since", page_size=_PAGE_MAX),)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        position = _position(connection, request)
        if position.since is None:
            listed = await _listed(connection, request, position, path="/v1/charges")
            if listed is None:
                return NOTHING_SAID
            records: Sequence[SourceRecord] = read_each(listed.rows, _charge)
            return page_of(request, position, records, listed.after)
        if position.since < unix(connection.now) - _EVENTS_KEPT_SECONDS:
            raise StateExpired("Stripe keeps events for 30 days.")
        filters = [("created[gte]", str(position.since)), *(("types[]", name) for name in _TYPES)]
        listed = await _listed(connection, request, position, path="/v1/events", filters=filters)
        if listed is None:
            return NOTHING_SAID
        records, after = _latest(position, listed)
        return page_of(request, position, records, after)

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        data = record.data
        currency = str(required(data, "currency")).upper()
        decimals = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
        status = "refunded" if data.get("refunded") is True else str(required(data, "status"))
        return {
            "amountMinor": rescaled(required(data, "amount"), decimals, currency),
            "currency": currency,
            "status": status,
            "paidAt": when(data.get("created")) if data.get("paid") is True else None,
            "refundedMinor": rescaled(data.get("amount_refunded") or 0, decimals, currency),
            "description": short(data.get("description")),
            "payerEmail": short(at(data, "billing_details", "email")) or short(data.get("receipt_email")),
            "method": short(at(data, "payment_method_details", "type")),
        }


@dataclass(frozen=True, slots=True)
class _Listed:
    rows: Sequence[Mapping[str, Any]]
    after: _Position | None


def _position(connection: Connection, request: ListingRequest) -> _Position:
    if request.cursor is not None:
        return unpacked(_Position, request.cursor)
    return _Position(until=unix(connection.now), since=since_of(request, _LATE_SECONDS))


async def _listed(
    connection: Connection,
    request: ListingRequest,
    position: _Position,
    *,
    path: str,
    filters: Sequence[tuple[str, str]] = (),
) -> _Listed | None:
    """Return a page of the list, None where there is none."""
    params = [*filters, ("limit", str(page_size(request, _PAGE_MAX)))]
    if position.after is not None:
        params.append(("starting_after", position.after))
    configuration = connection.configuration
    asked = ProviderRequest(
        "GET",
        configuration.base_url + path,
        headers={"authorization": f"Bearer {configuration.api_key}"},
        params=params,
    )
    answer = page_body(await connection.http.expect(asked, *PAGE))
    if answer is None:
        return None
    found, more = rows_at(answer, "data", marks=("has_more",)), answer.get("has_more")
    if not isinstance(more, bool) or (more and not found):
        raise ProviderFailure("malformed", "The provider's list does not say whether there is more.")
    return _Listed(found, replace(position, after=text_at(found, -1, "id")) if more else None)


def _charge(row: Mapping[str, Any]) -> SourceRecord:
    # No time of change: what is listed is how the charge is now, whatever events were taken before.
    return SourceRecord(text_at(row, "id"), row)


def _latest(position: _Position, listed: _Listed) -> tuple[list[SourceRecord], _Position | None]:
    """Return the charges in the events.

    Of events about one charge in the same second the first listed is the latest, and only that is taken, also when
    a page ends between them."""
    second, taken = position.second, set(position.taken)
    records = []
    for event in listed.rows:
        created, charge = at(event, "created"), at(event, "data", "object")
        if not isinstance(created, int) or not isinstance(charge, dict) or not charge.get("id"):
            records.append(SourceRecord("", {}))
            continue
        if created != second:
            second, taken = created, set()
        name = text_at(charge, "id")
        if name not in taken:
            taken.add(name)
            records.append(SourceRecord(name, charge, moment(created), text_at(event, "id")))
    after = listed.after
    return records, replace(after, second=second, taken=sorted(taken)) if after is not None else None
