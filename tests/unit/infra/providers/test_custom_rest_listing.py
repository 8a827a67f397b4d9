"""Lists of declared REST APIs: every paging style ends where the list ends, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, ProviderResponse
from domain.providers.records import ListingRequest, ListPage, SourceRecord
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


async def page(answer: ProviderResponse, style: str = "none", **fields: Any) -> ListPage:
    parameter = {"parameter": "p"} if style in ("page", "offset") else {}
    connection, _ = connected(lambda request, query: answer, {"style": style, **parameter}, **fields)
    return await RestRecords().list_records(connection, ListingRequest("records", 100))


@pytest.mark.parametrize(
    ("body", "pointer", "is_complete"),
    [
        ({"rows": []}, "/rows", True),
        ({"rows": None, "total": 0}, "/rows", True),
        ({"page": {"rows": None}}, "/page/rows", True),
        (None, "", True),
        ({"total": 0}, "/rows", False),
        ({"rows": {}}, "/rows", True),
        ({"page": {"total": 0}, "errors": []}, "/page/rows", False),
        ({"page": None, "tags": ["a"]}, "/page/rows", False),
        ({}, "", False),
        ([], "/rows", False),
    ],
)
async def test_a_list_that_is_null_or_left_out_is_empty_and_only_a_null_one_deletes(
    body: Any, pointer: str, is_complete: bool
) -> None:
    found = await page(reply(body), list={"recordsPointer": pointer})
    assert (list(found.records), found.next_cursor, found.is_complete) == ([], None, is_complete)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"items": [{"id": 1}]}, "/rows"),
        ({"rows": "none"}, "/rows"),
        ({"rows": {"id": 1}}, "/rows"),
        ({"rows": None, "errors": [{"message": "the backend is down"}]}, "/rows"),
        ({"error": "the backend is down"}, "/rows"),
        ({"message": "hello"}, ""),
        ("text", "/rows"),
    ],
)
async def test_an_answer_with_something_else_in_place_of_the_list_is_malformed(
    body: Any, pointer: str
) -> None:
    with pytest.raises(ProviderFailure, match="no list at recordsPointer") as failure:
        await page(reply(body), list={"recordsPointer": pointer})
    assert failure.value.kind == "malformed"


@pytest.mark.parametrize(("status", "is_complete"), [(204, True), (304, False)])
async def test_an_answer_without_content_is_the_end_and_one_without_changes_deletes_nothing(
    status: int, is_complete: bool
) -> None:
    found = await page(ProviderResponse(status, {}, b"", 1))
    assert (list(found.records), found.next_cursor, found.is_complete) == ([], None, is_complete)


@pytest.mark.parametrize(
    ("style", "content_range", "is_complete", "total"),
    [
        ("none", "0-6/7", True, 7),
        ("none", "items 0-6/20", False, 20),
        ("none", "0-6/*", True, None),
        ("none", "", True, None),
        ("offset", "0-6/20", True, 20),
    ],
)
async def test_a_partial_answer_is_a_page_and_the_whole_list_only_if_it_says_so(
    style: str, content_range: str, is_complete: bool, total: int | None
) -> None:
    found = await page(reply({"rows": ROWS}, 206, content_range=content_range), style)
    assert (_ids(list(found.records)), found.is_complete, found.total) == (ALL, is_complete, total)
    assert (found.problem is None) == is_complete


#: What comes after a first page of two rows, and what becomes of the list.
REFUSED = [
    (404, {}, 2, {}, "end"),
    (416, {}, 2, {}, "end"),
    (400, {"code": "rest_post_invalid_page_number"}, 2, {}, "end"),
    (400, {"message": "No such offset"}, 2, {}, "end"),
    (400, {}, 2, {"x_total_count": "2"}, "end"),
    (400, {}, 3, {}, "end"),
    (400, {"message": "Bad request"}, 2, {}, "may lack something"),
    (400, {"message": "Only a maximum offset of 2 is allowed"}, 2, {}, "told"),
    (400, {"message": "A maximum page of 2"}, 2, {"x_total_count": "2"}, "end"),
]


@pytest.mark.parametrize("style", ["page", "offset"])
@pytest.mark.parametrize(("status", "body", "size", "headers", "outcome"), REFUSED)
async def test_a_refused_page_after_the_first_is_an_end_unless_it_is_a_limit_of_the_api(
    style: str, status: int, body: Any, size: int, headers: dict[str, str], outcome: str
) -> None:
    def answer(request: ProviderRequest, query: dict[str, str]) -> ProviderResponse:
        is_first = query["p"] == ("1" if style == "page" else "0")
        return reply({"rows": ROWS[:2]}, **headers) if is_first else reply(body, status)

    paging = {"style": style, "parameter": "p", "sizeParameter": "n", "size": size}
    connection, _ = connected(answer, paging)
    first = await RestRecords().list_records(connection, ListingRequest("records", 100))
    last = await RestRecords().list_records(connection, ListingRequest("records", 100, first.next_cursor))
    assert (list(last.records), last.next_cursor) == ([], None)
    assert (last.is_complete, last.problem is not None) == (outcome == "end", outcome == "told")


@pytest.mark.parametrize("style", ["cursor", "linkHeader"])
@pytest.mark.parametrize("status", [400, 404, 416])
async def test_a_refused_page_is_no_end_where_the_list_says_how_it_goes_on(style: str, status: int) -> None:
    def answer(request: ProviderRequest, query: dict[str, str]) -> ProviderResponse:
        if "more" in query or "more" in request.url:
            return reply({}, status)
        return reply({"rows": ROWS, "next": "more"}, link='<?more>; rel="next"')

    more = {"parameter": "more", "cursorPointer": "/next"} if style == "cursor" else {}
    connection, _ = connected(answer, {"style": style, **more})
    with pytest.raises(AssertionError, match=str(status)):
        await listed(connection, [100])


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ('"a/b+c=="', "a/b+c=="),
        ('"%2Fa%00"', "%2Fa%00"),
        ("1700000000.1234567891", "1700000000.1234567891"),
        ("1e2", "1e2"),
        ("12345678901234567890", "12345678901234567890"),
        ("0", None),
        ('"0"', None),
        ("false", None),
        ("[]", None),
    ],
)
async def test_a_cursor_is_sent_as_it_is_written_and_zero_is_an_end(written: str, sent: str | None) -> None:
    text = f'{{"rows": [], "next": {written}}}'.encode()
    connection, api = connected(
        lambda request, query: ProviderResponse(200, {}, text if len(query) == 0 else b'{"rows": []}', 1),
        {"style": "cursor", "parameter": "c", "cursorPointer": "/next"},
    )
    await listed(connection, [100])
    assert [dict(request.params).get("c") for request in api.asked[1:]] == ([sent] if sent else [])


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("<?page=2&c=%FF%fe+~>; rel=next", f"{BASE}/rows?page=2&c=%FF%fe+~"),
        ('<other?page=2>; title="rel=prev"; rel="last next"', f"{BASE}/other?page=2"),
        (f'<{BASE}/rows?page=2&key=k&b=%20&k%65y=x>; rel="NEXT"', f"{BASE}/rows?page=2&b=%20"),
        ("<?key=k-1>; rel=next", f"{BASE}/rows"),
        ('<http://api.example/v1/rows?page=2>; rel="next"', f"{BASE}/rows?page=2"),
        ('<?page=2>; rel="next-archive"', None),
        ('<?page=2>; rel="prev"; title="; rel=next"', None),
        ('<?page=2>; rel="next"; anchor="/other"', None),
    ],
)
async def test_links_keep_their_bytes_but_the_api_key(header: str, asked: str | None) -> None:
    def answer(request: ProviderRequest, query: dict[str, str]) -> ProviderResponse:
        return reply({"rows": []}, **({"link": header} if len(api.asked) == 1 else {}))

    credentials = {"auth": "apiKey", "apiKey": "k-1", "apiKeyName": "key", "apiKeyIn": "query"}
    connection, api = connected(answer, {"style": "linkHeader"}, **credentials)
    await listed(connection, [100])
    assert [request.url for request in api.asked[1:]] == ([asked] if asked else [])


def test_an_integration_without_a_list_has_no_streams() -> None:
    configuration = CustomRestConfiguration.model_validate({"baseUrl": BASE})
    assert RestRecords().streams_of(configuration) == ()
