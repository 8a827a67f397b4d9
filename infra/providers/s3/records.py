"""Objects of one bucket, as a listing.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (1,000 a page; keys that XML cannot carry come
escaped when asked to). A listing knows no modified-since: what changed is told by the ETag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote_plus
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
from infra.providers._kit.storage_signing import AwsCredentials, encoded_query, sign_aws
from infra.providers._kit.wire import ErrorCodes, moment, xml_document, xml_error_code

_PAGE_MAX = 1000
_STREAMS = (StreamProfile("files", RecordType.FileObject, None, page_size=_PAGE_MAX),)


#: S3 answers 403, and 400 for session tokens, where others answer 401.
API = ErrorCodes(
    xml_error_code,
    unauthorized=frozenset(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidSecurity")
    ),
    statuses=(400, 403),
)


class S3Objects(RecordStreams):
    """The objects of one bucket."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return _STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        """Return an object in the shape of FileRecord; a listing does not tell its content type."""
        row = record.data
        return {
            "path": row["path"],
            "sizeBytes": int(row["size"]),
            "etag": row.get("etag"),
            "url": row.get("url"),
        }

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(_STREAMS, request.stream)
        here = unpack(request.cursor) if request.cursor else {}
        size = str(min(request.limit, _PAGE_MAX))
        query = [("list-type", "2"), ("encoding-type", "url"), ("max-keys", size)]
        if here.get("token"):
            query.append(("continuation-token", str(here["token"])))
        response = await listed(connection, query)
        address, length = connection.configuration.bucket_url, len(response.body)
        return await connection.read(length, _page_of, response, here, request.limit, address)


def _page_of(response: ProviderResponse, here: Mapping[str, Any], limit: int, address: str) -> ListPage:
    root = xml_document(response)
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise ProviderFailure("malformed", "The answer is not a list of objects.", status=response.status)
    page, again, rest = cut(root.findall("{*}Contents"), whole(here.get("skip", 0)), limit)
    escaped = root.findtext("{*}EncodingType") == "url"
    records = [_record(item, address, escaped=escaped) for item in page]
    if again is not None:
        return ListPage(records, pack(**{**here, "skip": again}))
    if root.findtext("{*}IsTruncated") != "true":
        return ListPage(records)
    token = root.findtext("{*}NextContinuationToken")
    if not token:
        raise ProviderFailure("malformed", "The list of objects ends without saying how it goes on.")
    return ListPage(records, pack(token=token, skip=rest))


async def listed(connection: Connection, query: list[tuple[str, str]]) -> ProviderResponse:
    """Return the answer to a listing with this query."""
    return await API.expect(connection, bucket_request(connection, "GET", "", query))


def bucket_request(
    connection: Connection,
    method: str,
    path: str,
    query: list[tuple[str, str]] | None = None,
    *,
    payload: bytes = b"",
) -> ProviderRequest:
    """Return a signed request; `path` is below the bucket."""
    configuration = connection.configuration
    credentials = AwsCredentials(
        configuration.access_key_id,
        configuration.secret_access_key,
        configuration.region,
        session_token=configuration.session_token,
    )
    url = f"{configuration.bucket_url}{path}"
    headers = sign_aws(credentials, method, url, query=query or (), payload=payload, now=connection.now)
    return ProviderRequest(
        method, f"{url}?{encoded_query(query)}" if query else url, headers=headers, body=payload
    )


def _record(item: Element, address: str, *, escaped: bool) -> SourceRecord:
    key = item.findtext("{*}Key") or ""
    if escaped:
        key = unquote_plus(key)
    if not key:
        raise ProviderFailure("malformed", "The provider's answer lists an object without a key.")
    etag = (item.findtext("{*}ETag") or "").strip('"') or None
    data = {"path": key, "size": item.findtext("{*}Size"), "etag": etag, "url": f"{address}/{quote(key)}"}
    return SourceRecord(key, data, moment(item.findtext("{*}LastModified")), etag)
