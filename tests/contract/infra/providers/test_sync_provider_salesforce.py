"""Salesforce contacts, in and out, against the documented answers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.providers.contract import ProviderFailure
from domain.providers.records import PushRequest
from domain.sync.records import ContactRecord
from tests.fixtures.providers import salesforce
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, world
from tests.worlds.sync_drain import drain, internal, streams

SALESFORCE = streams("Salesforce")
DATA = "/services/data/v62.0"
PERSON = {"firstName": "Ada", "lastName": "Lovelace", "email": "ada@example.com"}


def salesforce_contact(
    contact_id: str, changed: str = "2026-02-27T10:00:00.000+0000", **more: Any
) -> dict[str, Any]:
    """https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_query.htm"""
    return {
        "attributes": {"type": "Contact", "url": f"{DATA}/sobjects/Contact/{contact_id}"},
        "Id": contact_id,
        "FirstName": "Ada",
        "LastName": "Lovelace",
        "Email": "ada@example.com",
        "Phone": None,
        "Title": "Analyst",
        "Account": {"attributes": {"type": "Account"}, "Name": "Analytical Engines"},
        "MailingCity": "London",
        "SystemModstamp": changed,
        "IsDeleted": False,
    } | more


def salesforce_page(*rows: dict[str, Any], next_: str = "", total: int = 9) -> Answer:
    more: dict[str, Any] = {"nextRecordsUrl": next_} if next_ else {}
    return Answer(200, {"totalSize": total, "done": not next_, "records": list(rows), **more})


async def test_salesforce_lists_every_contact_page_after_page() -> None:
    async with world(CASES["Salesforce"]) as here:
        here.server.add(
            route(
                f"GET {DATA}/queryAll",
                salesforce_page(
                    salesforce_contact("003A"), salesforce_contact("003B"), next_=f"{DATA}/query/01gD-200"
                ),
            ),
            route(f"GET {DATA}/query/01gD-200", salesforce_page(salesforce_contact("003C", IsDeleted=True))),
        )
        listing = await drain(SALESFORCE, here.connection, "contacts", 2)
        first = here.server.requests[0]
        assert "WHERE" not in first.query["q"]
        assert first.query["q"].endswith("FROM Contact ORDER BY SystemModstamp, Id")
        assert first.headers["sforce-query-options"] == "batchSize=200"
        record = internal(SALESFORCE, here.connection, "contacts", listing.records[0])
    assert (listing.ids, listing.deleted) == (["003A", "003B", "003C"], ["003C"])
    assert isinstance(record, ContactRecord)
    assert (record.company, record.address, record.phone) == ("Analytical Engines", "London", None)
    assert listing.records[0].modified_at == datetime(2026, 2, 27, 10, tzinfo=UTC)


async def test_salesforce_changes_begin_at_the_moment_itself() -> None:
    async with world(CASES["Salesforce"]) as here:
        here.server.add(route(f"GET {DATA}/queryAll", salesforce_page()))
        await drain(SALESFORCE, here.connection, "contacts", since=NOW + timedelta(milliseconds=900))
        assert " WHERE SystemModstamp >= 2026-03-01T12:00:00Z " in here.server.requests[0].query["q"]


async def test_salesforce_smallest_page_is_cut_to_the_size_asked_for() -> None:
    rows = [salesforce_contact(f"003{number}") for number in range(7)]
    async with world(CASES["Salesforce"]) as here:
        here.server.add(
            route(f"GET {DATA}/queryAll", salesforce_page(*rows[:5], next_=f"{DATA}/query/01gD-200")),
            route(f"GET {DATA}/query/01gD-200", salesforce_page(*rows[5:])),
        )
        listing = await drain(SALESFORCE, here.connection, "contacts", 2)
    assert listing.ids == [row["Id"] for row in rows]


async def test_salesforce_goes_on_from_the_last_moment_when_the_query_is_gone() -> None:
    last = "2026-02-28T10:00:00.000+0000"
    gone = salesforce.error(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    async with world(CASES["Salesforce"]) as here:
        here.server.add(
            route(
                f"GET {DATA}/queryAll",
                salesforce_page(
                    salesforce_contact("003A"),
                    salesforce_contact("003B", last),
                    next_=f"{DATA}/query/01gD-200",
                ),
                salesforce_page(salesforce_contact("003B", last), salesforce_contact("003C", last)),
            ),
            route(f"GET {DATA}/query/01gD-200", gone),
        )
        listing = await drain(SALESFORCE, here.connection, "contacts")
        assert "SystemModstamp >= 2026-02-28T10:00:00Z" in here.server.requests[-1].query["q"]
    assert listing.ids == ["003A", "003B", "003B", "003C"]


@pytest.mark.parametrize("link", ["https://evil.example.org/services/data", "//evil.example.org/x"])
async def test_salesforce_link_to_a_foreign_host_is_refused(link: str) -> None:
    async with world(CASES["Salesforce"]) as here:
        here.server.add(
            route(f"GET {DATA}/queryAll", salesforce_page(salesforce_contact("003A"), next_=link))
        )
        with pytest.raises(ProviderFailure, match="foreign host") as caught:
            await drain(SALESFORCE, here.connection, "contacts")
    assert caught.value.kind == "malformed"


async def test_salesforce_push_twice_makes_one_contact() -> None:
    """The second time the contact is found by its address."""
    person = PERSON | {"email": "o'hara@example.com"}
    row = salesforce_contact("003A", FirstName="Ada", LastName="Lovelace", Email="o'hara@example.com")
    async with world(CASES["Salesforce"]) as here:
        here.server.add(
            route(f"GET {DATA}/query", salesforce_page(), salesforce_page(row)),
            route(
                f"POST {DATA}/sobjects/Contact", Answer(201, {"id": "003A", "success": True, "errors": []})
            ),
        )
        request = PushRequest("contacts", "job-1/7", person)
        results = [await SALESFORCE.push_record(here.connection, request) for _ in range(2)]
        assert here.server.lines.count(f"POST {DATA}/sobjects/Contact") == 1
        assert "Email = 'o\\'hara@example.com'" in here.server.requests[0].query["q"]
    assert [result.external_id for result in results] == ["003A", "003A"]
    assert results[0].version == row["SystemModstamp"]


async def test_salesforce_push_by_external_id_is_one_request_whose_repeat_changes_nothing() -> None:
    answer = Answer(201, {"id": "003A", "success": True, "errors": [], "created": True})
    async with world(CASES["Salesforce"], changes={"externalIdField": "Hub_Key__c"}) as here:
        here.server.add(
            route(f"PATCH {DATA}/sobjects/Contact/Hub_Key__c/*", answer),
            route(f"GET {DATA}/query", salesforce_page(salesforce_contact("003A"))),
        )
        request = PushRequest("contacts", "job-1/7", {"lastName": "Lovelace"})
        for _ in range(2):
            assert (await SALESFORCE.push_record(here.connection, request)).external_id == "003A"
        paths = {request.path for request in here.server.requests if request.method == "PATCH"}
        assert len(paths) == 1


async def test_salesforce_push_does_not_overwrite_a_newer_contact() -> None:
    async with world(CASES["Salesforce"]) as here:
        here.server.add(
            route(f"PATCH {DATA}/sobjects/Contact/003A", Answer(412, [{"errorCode": "PRECONDITION_FAILED"}])),
            route(f"GET {DATA}/query", salesforce_page(salesforce_contact("003A", FirstName="Augusta"))),
        )
        request = PushRequest(
            "contacts", "k", PERSON, external_id="003A", if_version="2026-02-01T10:00:00.000+0000"
        )
        with pytest.raises(ProviderFailure, match="changed at the provider") as caught:
            await SALESFORCE.push_record(here.connection, request)
        assert here.server.requests[0].headers["if-unmodified-since"] == "Sun, 01 Feb 2026 10:00:00 GMT"
        with pytest.raises(ProviderFailure, match="changed at the provider"):
            await SALESFORCE.push_record(here.connection, replace(request, deleted=True))
    assert (caught.value.kind, caught.value.status) == ("rejected", 412)


async def test_salesforce_does_not_choose_among_contacts_with_one_address() -> None:
    async with world(CASES["Salesforce"]) as here:
        here.server.add(
            route(
                f"GET {DATA}/query", salesforce_page(salesforce_contact("003A"), salesforce_contact("003B"))
            )
        )
        with pytest.raises(ProviderFailure, match="several contacts"):
            await SALESFORCE.push_record(here.connection, PushRequest("contacts", "k", PERSON))
