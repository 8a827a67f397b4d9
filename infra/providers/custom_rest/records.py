"""Listing the records of a declared REST API: pages, offsets, cursors and links (RFC 8288)."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote_plus

from domain.core.json_text import read_json
from domain.providers.contract import (
    Connection,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    RecordStreams,
)
from domain.providers.records import (
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    RecordType,
    SourceRecord,
    StreamProfile,
)
from infra.providers._kit.paging import NOTHING, PAGE, linked
from infra.providers._kit.reading import HERE_BYTES, check_values
from infra.providers._kit.wire import basic, document, moment, text_at
from infra.providers.custom_rest import configuration as declared

_MOST_BYTES = 64 * 1024 * 1024
_LINK = re.compile(r"<([^<>]*)>(\s*;(?:[^<\",]|\"[^\"]*\")*)?")
_PARAMETER = re.compile(r";\s*([^\s=;,]+)\s*=\s*(?:\"([^\"]*)\"|([^\",;\s]*))")
#: Of pages and offsets after the first: there is no such page, or row.
_PAST_THE_END = (400, 404, 416)
_REFUSAL_READ = 2_000
_LIMIT = re.compile(r"maximum|\bmax\b|\blimit|at most|window is too large|less than or equal", re.IGNORECASE)
_NO_SUCH_PAGE = re.compile(r"page|offset|range|skip|no more", re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"(?:[a-z]+ )?[0-9]{1,12}-([0-9]{1,12})/([0-9]{1,12})", re.IGNORECASE)


class RestRecords(RecordStreams):
    """The records of the declared list."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        wanted = configuration.list_request
        if wanted is None:
            return ()
        return (
            StreamProfile(
                "records",
                RecordType.Generic,
                incremental="since" if wanted.since_parameter else None,
                lists_deletions=wanted.deleted_pointer is not None,
                page_size=wanted.paging.size,
            ),
        )

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return {"fields": dict(record.data)}

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        configuration: declared.CustomRestConfiguration = connection.configuration
        if configuration.list_request is None:
            raise ProviderFailure("rejected", "This integration declares no list.")
        base = await authorized(connection, "GET", configuration.list_request.path)
        asked, position = _request_for(configuration, configuration.list_request, base, request)
        ends = _PAST_THE_END if position.get("at") else ()
        response = await connection.http.expect(asked, *PAGE, *ends)
        await asyncio.to_thread(check_values, response.body)
        page = _Page(configuration.list_request, position, response, _Site.of(configuration), asked.url)
        return await connection.read(len(response.body), _page_of, page, small=HERE_BYTES)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        raise ProviderFailure("rejected", "A declared API takes no records from here.")


