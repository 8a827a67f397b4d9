"""Objects of one bucket, as a listing. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (1,000 a
page; keys that XML cannot carry come escaped when asked to). A listing knows no modified-since: what changed is told by
the ETag."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, unquote_plus
from xml.etree.ElementTree import Element

from domain.providers.contract import Connection, ProviderFailure, ProviderResponse
from domain.providers.records import ListPage, ListRequest, RecordType, SourceRecord, StreamProfile
from infra.providers._kit.paging import check_stream, cut, pack, unpack, whole
from infra.providers._kit.wire import moment, xml_document

PAGE_MAX = 1000
STREAMS = (StreamProfile("files", RecordType.FileObject, None, page_size=PAGE_MAX),)


class Fetch(Protocol):
    """A signed GET of the bucket with this query."""

    def __call__(
        self, connection: Connection, query: list[tuple[str, str]]
    ) -> Awaitable[ProviderResponse]: ...


async def list_objects(connection: Connection, request: ListRequest, fetch: Fetch) -> ListPage:
    """As the port says."""
    check_stream(STREAMS, request.stream)
    here = unpack(request.cursor) if request.cursor else {}
    size = str(min(request.limit, PAGE_MAX))
    query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", size)]
    if here.get("token"):
        query.append(("continuation-token", str(here["token"])))
    response = await fetch(connection, query)
    root = xml_document(response)
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise ProviderFailure("malformed", "The answer is not a list of objects.", status=response.status)
    page, again, rest = cut(root.findall("{*}Contents"), whole(here.get("skip", 0)), request.limit)
    address = connection.configuration.bucket_url
    escaped = root.findtext("{*}EncodingType") == "url"
    records = [_record(one, address, escaped=escaped) for one in page]
    if again is not None:
        return ListPage(records, pack(**{**here, "skip": again}))
    if root.findtext("{*}IsTruncated") != "true":
        return ListPage(records)
    token = root.findtext("{*}NextContinuationToken")
    if not token:
        raise ProviderFailure("malformed", "The list of objects ends without saying how it goes on.")
    return ListPage(records, pack(token=token, skip=rest))


def to_internal(record: SourceRecord) -> Mapping[str, Any]:
    """An object in the shape of FileRecord; a listing does not tell its content type."""
    row = record.data
    return {
        "path": row["path"],
        "sizeBytes": int(row["size"]),
        "etag": row.get("etag"),
        "url": row.get("url"),
    }


def _record(item: Element, address: str, *, escaped: bool) -> SourceRecord:
    key = item.findtext("{*}Key") or ""
    if escaped:
        key = unquote_plus(key)
    if not key:
        raise ProviderFailure("malformed", "The provider's answer lists an object without a key.")
    etag = (item.findtext("{*}ETag") or "").strip('"') or None
    data = {"path": key, "size": item.findtext("{*}Size"), "etag": etag, "url": f"{address}/{quote(key)}"}
    return SourceRecord(key, data, moment(item.findtext("{*}LastModified")), etag)
