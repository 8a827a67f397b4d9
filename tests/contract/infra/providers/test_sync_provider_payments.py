"""Payments listed from Stripe, PayPal and Square, over pages and over runs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.providers.contract import Capability, ProviderFailure
from domain.providers.records import ListingRequest, PushRequest, SourceRecord, StateExpired
from domain.sync.records import PaymentRecord
from infra.providers._kit.shaping import minor_units
from tests.fixtures.listed_payments import (
    EPOCH,
    charge,
    event,
    ids,
    payment,
    paypal,
    square,
    stripe_list,
    transaction,
)
from tests.fixtures.scripted_server import Answer
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, world
from tests.worlds.sync_drain import drain, drain_checked, shaped, streams

STRIPE = streams("Stripe")
PAYPAL = streams("PayPal")
SQUARE = streams("Square")

STREAMS = {"Stripe": "charges", "PayPal": "transactions", "Square": "payments"}
EVERY = pytest.mark.parametrize("name", sorted(STREAMS))


async def test_stripe_charges_are_listed_to_the_end_and_only_then_give_a_state() -> None:
    charges = [charge(n) for n in range(1, 8)]
    async with world(CASES["Stripe"]) as here:
        here.server.listing = lambda request: stripe_list(charges, request)
        listing = await drain_checked(STRIPE, here.connection, limit=3)
    assert listing.ids == [listed["id"] for listed in charges]
    assert [len(page.records) for page in listing.pages] == [3, 3, 1]
    assert listing.state == json.dumps({"since": EPOCH})
    assert {request.path for request in here.server.requests} == {"/v1/charges"}
    paid = listing.internal["ch_001"]
    assert isinstance(paid, PaymentRecord)
    assert (paid.amount_minor, paid.currency, paid.status, paid.method) == (1099, "USD", "succeeded", "card")
    assert paid.payer_email == "jenny@example.com"


async def test_stripe_changes_come_from_its_events_and_the_latest_wins() -> None:
    refunded = charge(1, refunded=True, amount_refunded=1099)
    events = [
        event(3, EPOCH - 10, refunded, "charge.refunded"),
        event(2, EPOCH - 20, charge(2)),
        event(1, EPOCH - 30, charge(1)),
    ]
    async with world(CASES["Stripe"]) as here:
        here.server.listing = lambda request: stripe_list(events, request)
        listing = await drain_checked(STRIPE, here.connection, state=json.dumps({"since": EPOCH - 60}))
    (request,) = here.server.requests
    assert request.path == "/v1/events"
    assert int(request.query["created[gte]"]) <= EPOCH - 60
    assert request.query["types[]"].startswith("charge.")
    latest = max(
        (record for record in listing.records if record.external_id == "ch_001"),
        key=lambda record: str(record.modified_at),
    )
    assert latest.data["refunded"] is True
    internal = shaped(STRIPE, "charges", latest.data)
    assert (internal["status"], internal["refundedMinor"]) == ("refunded", 1099)


async def test_stripe_events_of_one_second_on_two_pages_lose_nothing_and_keep_their_order() -> None:
    second = EPOCH - 10
    events = [
        event(5, second, charge(1, status="succeeded")),
        event(4, second, charge(2)),
        event(3, second, charge(1, status="pending")),
        event(2, second, charge(3)),
        event(1, second - 1, charge(1, status="failed")),
    ]
    async with world(CASES["Stripe"]) as here:
        here.server.listing = lambda request: stripe_list(events, request)
        listing = await drain_checked(STRIPE, here.connection, limit=2, since=NOW - timedelta(hours=1))
    assert set(listing.ids) == {"ch_001", "ch_002", "ch_003"}
    taken = [record for record in listing.records if record.external_id == "ch_001"]
    assert [record.data["status"] for record in taken] == ["succeeded", "failed"]
    assert taken[0].modified_at > taken[1].modified_at  # type: ignore[operator]


@pytest.mark.parametrize(
    "state", [json.dumps({"since": EPOCH - 31 * 86400}), "rubbish", "{}", '{"since": "then"}', "[1]"]
)
async def test_stripe_state_that_is_older_than_its_events_or_unreadable_has_expired(state: str) -> None:
    async with world(CASES["Stripe"]) as here:
        with pytest.raises(StateExpired):
            await STRIPE.list_records(here.connection, ListingRequest("charges", 10, state=state))
    assert here.server.requests == []


async def test_stripe_listing_that_took_so_long_that_its_events_are_gone_has_expired() -> None:
    async with world(CASES["Stripe"]) as here:
        here.server.listing = lambda request: stripe_list(
            [event(n, EPOCH, charge(n)) for n in (1, 2)], request
        )
        old = json.dumps({"since": EPOCH - 30 * 86400 + 400})
        first = await STRIPE.list_records(here.connection, ListingRequest("charges", 1, state=old))
        cursor = json.loads(first.next_cursor or "") | {"since": EPOCH - 31 * 86400}
        with pytest.raises(StateExpired):
            await STRIPE.list_records(
                here.connection, ListingRequest("charges", 1, json.dumps(cursor), state=old)
            )


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        (1099, "usd", 1099),
        (500, "jpy", 500),
        (500, "isk", 5),
        (500, "ugx", 5),
        (500, "mga", 50000),
        (5120, "kwd", 5120),
    ],
)
def test_stripe_amounts_are_in_the_minor_unit_of_iso_4217(amount: int, currency: str, minor: int) -> None:
    assert shaped(STRIPE, "charges", charge(1, amount=amount, currency=currency))["amountMinor"] == minor


@pytest.mark.parametrize(
    "change", [{"amount": 550, "currency": "isk"}, {"amount": None}, {"amount": "1"}, {"currency": ""}]
)
def test_a_charge_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"record has no|amount is"):
        shaped(STRIPE, "charges", charge(1, **change))


async def test_paypal_lists_three_years_in_windows_of_31_days() -> None:
    found = [transaction(n, NOW - timedelta(days=7 * n, hours=1)) for n in range(1, 150)]
    async with world(CASES["PayPal"]) as here:
        here.server.listing = paypal(found)
        listing = await drain_checked(PAYPAL, here.connection, limit=4)
    assert set(listing.ids) == ids(found)
    assert listing.state == json.dumps({"since": EPOCH})
    paid = listing.internal[found[0]["transaction_info"]["transaction_id"]]
    assert isinstance(paid, PaymentRecord)
    assert (paid.amount_minor, paid.currency, paid.status) == (46500, "USD", "succeeded")
    assert paid.payer_email == "consumer@example.com"


async def test_paypal_window_that_is_too_large_is_halved_until_it_fits() -> None:
    burst = [transaction(n, NOW - timedelta(days=400, seconds=n)) for n in range(40)]
    together = [transaction(100 + n, NOW - timedelta(days=300)) for n in range(6)]
    async with world(CASES["PayPal"]) as here:
        here.server.listing = paypal(burst + together, most=6)
        listing = await drain_checked(PAYPAL, here.connection, limit=5)
    assert set(listing.ids) == ids(burst + together)


async def test_paypal_is_not_asked_for_what_its_reports_do_not_hold_yet() -> None:
    found = [transaction(n, NOW - timedelta(hours=3, minutes=10 + n)) for n in range(9)]
    async with world(CASES["PayPal"]) as here:
        here.server.listing = paypal(found, most=2)
        listing = await drain_checked(PAYPAL, here.connection, since=NOW - timedelta(days=1))
    assert set(listing.ids) == ids(found)
    assert listing.state == json.dumps({"since": EPOCH})


async def test_paypal_window_that_outgrows_its_limit_while_it_is_read_is_read_again_in_halves() -> None:
    found = [transaction(n, NOW - timedelta(days=11, seconds=-n)) for n in range(12)]
    since = NOW - timedelta(days=1)
    async with world(CASES["PayPal"]) as here:
        here.server.listing = paypal(found, most=12)
        page = await PAYPAL.list_records(here.connection, ListingRequest("transactions", 5, since=since))
        told = {record.external_id for record in page.records}
        late = transaction(99, NOW - timedelta(days=11, seconds=-3))
        here.server.listing = paypal([late, *found], most=12)
        while page.next_cursor is not None:
            page = await PAYPAL.list_records(
                here.connection, ListingRequest("transactions", 5, page.next_cursor, since)
            )
            told |= {record.external_id for record in page.records}
    assert told == ids([late, *found])


async def test_paypal_second_that_is_too_large_for_itself_ends_the_listing() -> None:
    async with world(CASES["PayPal"]) as here:
        here.server.listing = paypal([transaction(n, NOW - timedelta(days=1)) for n in range(9)], most=6)
        with pytest.raises(ProviderFailure, match="more transactions in one second") as caught:
            await drain_checked(PAYPAL, here.connection, since=NOW - timedelta(days=2))
    assert caught.value.kind == "rejected"


async def test_paypal_looks_back_for_transactions_that_were_pending() -> None:
    earlier = transaction(1, NOW - timedelta(days=8))
    async with world(CASES["PayPal"]) as here:
        here.server.listing = paypal([earlier, transaction(2, NOW - timedelta(days=60))])
        listing = await drain_checked(PAYPAL, here.connection, state=json.dumps({"since": EPOCH - 3600}))
    assert set(listing.ids) == ids([earlier])


async def test_paypal_page_that_holds_more_than_wanted_is_given_in_parts() -> None:
    found = [transaction(n, NOW - timedelta(days=1)) for n in range(9)]
    async with world(CASES["PayPal"]) as here:
        here.server.listing = paypal(found)
        since = NOW - timedelta(days=2)
        first = await PAYPAL.list_records(here.connection, ListingRequest("transactions", 6, since=since))
        told, cursor = [record.external_id for record in first.records], first.next_cursor
        while cursor is not None:
            page = await PAYPAL.list_records(
                here.connection, ListingRequest("transactions", 1, cursor, since)
            )
            assert len(page.records) <= 1
            told, cursor = [*told, *(record.external_id for record in page.records)], page.next_cursor
    assert len(told) == 9
    assert set(told) == ids(found)


async def test_paypal_other_refusals_say_why() -> None:
    async with world(CASES["PayPal"]) as here:
        here.server.listing = lambda request: (
            Answer(
                400, {"name": "INVALID_REQUEST", "details": [{"issue": "Date range is greater than 31 days"}]}
            )
            if request.method == "GET"
            else None
        )
        with pytest.raises(ProviderFailure, match="INVALID_REQUEST") as caught:
            await drain_checked(PAYPAL, here.connection)
    assert caught.value.kind == "rejected"


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        ("10.50", "USD", 1050),
        ("-3.07", "EUR", -307),
        ("500", "JPY", 500),
        ("500.0", "JPY", 500),
        ("1050", "HUF", 105000),
        ("7", "TWD", 700),
        ("1.234", "KWD", 1234),
        ("0.0001", "CLF", 1),
    ],
)
def test_decimal_amounts_have_the_exponent_of_their_currency(value: str, currency: str, minor: int) -> None:
    amount = {"currency_code": currency, "value": value}
    row = transaction(1, NOW, transaction_amount=amount)
    assert shaped(PAYPAL, "transactions", row)["amountMinor"] == minor


@pytest.mark.parametrize(
    ("value", "currency"),
    [("1.5", "JPY"), ("1.001", "USD"), ("NaN", "USD"), ("1e99", "USD"), ("", "USD"), (5.1, "USD")],
)
def test_amounts_that_their_currency_cannot_have_are_refused(value: Any, currency: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        minor_units(value, currency)


async def test_square_payments_are_listed_in_the_order_of_their_changes() -> None:
    same = NOW - timedelta(days=3)
    found = [payment(n, same) for n in range(5)] + [payment(9, NOW - timedelta(days=700))]
    async with world(CASES["Square"], changes={"locationId": "L88917AVBK2S5"}) as here:
        here.server.listing = square(found)
        listing = await drain_checked(SQUARE, here.connection, limit=2)
    assert sorted(listing.ids) == sorted(row["id"] for row in found)
    assert len(here.server.requests) == 3
    assert all(request.query["location_id"] == "L88917AVBK2S5" for request in here.server.requests)
    assert all(request.query["begin_time"] < "2010" for request in here.server.requests)
    paid = listing.internal[found[0]["id"]]
    assert isinstance(paid, PaymentRecord)
    assert (paid.amount_minor, paid.status, paid.method) == (2500, "succeeded", "card")


async def test_square_changes_since_the_last_run_are_asked_for_from_a_little_before_it() -> None:
    old, border = payment(1, NOW - timedelta(days=2)), payment(2, NOW - timedelta(hours=1))
    refunded = payment(3, NOW, refunded_money={"amount": 2500, "currency": "USD"})
    async with world(CASES["Square"]) as here:
        here.server.listing = square([old, border, refunded])
        listing = await drain_checked(SQUARE, here.connection, state=json.dumps({"since": EPOCH - 3600}))
    assert listing.ids == [border["id"], refunded["id"]]
    internal = listing.internal[refunded["id"]]
    assert isinstance(internal, PaymentRecord)
    assert (internal.status, internal.refunded_minor) == ("refunded", 2500)


async def test_square_account_without_payments_has_none() -> None:
    async with world(CASES["Square"]) as here:
        here.server.listing = square([])
        listing = await drain_checked(SQUARE, here.connection)
    assert listing.records == []
    assert listing.state is not None


async def test_square_cursor_keeps_its_query_when_fewer_are_wanted() -> None:
    found = [payment(n, NOW - timedelta(minutes=n)) for n in range(11)]
    async with world(CASES["Square"]) as here:
        here.server.listing = square(found)
        page = await SQUARE.list_records(here.connection, ListingRequest("payments", 4))
        told = list(page.records)
        while page.next_cursor is not None:
            page = await SQUARE.list_records(here.connection, ListingRequest("payments", 1, page.next_cursor))
            told += page.records
    assert sorted(row.external_id for row in told) == sorted(row["id"] for row in found)


@EVERY
@pytest.mark.parametrize(
    ("status", "kind"), [(401, "unauthorized"), (429, "rate_limited"), (500, "unavailable")]
)
async def test_refusals_have_their_kind(name: str, status: int, kind: str) -> None:
    case = CASES[name]
    async with world(case) as here:
        here.server.listing = lambda request: case.errors[status] if request.method == "GET" else None
        with pytest.raises(ProviderFailure) as caught:
            await drain_checked(streams(name), here.connection)
    assert caught.value.kind == kind
    assert not any(secret in caught.value.detail for secret in case.secrets)


MALFORMED: dict[str, list[Any]] = {
    "Stripe": [
        {"data": []},
        {"data": [], "has_more": True},
    ],
    "PayPal": [
        {"transaction_details": []},
        {"total_pages": "1"},
    ],
    "Square": [
        {"payments": "none"},
        {"errors": [{"code": "X"}]},
        {"cursor": 1.5},
    ],
}
ENDS: dict[str, list[Any]] = {
    "Stripe": [{"has_more": False}, {"has_more": False, "data": None}],
    "PayPal": [{"total_pages": 0}, {"total_pages": 1, "transaction_details": None}],
    "Square": [{}, {"payments": None}],
}


@EVERY
async def test_a_list_that_is_null_or_left_out_is_an_empty_one(name: str) -> None:
    (profile,) = streams(name).streams_of(CASES[name].provider.profile.configuration.model_construct())
    for answer in (*(Answer(200, body) for body in ENDS[name]), Answer(204)):
        async with world(CASES[name]) as here:
            here.server.listing = lambda request, answer=answer: answer if request.method == "GET" else None
            listing = await drain(streams(name), here.connection, profile.name)
        assert listing.ids == []


@EVERY
async def test_pages_that_are_not_what_is_documented_are_malformed(name: str) -> None:
    for body in (*MALFORMED[name], [], None, "text", b"<html>"):
        async with world(CASES[name]) as here:
            answer = Answer(200, body)
            here.server.listing = lambda request, answer=answer: answer if request.method == "GET" else None
            with pytest.raises(ProviderFailure) as caught:
                await drain_checked(streams(name), here.connection)
            assert caught.value.kind == "malformed", body


ODD: list[Any] = [1, None, "x", [], {}, {"id": None}]


@EVERY
async def test_a_row_that_is_no_record_costs_no_other(name: str) -> None:
    (profile,) = streams(name).streams_of(CASES[name].provider.profile.configuration.model_construct())
    rows = ODD[:2] if name == "PayPal" else ODD
    page = {"data": rows, "has_more": False, "transaction_details": rows, "total_pages": 1, "payments": rows}
    async with world(CASES[name]) as here:
        answer = Answer(200, page)
        here.server.listing = lambda request: answer if request.method == "GET" else None
        listing = await drain(streams(name), here.connection, profile.name)
    assert set(listing.ids) == {""}


@EVERY
async def test_payments_are_imported_only(name: str) -> None:
    capabilities = CASES[name].provider.profile.capabilities
    assert Capability.Import in capabilities
    assert Capability.Export not in capabilities
    source = streams(name)
    async with world(CASES[name]) as here:
        (profile,) = source.streams_of(here.connection.configuration)
        assert (profile.name, profile.exportable) == (STREAMS[name], False)
        assert profile.complete_history == (name != "PayPal"), "PayPal forgets after three years"
        with pytest.raises(ProviderFailure, match="takes no records"):
            await source.push_record(here.connection, PushRequest(profile.name, "key", {}))
        with pytest.raises(ProviderFailure, match="does not exist"):
            await source.list_records(here.connection, ListingRequest("nothing", 10))
        with pytest.raises(StateExpired):
            await source.list_records(here.connection, ListingRequest(profile.name, 10, "rubbish"))
    assert here.server.requests == []
    with pytest.raises(ValueError, match="no "):
        source.to_internal(profile.name, SourceRecord("1", {}))


def test_moments_of_records_are_utc() -> None:
    row = transaction(1, datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC))
    assert shaped(PAYPAL, "transactions", row)["paidAt"] == "2026-02-03T04:05:06.000000Z"
