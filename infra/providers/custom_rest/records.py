"""Listing the records of a declared REST API: pages, offsets, cursors and links (RFC 8288)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

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
from infra.providers._kit.wire import basic, document, moment, text_at
from infra.providers.custom_rest import configuration as declared

_MOST_BYTES = 64 * 1024 * 1024
_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"[^\"]*\"|[^\",;]*))?)*)")
_NEXT = re.compile(r";\s*rel\s*=\s*(?:\"[^\"]*\bnext\b[^\"]*\"|next\b)", re.IGNORECASE)


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
        asked, position = _request_for(configuration.list_request, base, request)
        response = await connection.http.expect(asked, 200, *((404,) if position.get("at") else ()))
        return _page_of(configuration, configuration.list_request, position, response)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        raise ProviderFailure("rejected", "A declared API takes no records from here.")


def _request_for(
    wanted: declared.ListRequest, base: ProviderRequest, request: ListingRequest
) -> tuple[ProviderRequest, dict[str, Any]]:
    """Return the request of a page, from one that carries path and credentials; and the position it stands for."""
    position: dict[str, Any] = json.loads(request.cursor) if request.cursor else {"at": 0}
    if "link" in position:
        return replace(base, url=position["link"], max_response_bytes=_MOST_BYTES), position
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
    asked = replace(base, params={**params, **dict(base.params)}, max_response_bytes=_MOST_BYTES)
    return asked, {**position, "size": size}


def _page_of(
    configuration: declared.CustomRestConfiguration,
    wanted: declared.ListRequest,
    position: dict[str, Any],
    response: ProviderResponse,
) -> ListPage:
    """Return the records of an answer, and where the list goes on. Raises ProviderFailure (malformed)."""
    is_beyond = response.status == 404 and position.get("at", 0) > 0
    body: Any = [] if is_beyond else response.json()
    found = [] if is_beyond else value_at(body, wanted.records_pointer)
    if not isinstance(found, list):
        raise ProviderFailure("malformed", "The answer holds no list at recordsPointer.")
    following = None if is_beyond else _following(configuration, position, response, body, count=len(found))
    total = response.headers.get("x-total-count", "")
    return ListPage(
        records=[_record(wanted, row) for row in found],
        next_cursor=json.dumps(following) if following is not None else None,
        total=int(total) if total.isascii() and total.isdecimal() and len(total) < 10 else None,
    )


def _following(
    configuration: declared.CustomRestConfiguration,
    position: dict[str, Any],
    response: ProviderResponse,
    body: Any,
    *,
    count: int,
) -> dict[str, Any] | None:
    """Return the next position, None at the end.

    Pages and offsets end with an empty page: a short one may only be a smaller page than was asked for."""
    assert configuration.list_request is not None
    paging = configuration.list_request.paging
    match paging.style:
        case "page":
            return {"at": position["at"] + position["size"]} if count else None
        case "offset":
            return {"at": position["at"] + count} if count else None
        case "cursor":
            cursor = value_at(body, paging.cursor_pointer or "")
            is_over = cursor is None or cursor == "" or isinstance(cursor, bool | list | dict)
            return None if is_over else {"cursor": str(cursor)}
        case "linkHeader":
            link = _next_link(response.headers.get("link", ""))
            return {"link": _same_origin(configuration, link)} if link else None
        case _:
            return None


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


def _next_link(header: str) -> str | None:
    return next((url for url, rest in _LINK.findall(header) if _NEXT.search(rest)), None)


def _same_origin(configuration: declared.CustomRestConfiguration, link: str) -> str:
    """Make the link absolute and free it of the API key, which each request brings itself.

    Credentials go nowhere but to the configured host."""
    base = urlsplit(configuration.base_url)
    parts = urlsplit(urljoin(configuration.base_url + "/", link))
    if (parts.scheme, parts.netloc) != (base.scheme, base.netloc):
        raise ProviderFailure("malformed", "The list goes on at another host, which gets no credentials.")
    pairs: Sequence[tuple[str, str]] = parse_qsl(parts.query, keep_blank_values=True)
    if configuration.auth == "apiKey" and configuration.api_key_in == "query":
        pairs = [pair for pair in pairs if pair[0] != configuration.api_key_name]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(pairs), ""))


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
