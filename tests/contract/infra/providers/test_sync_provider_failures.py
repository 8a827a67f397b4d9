"""Every provider that lists behaves alike when the provider does not do as documented."""

from typing import Any

import pytest

from domain.providers.contract import Capability, ProviderFailure
from domain.providers.records import ListingRequest, PushRequest
from infra.providers.registry import all_providers
from tests.fixtures.scripted_server import Answer, Route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import world
from tests.worlds.sync_drain import streams

LISTED = ("AzureBlob", "Google", "HubSpot", "Outlook", "S3", "Salesforce", "iCal")
KINDS = {401: "unauthorized", 403: "forbidden", 429: "rate_limited", 500: "unavailable"}
EVERY = pytest.mark.parametrize("name", LISTED)
NOT_PAGES: list[Any] = [b"", b"<html>", b"{}", b"[]", {"items": 1, "value": 1, "records": 1, "results": 1}]
ROWS: list[Any] = [1, None, "x", {}, {"id": None}]


async def failing(name: str, answer: Answer) -> ProviderFailure:
    source = streams(name)
    async with world(CASES[name]) as here:
        (stream,) = source.streams_of(here.connection.configuration)
        here.server.always = answer
        with pytest.raises(ProviderFailure) as caught:
            await source.list_records(here.connection, ListingRequest(stream.name, 10))
    for secret in CASES[name].secrets:
        assert secret not in f"{caught.value!r}"
    return caught.value


@EVERY
@pytest.mark.parametrize("status", sorted(KINDS))
async def test_refusals_have_their_kind(name: str, status: int) -> None:
    answer = CASES[name].errors.get(status, Answer(status, {}))
    failure = await failing(name, answer)
    assert (failure.kind, failure.status) == (CASES[name].kinds.get(status, KINDS[status]), status)


@EVERY
@pytest.mark.parametrize("page", NOT_PAGES)
async def test_an_answer_that_is_no_page_is_malformed(name: str, page: Any) -> None:
    assert (await failing(name, Answer(200, page))).kind == "malformed"


#: What each provider's page holds beside its list, at the end of it.
LAST_PAGES: dict[str, dict[str, Any]] = {
    "Google": {"nextSyncToken": "t"},
    "HubSpot": {"total": 0},
    "Outlook": {"@odata.deltaLink": "/next"},
    "Salesforce": {"done": True},
}


@pytest.mark.parametrize("name", LAST_PAGES)
async def test_a_list_that_is_null_or_left_out_of_a_page_is_an_empty_one(name: str) -> None:
    absent = dict.fromkeys(("items", "results", "value", "records"))
    async with world(CASES[name]) as here:
        for page in (LAST_PAGES[name], LAST_PAGES[name] | absent):
            here.server.always = Answer(200, page)
            (stream,) = streams(name).streams_of(here.connection.configuration)
            listed = await streams(name).list_records(here.connection, ListingRequest(stream.name, 10))
            assert (list(listed.records), listed.next_cursor, listed.is_complete) == ([], None, True)


@pytest.mark.parametrize("name", LAST_PAGES)
@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_content_ends_the_list_and_deletes_nothing(name: str, status: int) -> None:
    async with world(CASES[name]) as here:
        here.server.always = Answer(status)
        (stream,) = streams(name).streams_of(here.connection.configuration)
        listed = await streams(name).list_records(here.connection, ListingRequest(stream.name, 10))
    assert (list(listed.records), listed.next_cursor, listed.next_state) == ([], None, None)
    assert name == "HubSpot" or not listed.is_complete


@pytest.mark.parametrize("name", ["Google", "HubSpot", "Outlook", "Salesforce"])
async def test_a_row_without_an_id_costs_no_other(name: str) -> None:
    good = {"id": "a", "Id": "a", "subject": "s", "SystemModstamp": "2026-01-01T00:00:00.000+0000"}
    rows = [*ROWS, good]
    good |= {"properties": {}}
    page = {"items": rows, "value": rows, "records": rows, "done": True, "nextSyncToken": "t"}
    page |= {"results": rows}
    async with world(CASES[name]) as here:
        here.server.always = Answer(200, page | {"@odata.deltaLink": f"{here.server.address}/next"})
        (stream,) = streams(name).streams_of(here.connection.configuration)
        listed = await streams(name).list_records(here.connection, ListingRequest(stream.name, 10))
    assert [record.external_id for record in listed.records] == ["", "", "", "", "", "a"]


@EVERY
async def test_streams_that_are_not_there_are_refused(name: str) -> None:
    async with world(CASES[name]) as here:
        for call in (
            streams(name).list_records(here.connection, ListingRequest("nonsense", 10)),
            streams(name).push_record(here.connection, PushRequest("nonsense", "k", {})),
        ):
            with pytest.raises(ProviderFailure) as caught:
                await call
            assert caught.value.kind == "rejected"
        assert here.server.requests == []


@EVERY
async def test_capabilities_say_what_the_streams_do(name: str) -> None:
    capabilities = all_providers()[name].profile.capabilities
    assert Capability.Import in capabilities
    async with world(CASES[name]) as here:
        listed = streams(name).streams_of(here.connection.configuration)
    # A published calendar takes nothing; the calendar of a CalDAV server does.
    exports = any(stream.exportable for stream in listed) or name == "iCal"
    assert (Capability.Export in capabilities) == exports


def test_providers_that_list_nothing_are_known() -> None:
    assert {name for name, provider in all_providers().items() if provider.streams is None} == {
        "Segment",
        "GA4",
    }


@pytest.mark.parametrize("name", ["Google", "HubSpot", "Outlook", "Salesforce"])
async def test_deleting_what_was_never_there_is_done(name: str) -> None:
    async with world(CASES[name]) as here:
        (stream,) = streams(name).streams_of(here.connection.configuration)
        here.server.add(
            Route("GET", "/*", (Answer(200, {"value": []}),)), Route("DELETE", "/*", (Answer(404, {}),))
        )
        result = await streams(name).push_record(
            here.connection, PushRequest(stream.name, "k", {}, deleted=True)
        )
    assert result.external_id
