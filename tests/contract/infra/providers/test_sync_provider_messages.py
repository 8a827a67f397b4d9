"""Messages listed from SendGrid, Mailgun, Postmark, Twilio and Vonage, over pages and over runs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.providers.contract import Capability, ProviderFailure
from domain.providers.records import ListingRequest, PushRequest, SourceRecord, StateExpired
from domain.sync.records import MessageRecord
from infra.providers.postmark.records import eastern
from tests.fixtures.listed_messages import (
    EPOCH,
    MESSAGES,
    bounce,
    mail,
    mailgun,
    outbound,
    postmark,
    report,
    sendgrid,
    sms,
    twilio,
    vonage,
)
from tests.fixtures.scripted_server import Answer
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, world
from tests.worlds.sync_drain import drain, drain_checked, shaped, streams

SENDGRID = streams("SendGrid")
MAILGUN = streams("Mailgun")
POSTMARK = streams("Postmark")
TWILIO = streams("Twilio")
VONAGE = streams("Vonage")

STREAMS = {
    "SendGrid": "bounces",
    "Mailgun": "messages",
    "Postmark": "messages",
    "Twilio": "messages",
    "Vonage": "messages",
}
EVERY = pytest.mark.parametrize("name", sorted(STREAMS))


async def test_sendgrid_bounces_are_listed_to_the_end() -> None:
    found = [bounce(n) for n in range(10)]
    async with world(CASES["SendGrid"]) as here:
        here.server.listing = sendgrid(found)
        listing = await drain_checked(SENDGRID, here.connection, limit=4)
    assert listing.ids == [row["email"] for row in found]
    assert listing.state == json.dumps({"since": EPOCH})
    bounced = listing.internal["bounce1@example.com"]
    assert isinstance(bounced, MessageRecord)
    assert (bounced.channel, bounced.status) == ("email", "bounced")
    assert bounced.error is not None and bounced.error.startswith("550")


@pytest.mark.parametrize("count", [0, 3, 4, 8])
async def test_sendgrid_list_of_any_length_ends(count: int) -> None:
    async with world(CASES["SendGrid"]) as here:
        here.server.listing = sendgrid([bounce(n) for n in range(count)])
        listing = await drain_checked(SENDGRID, here.connection, limit=4)
    assert len(set(listing.ids)) == len(listing.ids) == count


async def test_sendgrid_bounce_removed_between_two_pages_hides_no_other() -> None:
    found = [bounce(n) for n in range(9)]
    async with world(CASES["SendGrid"]) as here:
        here.server.listing = sendgrid(found)
        first = await SENDGRID.list_records(here.connection, ListingRequest("bounces", 4))
        del found[1]
        told, cursor, restarts = {record.external_id for record in first.records}, first.next_cursor, []
        while cursor is not None:
            page = await SENDGRID.list_records(here.connection, ListingRequest("bounces", 4, cursor))
            told, cursor = told | {record.external_id for record in page.records}, page.next_cursor
            restarts.append(page.restarted)
    assert told >= {row["email"] for row in found}
    assert restarts[0] and not any(restarts[1:])


async def test_sendgrid_list_that_never_holds_still_is_given_up() -> None:
    async with world(CASES["SendGrid"]) as here:
        here.server.listing = lambda request: Answer(
            200, [bounce(len(here.server.requests) * 10 + n) for n in range(int(request.query["limit"]))]
        )
        with pytest.raises(ProviderFailure, match="changes while it is read") as caught:
            await drain_checked(SENDGRID, here.connection, limit=4)
    assert caught.value.kind == "unavailable"


async def test_sendgrid_later_run_asks_from_before_the_earlier_began() -> None:
    border = bounce(2, EPOCH - 3600)
    async with world(CASES["SendGrid"]) as here:
        here.server.listing = sendgrid([bounce(1, EPOCH - 9 * 3600), border])
        listing = await drain_checked(SENDGRID, here.connection, state=json.dumps({"since": EPOCH - 3600}))
    assert listing.ids == [border["email"]]


async def test_mailgun_messages_have_the_state_of_their_latest_event() -> None:
    same = EPOCH - 4000.5
    found = [mail(n, same, "accepted") for n in range(5)] + [mail(n, same + 1) for n in range(4)]
    bounced = mail(
        4, same + 2, "failed", severity="permanent", **{"delivery-status": {"message": "No such user"}}
    )
    async with world(CASES["Mailgun"]) as here:
        here.server.listing = mailgun([*found, bounced], lambda: here.server.address)
        listing = await drain_checked(MAILGUN, here.connection, limit=3)
    assert listing.pages[-1].records == []
    states = {
        message.recipient: message.status
        for message in listing.internal.values()
        if isinstance(message, MessageRecord)
    }
    assert states == {f"r{n}@example.com": "delivered" for n in range(4)} | {"r4@example.com": "failed"}
    failed = listing.internal["2013050119323004@mg.example.org r4@example.com"]
    assert isinstance(failed, MessageRecord)
    assert (failed.error, failed.sender, failed.subject) == (
        "No such user",
        "events@mg.example.org",
        "Your ticket",
    )
    assert listing.state == json.dumps({"since": EPOCH})


async def test_mailgun_events_that_were_stored_late_are_found_by_the_next_run() -> None:
    late = mail(1, EPOCH - 3600 - 1700)
    async with world(CASES["Mailgun"]) as here:
        here.server.listing = mailgun([late, mail(2, EPOCH - 9 * 3600)], lambda: here.server.address)
        listing = await drain_checked(MAILGUN, here.connection, state=json.dumps({"since": EPOCH - 3600}))
    assert len(listing.ids) == 1
    assert listing.ids[0].endswith("r1@example.com")


def test_mailgun_failure_that_is_tried_again_is_deferred() -> None:
    event = mail(
        1, EPOCH, "failed", severity="temporary", **{"delivery-status": {"description": "Mailbox full"}}
    )
    internal = shaped(MAILGUN, "messages", event)
    assert (internal["status"], internal["error"]) == ("deferred", "Mailbox full")


async def test_mailgun_page_is_given_in_parts_when_fewer_are_wanted() -> None:
    found = [mail(n, EPOCH - 100 + n) for n in range(14)]
    async with world(CASES["Mailgun"]) as here:
        here.server.listing = mailgun(found, lambda: here.server.address)
        page = await MAILGUN.list_records(here.connection, ListingRequest("messages", 5))
        told = [record.external_id for record in page.records]
        while page.next_cursor is not None:
            page = await MAILGUN.list_records(
                here.connection, ListingRequest("messages", 2, page.next_cursor)
            )
            assert len(page.records) <= 2
            told += [record.external_id for record in page.records]
    assert len(told) == len(set(told)) == 14


async def test_postmark_messages_are_listed_to_the_end() -> None:
    found = [outbound(n, NOW - timedelta(hours=n)) for n in range(11)]
    async with world(CASES["Postmark"]) as here:
        here.server.listing = postmark(found)
        listing = await drain_checked(POSTMARK, here.connection, limit=4)
    assert listing.ids == [row["MessageID"] for row in found]
    assert [page.total for page in listing.pages] == [11, 11, 11]
    sent = listing.internal[listing.ids[0]]
    assert isinstance(sent, MessageRecord)
    assert (sent.recipient, sent.status) == ("john.doe@yahoo.com, jane.doe@yahoo.com", "sent")
    assert sent.sent_at is not None and abs(sent.sent_at - NOW) < timedelta(seconds=1)


async def test_postmark_listing_goes_on_beyond_what_one_search_reaches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infra.providers.postmark.records.REACH", 10)
    same = [outbound(n, NOW - timedelta(hours=2, seconds=0.4)) for n in range(4)]
    before = [outbound(100 + n, NOW - timedelta(hours=1, seconds=n)) for n in range(8)]
    after = [outbound(200 + n, NOW - timedelta(hours=3, seconds=n)) for n in range(15)]
    async with world(CASES["Postmark"]) as here:
        here.server.listing = postmark([*before, *same, *after], most=10)
        listing = await drain_checked(POSTMARK, here.connection, limit=4)
    assert set(listing.ids) == {row["MessageID"] for row in [*before, *same, *after]}


async def test_postmark_second_that_no_search_can_pass_ends_the_listing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infra.providers.postmark.records.REACH", 10)
    async with world(CASES["Postmark"]) as here:
        here.server.listing = postmark([outbound(n, NOW - timedelta(hours=2)) for n in range(30)], most=10)
        with pytest.raises(ProviderFailure, match="more messages in one second") as caught:
            await drain_checked(POSTMARK, here.connection, limit=5)
    assert caught.value.kind == "rejected"


async def test_postmark_later_run_looks_back_for_messages_that_changed() -> None:
    recent = outbound(1, NOW - timedelta(days=2))
    async with world(CASES["Postmark"]) as here:
        here.server.listing = postmark([recent, outbound(2, NOW - timedelta(days=9))])
        listing = await drain_checked(POSTMARK, here.connection, state=json.dumps({"since": EPOCH - 3600}))
    assert listing.ids == [recent["MessageID"]]


@pytest.mark.parametrize("year", [2024, 2026, 2027])
def test_postmark_times_are_those_of_new_york(year: int) -> None:
    at, zone = datetime(year, 1, 1, 0, 30, tzinfo=UTC), ZoneInfo("America/New_York")
    for hour in range(366 * 24):
        moment = at + timedelta(hours=hour)
        assert eastern(moment) == moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")


async def test_twilio_messages_are_listed_by_following_its_links() -> None:
    found = [sms(0, None, status="queued", to="whatsapp:+15558675310")] + [sms(n, NOW) for n in range(1, 8)]
    found[3] |= {
        "status": "undelivered",
        "error_code": 30003,
        "error_message": "Unreachable destination handset",
    }
    async with world(CASES["Twilio"]) as here:
        here.server.listing = twilio(found)
        listing = await drain_checked(TWILIO, here.connection, limit=3)
    assert listing.ids == [row["sid"] for row in found]
    assert "DateSent>" not in here.server.requests[0].query
    queued, sent, failed = (listing.internal[found[n]["sid"]] for n in (0, 1, 3))
    assert (
        isinstance(queued, MessageRecord)
        and isinstance(sent, MessageRecord)
        and isinstance(failed, MessageRecord)
    )
    assert (queued.channel, queued.sent_at, sent.channel, sent.sent_at) == ("other", None, "sms", NOW)
    assert failed.error == "30003: Unreachable destination handset"


async def test_twilio_later_run_asks_for_whole_days_and_looks_back() -> None:
    recent = [sms(1, NOW), sms(2, NOW - timedelta(days=2))]
    async with world(CASES["Twilio"]) as here:
        here.server.listing = twilio([*recent, sms(3, NOW - timedelta(days=9))])
        listing = await drain_checked(
            TWILIO, here.connection, limit=1, state=json.dumps({"since": EPOCH - 3600})
        )
    assert listing.ids == [row["sid"] for row in recent]
    assert here.server.requests[0].query["DateSent>"] == "2026-02-26"


async def test_links_to_another_host_are_not_followed_and_no_credential_leaves() -> None:
    found = [sms(n, NOW) for n in range(4)]
    events = [mail(n, EPOCH - 10) for n in range(4)]
    foreign = (
        "https://evil.example.org",
        "http://127.0.0.1:9",
        "https://api.twilio.com@evil.example.org",
        "//evil.example.org",
    )
    for host in foreign:
        async with world(CASES["Twilio"]) as here:
            here.server.listing = twilio(found, host)
            with pytest.raises(ProviderFailure, match="foreign host") as caught:
                await drain_checked(TWILIO, here.connection, limit=2)
            assert (caught.value.kind, len(here.server.requests)) == ("malformed", 1)
        async with world(CASES["Mailgun"]) as here:
            here.server.listing = mailgun(events, lambda host=host: host)  # type: ignore[misc]
            with pytest.raises(ProviderFailure, match="foreign host") as caught:
                await drain_checked(MAILGUN, here.connection, limit=2)
            assert (caught.value.kind, len(here.server.requests)) == ("malformed", 1)


async def test_link_in_a_cursor_of_another_host_is_not_followed() -> None:
    async with world(CASES["Twilio"]) as here:
        here.server.listing = twilio([sms(n, NOW) for n in range(4)])
        page = await TWILIO.list_records(here.connection, ListingRequest("messages", 2))
        moved = (page.next_cursor or "").replace(here.server.address, "https://evil.example.org")
        with pytest.raises(ProviderFailure, match="foreign host"):
            await TWILIO.list_records(here.connection, ListingRequest("messages", 2, moved))
    assert len(here.server.requests) == 1


async def test_links_without_a_host_lead_on_from_their_page() -> None:
    pages = {"": "?Page=1", "1": "Messages.json?Page=2&PageToken=%2Fa", "2": None}
    async with world(CASES["Twilio"]) as here:
        here.server.listing = lambda request: Answer(
            200, {"messages": [], "next_page_uri": pages[request.query.get("Page", "")]}
        )
        await drain(TWILIO, here.connection, "messages")
    assert [request.path for request in here.server.requests] == [MESSAGES] * 3
    assert here.server.requests[-1].query["PageToken"] == "/a"


async def test_vonage_records_are_listed_day_by_day_and_page_by_page() -> None:
    same = NOW - timedelta(days=40)
    found = [report(n, same) for n in range(7)] + [report(50, NOW - timedelta(days=10), "failed")]
    async with world(CASES["Vonage"]) as here:
        here.server.listing = vonage(found, most=3)
        listing = await drain_checked(VONAGE, here.connection, limit=2)
    assert listing.ids == [row["message_id"] for row in found]
    assert listing.state == json.dumps({"since": EPOCH})
    sent, failed = (listing.internal[found[n]["message_id"]] for n in (0, 7))
    assert isinstance(sent, MessageRecord) and isinstance(failed, MessageRecord)
    assert (sent.recipient, sent.sender, sent.error) == ("447700123456", "Acme Inc.", None)
    assert (failed.status, failed.error) == ("failed", "Unknown Subscriber")


async def test_vonage_message_on_the_border_of_two_days_is_listed_once() -> None:
    since = NOW - timedelta(days=2)
    border = report(1, since - timedelta(days=4) + timedelta(days=1))
    async with world(CASES["Vonage"]) as here:
        here.server.listing = vonage([border])
        listing = await drain_checked(VONAGE, here.connection, since=since)
    assert listing.ids == [border["message_id"]]


async def test_vonage_later_run_looks_back_for_messages_still_on_their_way() -> None:
    recent = report(1, NOW - timedelta(days=3))
    async with world(CASES["Vonage"]) as here:
        here.server.listing = vonage([report(2, NOW - timedelta(days=9)), recent])
        listing = await drain_checked(VONAGE, here.connection, state=json.dumps({"since": EPOCH - 3600}))
    assert listing.ids == [recent["message_id"]]


@EVERY
@pytest.mark.parametrize(
    ("status", "kind"), [(401, "unauthorized"), (429, "rate_limited"), (500, "unavailable")]
)
async def test_refusals_have_their_kind(name: str, status: int, kind: str) -> None:
    case = CASES[name]
    async with world(case) as here:
        here.server.always = case.errors[status]
        with pytest.raises(ProviderFailure) as caught:
            await drain_checked(streams(name), here.connection)
    assert caught.value.kind == kind
    assert not any(secret in caught.value.detail for secret in case.secrets)


MALFORMED: dict[str, list[Any]] = {
    "SendGrid": [{}],
    "Mailgun": [
        {},
        {"items": [{"recipient": "a@example.com", "id": "1"}]},
    ],
    "Postmark": [
        {"Messages": []},
        {},
        {"TotalCount": "1", "Messages": []},
    ],
    "Twilio": [
        {"messages": []},
        {"messages": [], "next_page_uri": 1},
    ],
    "Vonage": [
        {"records": []},
        {"records": [], "request_status": "TRUNCATED"},
        {"records": None},
    ],
}
#: What each provider's last page holds beside its list.
ENDS: dict[str, list[Any]] = {
    "SendGrid": [[]],
    "Mailgun": [{"paging": {}}, {"paging": {}, "items": None}],
    "Postmark": [{"TotalCount": 0}, {"TotalCount": 0, "Messages": None}],
    "Twilio": [{"next_page_uri": None}, {"next_page_uri": None, "messages": None}],
    "Vonage": [{"request_status": "SUCCESS"}, {"request_status": "SUCCESS", "records": None}],
}


@EVERY
async def test_a_list_that_is_null_or_left_out_is_an_empty_one(name: str) -> None:
    for answer in (*(Answer(200, body) for body in ENDS[name]), Answer(204)):
        async with world(CASES[name]) as here:
            here.server.always = answer
            listing = await drain(streams(name), here.connection, STREAMS[name])
        assert listing.ids == []


@EVERY
async def test_pages_that_are_not_what_is_documented_are_malformed(name: str) -> None:
    for body in (*MALFORMED[name], None, "text", b"<html>"):
        async with world(CASES[name]) as here:
            here.server.always = Answer(200, body)
            with pytest.raises(ProviderFailure) as caught:
                await drain_checked(streams(name), here.connection)
            assert caught.value.kind == "malformed", body


ODD: list[Any] = [1, None, "x", [], {}, {"email": "a@example.com", "created": "then"}, {"created": 1}]


@pytest.mark.parametrize("name", ["Postmark", "SendGrid", "Twilio", "Vonage"])
async def test_a_row_that_is_no_record_costs_no_other(name: str) -> None:
    page = {"TotalCount": 7, "next_page_uri": None, "request_status": "SUCCESS"}
    rows = {"Messages": ODD, "messages": ODD, "records": ODD}
    async with world(CASES[name]) as here:
        here.server.always = Answer(200, ODD if name == "SendGrid" else page | rows)
        listing = await drain(streams(name), here.connection, "bounces" if name == "SendGrid" else "messages")
    assert set(listing.ids) == {""}
    assert len(listing.ids) >= len(ODD)
    assert listing.state is not None


@EVERY
async def test_messages_are_imported_only(name: str) -> None:
    capabilities = CASES[name].provider.profile.capabilities
    assert Capability.Import in capabilities
    assert Capability.Export not in capabilities
    source = streams(name)
    async with world(CASES[name]) as here:
        (profile,) = source.streams_of(here.connection.configuration)
        assert (profile.name, profile.exportable) == (STREAMS[name], False)
        assert profile.complete_history == (name == "SendGrid"), "the others forget old messages"
        with pytest.raises(ProviderFailure, match="takes no records"):
            await source.push_record(here.connection, PushRequest(profile.name, "key", {}))
        with pytest.raises(ProviderFailure, match="does not exist"):
            await source.list_records(here.connection, ListingRequest("nothing", 10))
        for cursor, state in (("rubbish", None), ("[]", None), (None, "rubbish"), (None, '{"since": true}')):
            with pytest.raises(StateExpired):
                await source.list_records(
                    here.connection, ListingRequest(profile.name, 10, cursor, state=state)
                )
    assert here.server.requests == []
    with pytest.raises(ValueError, match="has no"):
        source.to_internal(profile.name, SourceRecord("1", {}))