def _request_for(
    configuration: declared.CustomRestConfiguration,
    wanted: declared.ListRequest,
    base: ProviderRequest,
    request: ListingRequest,
) -> tuple[ProviderRequest, dict[str, Any]]:
    """Return the request of a page, from one that carries path and credentials; and the position it stands for."""
    position: dict[str, Any] = json.loads(request.cursor) if request.cursor else {"at": 0}
    if "link" in position:
        # The base URL may be another since the link was given: the credentials do not go back there.
        link = linked(configuration.base_url, position["link"])
        return replace(base, url=link, max_response_bytes=_MOST_BYTES, reads_apart=True), position
    paging = wanted.paging
    size = min(request.limit, paging.size)
    if paging.style == "page":
        size = _divisor(position["at"], size) if paging.size_parameter else paging.size
    params = dict(wanted.parameters)
    if wanted.since_parameter and request.since is not None:
        params[wanted.since_parameter] = request.since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if paging.size_parameter:
        params[paging.size_parameter] = str(size)
    if paging.style == "page":
        params[paging.parameter or ""] = str(paging.first + position["at"] // size)
    elif paging.style == "offset":
        params[paging.parameter or ""] = str(position["at"])
    elif paging.style == "cursor" and "cursor" in position:
        params[paging.parameter or ""] = position["cursor"]
    asked = replace(
        base, params={**params, **dict(base.params)}, max_response_bytes=_MOST_BYTES, reads_apart=True
    )
    return asked, {**position, "size": size}


@dataclass(frozen=True, slots=True)
class _Site:
    """What the address of a next page is made with: all of the configuration that may go to another process."""

    base_url: str
    key_parameter: str | None

    @classmethod
    def of(cls, configuration: declared.CustomRestConfiguration) -> _Site:
        is_in_query = configuration.auth == "apiKey" and configuration.api_key_in == "query"
        return cls(configuration.base_url, configuration.api_key_name if is_in_query else None)


@dataclass(frozen=True, slots=True)
class _Page:
    """An answer, and what it answers: the position it stands for and the address without the credentials."""

    wanted: declared.ListRequest
    position: dict[str, Any]
    response: ProviderResponse
    site: _Site
    url: str


@dataclass(frozen=True, slots=True)
class _ReadPage:
    """What an answer says. `is_whole`: what it lacks counts as deleted; `problem` is told once."""

    body: Any
    rows: Sequence[Any]
    is_whole: bool = True
    problem: str | None = None


def _page_of(page: _Page) -> ListPage:
    """Return the records of an answer, and where the list goes on. Raises ProviderFailure (malformed)."""
    wanted, position, response = page.wanted, page.position, page.response
    total = _total(response)
    if response.status in NOTHING:
        # 304: what is there did not change, and says nothing about what is gone.
        answer = _ReadPage(None, (), is_whole=response.status == 204)
    elif response.status in _PAST_THE_END:
        answer = _past_the_end(position, response)
    else:
        answer = _read(wanted, response, total)
    following = None
    if answer.body is not None:
        following = _following(page, answer)
        if following is not None and "at" in following and total is not None:
            following["total"] = total
    return ListPage(
        records=[_record(wanted, row) for row in answer.rows],
        next_cursor=json.dumps(following) if following is not None else None,
        total=total,
        is_complete=answer.is_whole and answer.problem is None,
        problem=answer.problem,
    )


def _past_the_end(position: dict[str, Any], response: ProviderResponse) -> _ReadPage:
    """Read the refusal of a page after the first. 404 and 416 are ends; 400 may also be a limit of the API's own."""
    if response.status != 400:
        return _ReadPage(None, ())
    said = response.text()[:_REFUSAL_READ]
    is_reached = position["at"] >= position.get("total", math.inf) or position.get("short") is True
    if not is_reached and _LIMIT.search(said):
        return _ReadPage(None, (), problem="The API refuses to list further than this (400).")
    return _ReadPage(None, (), is_whole=is_reached or _NO_SUCH_PAGE.search(said) is not None)


def _read(wanted: declared.ListRequest, response: ProviderResponse, total: int | None) -> _ReadPage:
    """Return the rows of a page; a list that is null, or left out where nothing stands in its place, is empty.

    Raises ProviderFailure (malformed)."""
    body = response.json()
    found = value_at(body, wanted.records_pointer)
    if isinstance(found, list):
        part = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        if wanted.paging.style == "none" and part and int(part[1]) + 1 < int(part[2]):
            return _ReadPage(
                body, found, problem="The API gave a part of the list, and no paging is declared."
            )
        return _ReadPage(body, found)
    if found is None and body is None:
        return _ReadPage([], ())
    is_empty = (found is None and isinstance(body, dict)) or found == {} or body == []
    if not is_empty or _says_otherwise(body, wanted.records_pointer):
        raise ProviderFailure("malformed", "The answer holds no list at recordsPointer.")
    return _ReadPage(body, (), is_whole=_is_null(body, wanted.records_pointer))


def _says_otherwise(body: Any, pointer: str) -> bool:
    """Return whether an answer without the list tells of an error, or has rows in another place."""
    places = [body, value_at(body, pointer.rpartition("/")[0])]
    members = [member for place in places if isinstance(place, dict) for member in place.items()]
    return any(
        (name.lower() in ("error", "errors") and bool(value))
        or (isinstance(value, list) and any(isinstance(row, dict) for row in value))
        for name, value in members
    )


def _is_null(body: Any, pointer: str) -> bool:
    parent, _, name = pointer.rpartition("/")
    place = value_at(body, parent)
    return isinstance(place, dict) and name.replace("~1", "/").replace("~0", "~") in place


def _total(response: ProviderResponse) -> int | None:
    """Return how many records there are, where a header says so."""
    part = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
    names = ("x-total-count", "x-wp-total")
    told = [response.headers.get(name, "") for name in names] + ([part[2]] if part else [])
    return next((int(text) for text in told if text.isascii() and text.isdecimal() and len(text) < 10), None)


def _following(page: _Page, answer: _ReadPage) -> dict[str, Any] | None:
    """Return the next position, None at the end.

    Pages and offsets end with an empty page: a short one may only be a smaller page than was asked for."""
    paging, count, position, response = page.wanted.paging, len(answer.rows), page.position, page.response
    short = {"short": True} if 0 < count < position.get("size", 0) else {}
    match paging.style:
        case "page":
            return {"at": position["at"] + position["size"], **short} if count else None
        case "offset":
            return {"at": position["at"] + count, **short} if count else None
        case "cursor":
            cursor = _cursor(response, answer.body, paging.cursor_pointer or "")
            return {"cursor": cursor} if cursor is not None else None
        case "linkHeader":
            link = next_link(response.headers.get("link", ""))
            return {"link": _own_link(page.site, link, page.url)} if link else None
        case _:
            return None


def _cursor(response: ProviderResponse, body: Any, pointer: str) -> str | None:
    """Return the next cursor as it is written, None at the end of the list: 0 leads nowhere but to the beginning."""
    cursor = value_at(body, pointer)
    if isinstance(cursor, float):
        cursor = getattr(value_at(read_json(response.text()), pointer), "text", None)
    if cursor is None or isinstance(cursor, bool | list | dict) or str(cursor) in ("", "0"):
        return None
    return str(cursor)


def _record(wanted: declared.ListRequest, value: Any) -> SourceRecord:
    """Read a record. One that is no object, or has no id, is refused by the engine on its own."""
    data: Mapping[str, Any] = value if isinstance(value, dict) else {"value": value}
    reference = value_at(value, wanted.id_pointer)
    is_usable = isinstance(reference, str | int) and not isinstance(reference, bool)
    return SourceRecord(
        external_id=str(reference) if is_usable else "",
        data=data,
        modified_at=_modified(value, wanted.modified_pointer),
        deleted=wanted.deleted_pointer is not None and bool(value_at(value, wanted.deleted_pointer)),
    )


def _modified(value: Any, pointer: str | None) -> datetime | None:
    return moment(value_at(value, pointer)) if pointer is not None else None


def _divisor(offset: int, most: int) -> int:
    """Return the largest page size up to `most` whose pages begin at the offset."""
    return next(size for size in range(most, 0, -1) if offset % size == 0)


def next_link(header: str) -> str | None:
    """Return the target of the link that is `rel="next"` and about this page, as it is written (RFC 8288)."""
    for target, rest in _LINK.findall(header):
        parameters = {
            name.lower(): quoted or plain for name, quoted, plain in reversed(_PARAMETER.findall(rest))
        }
        if "next" in parameters.get("rel", "").lower().split() and "anchor" not in parameters:
            return str(target)
    return None


def _own_link(site: _Site, link: str, page_url: str) -> str:
    """Return the address of the next page without the API key, which each request brings itself."""
    address = linked(site.base_url, link, page_url)
    if site.key_parameter is None:
        return address
    path, _, query = address.partition("?")
    kept = [pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) != site.key_parameter]
    return f"{path}?{'&'.join(kept)}" if any(kept) else path


