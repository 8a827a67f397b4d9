"""Blobs of one container, as a listing. https://learn.microsoft.com/rest/api/storageservices/list-blobs (5,000 a page,
names that XML cannot carry come escaped since version 2021-02-12). A listing knows no modified-since: what changed is
told by the ETag."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element

from domain.providers.contract import Connection, ProviderFailure, ProviderResponse
from domain.providers.records import ListPage, ListRequest, RecordType, SourceRecord, StreamProfile
from infra.providers._kit.paging import check_stream, cut, pack, unpack, whole
from infra.providers._kit.wire import xml_document

PAGE_MAX = 5000
STREAMS = (StreamProfile("files", RecordType.FileObject, None, page_size=PAGE_MAX),)


class Fetch(Protocol):
    """A signed GET of the container with this query."""

    def __call__(
        self, connection: Connection, query: list[tuple[str, str]]
    ) -> Awaitable[ProviderResponse]: ...


async def list_blobs(connection: Connection, request: ListRequest, fetch: Fetch, address: str) -> ListPage:
    """As the port says. `address` is the container's, to which names are appended."""
    check_stream(STREAMS, request.stream)
    here = unpack(request.cursor) if request.cursor else {}
    query = [("restype", "container"), ("comp", "list"), ("maxresults", str(min(request.limit, PAGE_MAX)))]
    if here.get("marker"):
        query.append(("marker", str(here["marker"])))
    response = await fetch(connection, query)
    root = xml_document(response)
    if root.tag != "EnumerationResults":
        raise ProviderFailure("malformed", "The answer is not a list of blobs.", status=response.status)
    # With a hierarchical namespace folders are listed too; they hold nothing.
    blobs = [
        one for one in root.iterfind("Blobs/Blob") if one.findtext("Properties/ResourceType") != "directory"
    ]
    page, again, rest = cut(blobs, whole(here.get("skip", 0)), request.limit)
    records = [_record(blob, address) for blob in page]
    marker = (root.findtext("NextMarker") or "").strip()
    if again is not None:
        return ListPage(records, pack(**{**here, "skip": again}))
    return ListPage(records, pack(marker=marker, skip=rest) if marker else None)


def to_internal(record: SourceRecord) -> Mapping[str, Any]:
    """A blob in the shape of FileRecord."""
    row = record.data
    return {
        "path": row["path"],
        "sizeBytes": int(row["size"]),
        "contentType": row.get("contentType"),
        "etag": row.get("etag"),
        "url": row.get("url"),
    }


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
