"""HubSpot contacts, in and out, against an account that answers as documented."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, ProviderResponse
from domain.providers.records import PushRequest, SourceRecord
from domain.sync.records import ContactRecord
from infra.providers.hubspot.adapter import HubSpotConfiguration
from tests.fixtures.providers import hubspot
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, world
from tests.worlds.sync_drain import drain, internal, streams

HUBSPOT = streams("HubSpot")
CONTACTS, SEARCH = "/crm/v3/objects/contacts", "/crm/v3/objects/contacts/search"
PERSON = {"firstName": "Ada", "lastName": "Lovelace", "email": "ada@example.com"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stamp(milliseconds: int) -> str:
    moment = EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def hubspot_contact(contact_id: int, changed: int, **properties: str) -> dict[str, Any]:
    """https://developers.hubspot.com/docs/api-reference/search/guide"""
    named = {"email": f"c{contact_id}@example.com", "firstname": "Ada", "lastmodifieddate": stamp(changed)}
    return {
        "id": str(contact_id),
        "properties": named | properties,
        "createdAt": stamp(0),
        "updatedAt": stamp(changed),
        "archived": False,
    }


class HubSpotAccount:
    """Answers searches and the listing of archived contacts as documented: filters, one sort, 200 a page, no
    offset used. `disturb` is called with the number of the search before it is answered."""

    def __init__(self, changed: dict[int, int], archived: dict[int, int] | None = None) -> None:
        self.changed = changed
        self.archived = archived or {}
        self.searches = 0
        self.disturb: Any = None

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        body = self._search(request.json) if request.method == "POST" else self._archived(request)
        return ProviderResponse(200, {}, json.dumps(body).encode(), 1)

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        assert 200 in statuses
        return await self.send(request)

    def _search(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.searches += 1
        if self.disturb is not None:
            self.disturb(self.searches)
        assert 1 <= asked["limit"] <= 200
        (group,) = asked["filterGroups"]
        (sort,) = asked["sorts"]
        assert sort["direction"] == "ASCENDING"
        rows = [
            (contact, changed)
            for contact, changed in self.changed.items()
            if all(self._fits(condition, contact, changed) for condition in group["filters"])
        ]
        by_id = sort["propertyName"] == "hs_object_id"
        # Contacts of one moment come in no particular order.
        rows.sort(key=lambda row: (row[0],) if by_id else (row[1], row[0] * 7919 % 101))
        page = rows[: asked["limit"]]
        body: dict[str, Any] = {
            "total": len(rows),
            "results": [hubspot_contact(contact, changed) for contact, changed in page],
        }
        if len(page) < len(rows):
            body["paging"] = {"next": {"after": str(len(page))}}
        return body

    @staticmethod
    def _fits(filter_: dict[str, str], contact: int, changed: int) -> bool:
        value = {"lastmodifieddate": changed, "hs_object_id": contact}[filter_["propertyName"]]
        limit = int(filter_["value"])
        return {"GTE": value >= limit, "EQ": value == limit, "GT": value > limit}[filter_["operator"]]

    def _archived(self, request: ProviderRequest) -> dict[str, Any]:
        params = dict(request.params)
        assert params["archived"] == "true"
        after = int(params.get("after", "0"))
        rows = sorted(contact for contact in self.archived if contact > after)
        page = rows[: int(params["limit"])]
        body: dict[str, Any] = {
            "results": [
                hubspot_contact(contact, 0) | {"archived": True, "archivedAt": stamp(self.archived[contact])}
                for contact in page
            ]
        }
        if len(page) < len(rows):
            body["paging"] = {"next": {"after": str(page[-1])}}
        return body


def connected_to(account: HubSpotAccount) -> Connection:
    configuration = HubSpotConfiguration(client_id="id", client_secret="secret-of-the-app")
    return Connection(configuration, account, NOW, access_token="token")


@settings(max_examples=150, deadline=None)
@given(
    changed=st.dictionaries(st.integers(1, 400), st.integers(1, 6), max_size=60),
    limit=st.integers(1, 25),
)
async def test_hubspot_lists_every_contact_once_whatever_moments_they_share(
    changed: dict[int, int], limit: int
) -> None:
    listing = await drain(HUBSPOT, connected_to(HubSpotAccount(changed)), "contacts", limit)
    assert sorted(listing.ids) == sorted(str(contact) for contact in changed)


@pytest.mark.parametrize("limit", [2, 3, 50])
async def test_hubspot_contacts_without_an_id_cost_no_other_and_come_once(limit: int) -> None:
    """One of them shares its moment with the end of a page, one has no moment at all."""
    account = HubSpotAccount({contact: 1 + contact // 3 for contact in range(1, 10)})
    send = account.send

    async def damaged(request: ProviderRequest) -> ProviderResponse:
        body = json.loads((await send(request)).body)
        for row in body["results"]:
            if row["id"] in ("2", "5"):
                del row["id"]
                row["properties"] |= {"email": None}
        return ProviderResponse(200, {}, json.dumps(body).encode(), 1)

    account.send = damaged  # type: ignore[method-assign]
    listing = await drain(HUBSPOT, connected_to(account), "contacts", limit)
    assert sorted(listing.ids) == ["", "", *"1346789"]


async def test_hubspot_contacts_that_were_deleted_before_make_few_empty_pages() -> None:
    """A run may have 1,000 empty pages in a row; an account may have more pages of deleted contacts."""
    account = HubSpotAccount({}, archived={contact: 1 if contact < 40 else 5000 for contact in range(1, 42)})
    since = EPOCH + timedelta(seconds=4)
    listing = await drain(HUBSPOT, connected_to(account), "contacts", 1, since=since)
    assert listing.deleted == ["40", "41"]
    assert [len(page.records) for page in listing.pages] == [0, 0, 0, 0, 1, 1]


async def test_hubspot_lists_more_than_a_search_can_page_through() -> None:
    """A search ends at 10,000; most of these were imported at one moment."""
    changed = {contact: 5 if contact > 200 else contact % 3 for contact in range(1, 10_701)}
    listing = await drain(HUBSPOT, connected_to(HubSpotAccount(changed)), "contacts", 200)
    assert len(listing.ids) == len(set(listing.ids)) == 10_700


async def test_hubspot_contact_changed_while_listing_hides_no_other() -> None:
    account = HubSpotAccount({contact: contact for contact in range(1, 31)})

    def disturb(search: int) -> None:
        account.changed[search] = 1000 + search  # one of those already listed moves to the end

    account.disturb = disturb
    listing = await drain(HUBSPOT, connected_to(account), "contacts", 5)
    assert set(listing.ids) == {str(contact) for contact in range(1, 31)}


async def test_hubspot_changes_come_with_the_contacts_deleted_since() -> None:
    account = HubSpotAccount({1: 1000, 2: 2000, 3: 3000}, archived={7: 500, 8: 2500, 9: 2000})
    since = EPOCH + timedelta(milliseconds=2000)
    listing = await drain(HUBSPOT, connected_to(account), "contacts", 1, since=since)
    assert sorted(listing.ids) == ["2", "3", "8", "9"]
    assert sorted(listing.deleted) == ["8", "9"]
    full = await drain(HUBSPOT, connected_to(account), "contacts", 10)
    assert full.deleted == []


async def test_hubspot_contact_becomes_an_internal_one() -> None:
    row = hubspot_contact(
        1, 1_772_366_400_123, lastname="Lovelace", jobtitle="Analyst", city="London", zip="W1"
    )
    async with world(CASES["HubSpot"]) as here:
        record = internal(HUBSPOT, here.connection, "contacts", SourceRecord("1", row))
    assert isinstance(record, ContactRecord)
    assert (record.first_name, record.job_title, record.address) == ("Ada", "Analyst", "London, W1")
    assert record.company is None


async def test_hubspot_push_twice_makes_one_contact() -> None:
    conflict = hubspot.error(409, "CONFLICT", "Contact already exists. Existing ID: 51")
    row = hubspot_contact(51, 1000, lastname="Lovelace", email="ada@example.com")
    async with world(CASES["HubSpot"]) as here:
        here.server.add(
            route(f"POST {CONTACTS}", Answer(201, row), conflict),
            route(f"GET {CONTACTS}/51", Answer(200, row)),
        )
        request = PushRequest("contacts", "job-1/7", PERSON)
        results = [await HUBSPOT.push_record(here.connection, request) for _ in range(2)]
        assert here.server.requests[0].json == {
            "properties": {"firstname": "Ada", "lastname": "Lovelace", "email": "ada@example.com"}
        }
    assert [result.external_id for result in results] == ["51", "51"]
    assert results[0].version == row["updatedAt"]


@pytest.mark.parametrize(("name", "sent"), [("HubSpot", 0), ("Salesforce", 0)])
async def test_a_new_contact_without_an_address_is_not_pushed_as_it_could_double(
    name: str, sent: int
) -> None:
    async with world(CASES[name]) as here:
        with pytest.raises(ProviderFailure, match="e-mail address") as caught:
            await streams(name).push_record(here.connection, PushRequest("contacts", "k", {"lastName": "L"}))
        assert len(here.server.requests) == sent
    assert caught.value.kind == "rejected"


async def test_hubspot_push_does_not_overwrite_a_newer_contact() -> None:
    async with world(CASES["HubSpot"]) as here:
        here.server.add(route(f"GET {CONTACTS}/51", Answer(200, hubspot_contact(51, 2000))))
        request = PushRequest("contacts", "k", PERSON, external_id="51", if_version=stamp(1000))
        with pytest.raises(ProviderFailure, match="changed at the provider") as caught:
            await HUBSPOT.push_record(here.connection, request)
        with pytest.raises(ProviderFailure, match="changed at the provider"):
            await HUBSPOT.push_record(here.connection, replace(request, deleted=True))
        assert {request.method for request in here.server.requests} == {"GET"}
    assert (caught.value.kind, caught.value.status) == ("rejected", 412)


async def test_hubspot_push_whose_answer_was_lost_is_done() -> None:
    row = hubspot_contact(51, 2000, firstname="Ada", lastname="Lovelace", email="ada@example.com")
    async with world(CASES["HubSpot"]) as here:
        here.server.add(route(f"GET {CONTACTS}/51", Answer(200, row)))
        request = PushRequest("contacts", "k", PERSON, external_id="51", if_version=stamp(1000))
        assert (await HUBSPOT.push_record(here.connection, request)).version == stamp(2000)
