"""What a tenant sets and a provider cannot take stays with the tenant, and what was not set stays with the provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.worlds.both_ways import PEERS, BothWays
from tests.worlds.calendar_peers import GooglePeer, GraphPeer
from tests.worlds.crm_peers import HubSpotPeer
from tests.worlds.sync_world import SyncWorld

GUESTS = [{"name": "Bo", "email": "bo@example.com"}]
CALENDARS = ["Google", "Outlook", "CalDAV"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path_factory.mktemp("local"))
    yield made
    made.close()


async def agreed(world: SyncWorld, name: str) -> BothWays:
    both = await BothWays.between(world, PEERS[name](world.clock))
    both.peer.put("a", "old")
    await both.sync(direction="Import")
    world.clock.advance(minutes=1)
    return both


def content(both: BothWays) -> dict[str, Any]:
    (data,) = both.world.live(both.integration_id).values()
    return data


@pytest.mark.parametrize("name", CALENDARS)
async def test_guests_and_status_stay_with_the_tenant_and_the_answer_names_them(
    world: SyncWorld, name: str
) -> None:
    both = await agreed(world, name)
    (key,) = world.stored(both.integration_id)
    edit = {**both.peer.record("a", "ours"), "attendees": GUESTS, "status": "tentative"}
    assert both.put(edit, externalId=key).not_pushed == {"attendees", "status"}
    await both.settle()
    assert both.peer.held() == {"a": "ours"}
    assert (content(both)["attendees"], content(both)["status"]) == (GUESTS, "tentative")
    world.clock.advance(minutes=1)
    both.peer.put("a", "theirs")  # their change to other fields keeps them too
    await both.settle()
    assert (content(both)["title"], content(both)["attendees"]) == ("a theirs", GUESTS)
    await both.sync("Full")
    assert content(both)["status"] == "tentative"


@pytest.mark.parametrize("name", CALENDARS)
async def test_a_new_event_keeps_its_guests(world: SyncWorld, name: str) -> None:
    both = await BothWays.between(world, PEERS[name](world.clock))
    edit = {**both.peer.record("a", "ours"), "attendees": GUESTS}
    assert both.put(edit, localId="mine").not_pushed == {"attendees"}
    await both.settle()
    assert (both.peer.held(), content(both)["attendees"]) == ({"a": "ours"}, GUESTS)


async def test_guests_that_the_provider_changes_later_are_the_providers(world: SyncWorld) -> None:
    peer = GooglePeer(world.clock)
    both = await BothWays.between(world, peer)
    peer.put("a", "old")
    await both.sync()
    (key,) = peer.events
    both.put({**peer.record("a", "old"), "attendees": GUESTS}, externalId=key)
    await both.settle()
    world.clock.advance(minutes=1)
    peer.events[key]["attendees"] = [{"email": "cy@example.com"}]
    peer.put("a", "theirs")
    await both.settle()
    assert [guest["email"] for guest in content(both)["attendees"]] == ["cy@example.com"]


async def test_only_guests_were_set_so_nothing_is_sent(world: SyncWorld) -> None:
    both = await agreed(world, "Google")
    (key,) = world.stored(both.integration_id)
    both.put({**both.peer.record("a", "old"), "attendees": GUESTS}, externalId=key)
    job = await both.sync()
    assert (both.peer.writes, job.records_written, job.records_failed) == (0, 0, 0)
    assert content(both)["attendees"] == GUESTS
    await both.settle()


async def test_what_is_not_given_stays_and_what_is_null_is_emptied(world: SyncWorld) -> None:
    peer = GooglePeer(world.clock)
    both = await BothWays.between(world, peer)
    peer.put("a", "old")
    (key,) = peer.events
    series = {"recurrence": ["RRULE:FREQ=WEEKLY"], "description": "<b>Bring boots</b>"}
    peer.events[key] |= series
    await both.sync()
    world.clock.advance(minutes=1)
    both.put({"title": "a new", "location": "new"}, externalId=key)
    assert content(both)["description"] == series["description"]
    await both.settle()
    (change,) = [asked.json for asked in peer.requests if asked.method == "PATCH"]
    assert set(change) == {"summary", "location"}
    assert {name: peer.events[key][name] for name in series} == series
    assert peer.events[key]["start"] == {"dateTime": "2026-03-05T18:00:00Z"}
    world.clock.advance(minutes=1)
    both.put({"title": "a new", "location": "new", "description": None}, externalId=key)
    await both.settle()
    assert not content(both).get("description")
    assert not peer.events[key].get("description")


async def test_an_edit_of_the_title_leaves_the_body_of_an_outlook_event_as_it_is(world: SyncWorld) -> None:
    peer = GraphPeer(world.clock)
    both = await BothWays.between(world, peer)
    peer.put("a", "old")
    await both.sync()
    world.clock.advance(minutes=1)
    (key,) = peer.events
    both.put({"title": "a new", "location": "new"}, externalId=key)
    await both.settle()
    (change,) = [asked.json for asked in peer.requests if asked.method == "PATCH"]
    assert set(change) == {"subject", "location"}


async def test_a_new_series_is_pushed_to_outlook_in_its_zone(world: SyncWorld) -> None:
    peer = GraphPeer(world.clock)
    both = await BothWays.between(world, peer)
    series = {"recurrence": ["RRULE:FREQ=WEEKLY;BYDAY=TH;COUNT=3"], "timeZone": "Europe/Berlin"}
    assert both.put({**peer.record("a", "ours"), **series}, localId="mine").not_pushed == set()
    await both.settle()
    (made,) = [asked.json for asked in peer.requests if asked.method == "POST"]
    assert made["start"] == {"dateTime": "2026-03-05T19:00:00", "timeZone": "Europe/Berlin"}
    assert made["recurrence"]["range"] == {
        "type": "numbered",
        "startDate": "2026-03-05",
        "numberOfOccurrences": 3,
    }
    (key,) = peer.events
    world.clock.advance(minutes=1)
    both.put({"title": "a new", "location": "new"}, externalId=key)
    await both.settle()
    (change,) = [asked.json for asked in peer.requests if asked.method == "PATCH"]
    assert set(change) == {"subject", "location"}, "the series stays as it is"


async def test_a_series_that_outlook_cannot_express_is_told_and_not_pushed(world: SyncWorld) -> None:
    both = await BothWays.between(world, GraphPeer(world.clock))
    both.put({**both.peer.record("a", "ours"), "recurrence": ["RRULE:FREQ=HOURLY"]}, localId="mine")
    job = await both.sync()
    ((_, reason),) = both.log(job)
    assert reason == "Outlook cannot express this recurrence: FREQ=HOURLY. It was not pushed."
    assert both.peer.held() == {}
    assert content(both)["recurrence"] == ["RRULE:FREQ=HOURLY"]


async def test_the_edit_of_one_field_is_pushed_over_the_providers_earlier_edit_of_another(
    world: SyncWorld,
) -> None:
    peer = HubSpotPeer(world.clock)
    both = await BothWays.between(world, peer)
    peer.put("a", "old")
    await both.sync()
    world.clock.advance(minutes=1)
    (key,) = peer.contacts
    peer.contacts[key]["properties"]["phone"] = "123"
    peer.put("a", "theirs")
    world.clock.advance(minutes=1)
    both.put({"email": "a@example.com", "lastName": "ours", "jobTitle": "ours"}, externalId=key)
    await both.settle()
    assert peer.contacts[key]["properties"]["phone"] == content(both)["phone"] == "123"
    assert content(both)["lastName"] == "ours"


@pytest.mark.parametrize("name", ["HubSpot", "Salesforce"])
async def test_an_address_is_named_as_kept_and_a_field_that_is_only_repeated_is_not(
    world: SyncWorld, name: str
) -> None:
    both = await agreed(world, name)
    (key,) = world.stored(both.integration_id)
    same = both.put(content(both), externalId=key)
    assert same.not_pushed == set()
    moved = both.put({**content(both), "address": "1 Main St"}, externalId=key)
    assert moved.not_pushed == {"address"}
    await both.settle()
    assert content(both)["address"] == "1 Main St"


async def test_a_change_that_an_earlier_release_stored_is_pushed_as_a_whole(world: SyncWorld) -> None:
    both = await agreed(world, "Google")
    both.edit("a", "ours")
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE SyncedRecords SET LocalFields = NULL")
    both.peer.put("b", "theirs")
    await both.settle()
    assert both.peer.held() == {"a": "ours", "b": "theirs"}


async def test_local_fields_leave_with_the_record(world: SyncWorld) -> None:
    both = await agreed(world, "Salesforce")
    (key,) = world.stored(both.integration_id)
    both.put({**content(both), "address": "1 Main St"}, externalId=key)
    await both.settle()
    both.peer.delete("a")
    await both.settle()
    stored = world.stored(both.integration_id)[key]
    assert (stored.data, stored.local_fields, stored.source_version) == (None, None, None)
