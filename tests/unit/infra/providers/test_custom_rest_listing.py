"""Lists of declared REST APIs: every paging style ends where the list ends, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, ProviderResponse
from domain.providers.records import ListingRequest, SourceRecord
from infra.providers.custom_rest.configuration import CustomRestConfiguration
from infra.providers.custom_rest.records import RestRecords

BASE = "https://api.example/v1"
ROWS = [{"id": index, "at": "2026-01-01T00:00:00Z"} for index in range(1, 8)]
Answerer = Callable[[ProviderRequest, dict[str, str]], ProviderResponse]


def reply(body: Any, status: int = 200, **headers: str) -> ProviderResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ProviderResponse(status, named, json.dumps(body).encode(), 1)


class Api:
    """ProviderHttp that answers from a function, and keeps what it was asked."""

    def __init__(self, answer: Answerer) -> None:
        self._answer = answer
        self.asked: list[ProviderRequest] = []

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        self.asked.append(request)
        return self._answer(request, dict(request.params))

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        response = await self.send(request)
        assert response.status in (statuses or (200,)), response.status
        return response


def connected(answer: Answerer, paging: dict[str, Any], **fields: Any) -> tuple[Connection, Api]:
    configuration = {
        "baseUrl": BASE,
        "listRequest": {
            "path": "/rows",
            "recordsPointer": "/rows",
            "paging": paging,
            **fields.pop("list", {}),
        },
        **fields,
    }
    api = Api(answer)
    model = CustomRestConfiguration.model_validate(configuration)
    return Connection(model, api, datetime(2026, 3, 1, tzinfo=UTC)), api


async def listed(connection: Connection, limits: list[int], **fields: Any) -> list[SourceRecord]:
    """Return the whole list, fetched with the limits in turn; the last one repeats."""
    cursor, found = None, []
    for turn in range(30):
        request = ListingRequest("records", limits[min(turn, len(limits) - 1)], cursor, **fields)
        page = await RestRecords().list_records(connection, request)
        found += page.records
        if (cursor := page.next_cursor) is None:
            return found
    raise AssertionError("the list does not end")


def _ids(records: list[SourceRecord]) -> list[str]:
    return [record.external_id for record in records]


ALL = [str(row["id"]) for row in ROWS]


@pytest.mark.parametrize("limits", [[3], [4, 2, 1], [100]])
@pytest.mark.parametrize("first", [0, 1])
async def test_pages_are_counted_from_the_first_whatever_their_size(limits: list[int], first: int) -> None:
    def answer(request: ProviderRequest, query: dict[str, str]) -> ProviderResponse:
        size, page = int(query["per"]), int(query["p"]) - first
        rows = ROWS[page * size : (page + 1) * size]
        return reply({"rows": rows}) if rows else reply({"message": "no such page"}, 404)

    paging = {"style": "page", "parameter": "p", "sizeParameter": "per", "size": 50, "first": first}
    connection, _ = connected(answer, paging)
    assert _ids(await listed(connection, limits)) == ALL


async def test_an_api_that_gives_smaller_pages_than_asked_loses_nothing() -> None:
    def answer(request: ProviderRequest, query: dict[str, str]) -> ProviderResponse:
        start = int(query["skip"])
        return reply({"rows": ROWS[start : start + 2]}, x_total_count="7")

    paging = {"style": "offset", "parameter": "skip", "sizeParameter": "take", "size": 50}
    connection, _ = connected(answer, paging)
    assert _ids(await listed(connection, [50])) == ALL


async def test_a_cursor_ends_the_list_when_it_is_null() -> None:
    def answer(request: ProviderRequest, query: dict[str, str]) -> ProviderResponse:
        start = int(query.get("after", "0"))
        return reply({"rows": ROWS[start : start + 3], "next": start + 3 if start + 3 < len(ROWS) else None})

    connection, _ = connected(answer, {"style": "cursor", "parameter": "after", "cursorPointer": "/next"})
    assert _ids(await listed(connection, [100])) == ALL


async def test_links_are_followed_and_the_api_key_is_not_sent_twice_nor_kept() -> None:
    def answer(request: ProviderRequest, query: dict[str, str]) -> ProviderResponse:
        assert query["key"] == "k-1"
        if "page=2" in request.url:
            return reply({"rows": ROWS[4:]})
        link = f'<{BASE}/rows?page=2&key=k-1>; rel="next", <{BASE}/rows?page=9>; rel="last"'
        return reply({"rows": ROWS[:4]}, link=link)

    credentials = {"auth": "apiKey", "apiKey": "k-1", "apiKeyName": "key", "apiKeyIn": "query"}
    connection, api = connected(answer, {"style": "linkHeader"}, **credentials)
    page = await RestRecords().list_records(connection, ListingRequest("records", 100))
    assert "k-1" not in str(page.next_cursor)
    assert _ids(await listed(connection, [100])) == ALL
    assert "key=" not in api.asked[-1].url


async def test_credentials_go_to_no_other_host() -> None:
    connection, _ = connected(
        lambda request, query: reply({"rows": ROWS}, link='<https://thief.example/>; rel="next"'),
        {"style": "linkHeader"},
    )
    with pytest.raises(ProviderFailure) as failure:
        await listed(connection, [100])
    assert failure.value.kind == "malformed"


async def test_changes_are_asked_for_and_deletions_seen() -> None:
    rows = [{"id": "a", "gone": True, "at": "2026-01-01T00:00:00Z"}, {"id": None}, "odd"]
    connection, api = connected(
        lambda request, query: reply({"rows": rows}),
        {"style": "none"},
        list={"sinceParameter": "since", "modifiedPointer": "/at", "deletedPointer": "/gone"},
    )
    since = datetime(2026, 2, 1, 8, 30, tzinfo=UTC)
    found = await listed(connection, [100], since=since)
    assert dict(api.asked[0].params) == {"since": "2026-02-01T08:30:00Z"}
    assert [(record.external_id, record.deleted) for record in found] == [
        ("a", True),
        ("", False),
        ("", False),
    ]
    assert found[0].modified_at == datetime(2026, 1, 1, tzinfo=UTC)


async def test_an_answer_without_the_list_is_malformed() -> None:
    connection, _ = connected(lambda request, query: reply({"items": []}), {"style": "none"})
    with pytest.raises(ProviderFailure) as failure:
        await listed(connection, [100])
    assert failure.value.kind == "malformed"


def test_an_integration_without_a_list_has_no_streams() -> None:
    configuration = CustomRestConfiguration.model_validate({"baseUrl": BASE})
    assert RestRecords().streams_of(configuration) == ()
