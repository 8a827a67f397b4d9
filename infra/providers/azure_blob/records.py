"""Blobs of one container, as a listing.

https://learn.microsoft.com/rest/api/storageservices/list-blobs (5,000 a page, names that XML cannot carry come escaped
since version 2021-02-12). A listing knows no modified-since: what changed is told by the ETag.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, quote, unquote
from xml.etree.ElementTree import Element

from domain.providers.contract import (
    Connection,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    RecordStreams,
)
from domain.providers.records import ListingRequest, ListPage, RecordType, SourceRecord, StreamProfile
from infra.providers._kit.paging import check_stream, cut, pack, unpack, whole
from infra.providers._kit.storage_signing import encoded_query, sign_azure
from infra.providers._kit.wire import ErrorCodes, xml_document, xml_error_code

_PAGE_MAX = 5000
_STREAMS = (StreamProfile("files", RecordType.FileObject, None, page_size=_PAGE_MAX),)


_VERSION = "2021-12-02"

#: A 403 may mean a wrong key or an expired signature.
API = ErrorCodes(
    xml_error_code,
    unauthorized=frozenset(
        ("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation")
    ),
    success=(200, 201),
)


class AzureBlobs(RecordStreams):
    """The blobs of one container."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return _STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        row = record.data
        return {
            "path": row["path"],
            "sizeBytes": int(row["size"]),
            "contentType": row.get("contentType"),
            "etag": row.get("etag"),
            "url": row.get("url"),
        }

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(_STREAMS, request.stream)
        here = unpack(request.cursor) if request.cursor else {}
        query = [
            ("restype", "container"),
            ("comp", "list"),
            ("maxresults", str(min(request.limit, _PAGE_MAX))),
        ]
        if here.get("marker"):
            query.append(("marker", str(here["marker"])))
        response = await listed(connection, query)
        address, length = connection.configuration.address, len(response.body)
        return await connection.read(length, _page_of, response, here, request.limit, address)


def _page_of(response: ProviderResponse, here: Mapping[str, Any], limit: int, address: str) -> ListPage:
    root = xml_document(response)
    if root.tag != "EnumerationResults":
        raise ProviderFailure("malformed", "The answer is not a list of blobs.", status=response.status)
    # With a hierarchical namespace folders are listed too; they hold nothing.
    blobs = [
        blob
        for blob in root.iterfind("Blobs/Blob")
        if blob.findtext("Properties/ResourceType") != "directory"
    ]
    page, again, rest = cut(blobs, whole(here.get("skip", 0)), limit)
    records = [_record(blob, address) for blob in page]
    marker = root.findtext("NextMarker") or ""
    if again is not None:
        return ListPage(records, pack(**{**here, "skip": again}))
    return ListPage(records, pack(marker=marker, skip=rest) if marker.strip() else None)


async def listed(connection: Connection, query: list[tuple[str, str]]) -> ProviderResponse:
    """Return the answer to a listing with this query."""
    return await API.expect(connection, container_request(connection, "GET", "", query), 200)


def container_request(
    connection: Connection,
    method: str,
    path: str,
    query: list[tuple[str, str]] | None = None,
    *,
    headers: dict[str, str] | None = None,
    payload: bytes = b"",
) -> ProviderRequest:
    """Return a request with the credentials; `path` is below the container."""
    configuration = connection.configuration
    url = f"{configuration.address}{path}"
    query = list(query or ())
    sent = {"x-ms-version": _VERSION, **(headers or {})}
    if configuration.account_key is not None:
        key = base64.b64decode(configuration.account_key)
        account, now = configuration.account_name, connection.now
        sent = sign_azure(account, key, method, url, query=query, headers=sent, payload=payload, now=now)
    else:
        query += parse_qsl((configuration.sas_token or "").lstrip("?"), keep_blank_values=True)
    if query:
        url = f"{url}?{encoded_query(query)}"
    return ProviderRequest(method, url, headers=sent, body=payload)


def _record(blob: Element, address: str) -> SourceRecord:
    named = blob.find("Name")
    name = (named.text or "") if named is not None else ""
    if named is not None and named.get("Encoded") == "true":
        name = unquote(name)
    if not name:
        raise ProviderFailure("malformed", "The provider's answer lists a blob without a name.")
    etag = (blob.findtext("Properties/Etag") or "").strip('"') or None
    changed = blob.findtext("Properties/Last-Modified")
    data = {
        "path": name,
        "size": blob.findtext("Properties/Content-Length"),
        "contentType": blob.findtext("Properties/Content-Type"),
        "etag": etag,
        "url": f"{address}/{quote(name)}",
    }
    try:
        modified_at = parsedate_to_datetime(changed) if changed else None
    except ValueError:
        modified_at = None
    return SourceRecord(name, data, modified_at, etag)