@lru_cache(1_000)
def _names(pointer: str) -> tuple[str, ...]:
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def value_at(value: Any, pointer: str) -> Any:
    """Return what a JSON pointer (RFC 6901) leads to, None where it ends early."""
    for name in _names(pointer):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isascii() and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


async def authorized(
    connection: Connection, method: str, path: str, body: dict[str, Any] | None = None
) -> ProviderRequest:
    """Return a request with the configured headers and credentials."""
    configuration: declared.CustomRestConfiguration = connection.configuration
    request = ProviderRequest(
        method,
        f"{configuration.base_url}{path}",
        headers={"accept": "application/json", **configuration.headers},
        json=body,
    )
    match configuration.auth:
        case "apiKey" if configuration.api_key_in == "query":
            return replace(request, params={configuration.api_key_name: configuration.api_key or ""})
        case "apiKey":
            credential = {configuration.api_key_name: configuration.api_key or ""}
        case "basic":
            credential = {"authorization": basic(configuration.username or "", configuration.password or "")}
        case "bearer":
            credential = {"authorization": f"Bearer {configuration.bearer_token}"}
        case "clientCredentials":
            credential = {"authorization": f"Bearer {await _client_token(connection)}"}
        case _:
            return request
    return replace(request, headers={**request.headers, **credential})


async def _client_token(connection: Connection) -> str:
    configuration: declared.CustomRestConfiguration = connection.configuration
    client, secret = configuration.client_id or "", configuration.client_secret or ""
    form, headers = {"grant_type": "client_credentials"}, {"accept": "application/json"}
    if configuration.scope:
        form["scope"] = configuration.scope
    if configuration.client_authentication == "basic":
        # RFC 6749 section 2.3.1: form-encoded before they are joined.
        headers["authorization"] = basic(quote(client, safe=""), quote(secret, safe=""))
    else:
        form |= {"client_id": client, "client_secret": secret}
    request = ProviderRequest(
        "POST", configuration.token_url or "", headers=headers, form=form, idempotent=True
    )
    response = await connection.http.expect(request, 200, 400)
    if response.status == 400:  # RFC 6749 section 5.2: a client that is refused
        raise ProviderFailure("unauthorized", _oauth_error(response.body), status=400)
    return text_at(document(response), "access_token")


def _oauth_error(body: bytes) -> str:
    try:
        code = value_at(json.loads(body), "/error")
    except (ValueError, RecursionError):
        code = None
    shown = code if isinstance(code, str) and code.isidentifier() else "no reason given"
    return f"The token endpoint refused the client: {shown}."
