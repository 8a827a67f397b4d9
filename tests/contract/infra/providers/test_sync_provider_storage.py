"""Listings of Azure Blob Storage and Amazon S3: documented answers, and real servers where they are installed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

from domain.providers.contract import ProviderFailure, ProviderRequest
from domain.providers.records import PushRequest
from domain.sync.records import FileRecord
from infra.providers.azure_blob.adapter import PROVIDER as BLOB_PROVIDER
from infra.providers.s3.adapter import PROVIDER as S3_PROVIDER
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.azure_blob_peer import blob, make_container, sas
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_peers import connected
from tests.worlds.provider_world import world
from tests.worlds.sync_drain import drain, internal, streams

BLOB = streams("AzureBlob")
S3 = streams("S3")

NAMES = ["a b+c.csv", "folder/ü%41.csv", "x'&<>\".csv", *(f"n/{number:02}.csv" for number in range(7))]


def blobs(*names: str, marker: str = "") -> Answer:
    """https://learn.microsoft.com/rest/api/storageservices/list-blobs#response-body"""
    rows = "".join(
        f"<Blob><Name>{name}</Name><Properties><Last-Modified>Fri, 27 Feb 2026 10:00:00 GMT</Last-Modified>"
        f"<Etag>0x8D{number}</Etag><Content-Length>{number + 10}</Content-Length>"
        "<Content-Type>text/csv</Content-Type><BlobType>BlockBlob</BlobType></Properties></Blob>"
        for number, name in enumerate(names)
    )
    text = (
        '\ufeff<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="events">'
        f"<Blobs>{rows}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
    )
    return Answer(200, text.encode(), {"content-type": "application/xml"})


def objects(*keys: str, token: str = "") -> Answer:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html#API_ListObjectsV2_ResponseSyntax"""
    rows = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-02-27T10:00:00.000Z</LastModified>"
        f"<ETag>&quot;9b2cf{number}&quot;</ETag><Size>{number + 10}</Size></Contents>"
        for number, key in enumerate(keys)
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<EncodingType>url</EncodingType><IsTruncated>{'true' if token else 'false'}</IsTruncated>{more}{rows}"
        "</ListBucketResult>"
    )
    return Answer(200, text.encode(), {"content-type": "application/xml"})


async def test_blobs_come_marker_after_marker() -> None:
    async with world(CASES["AzureBlob"]) as here:
        here.server.add(route("GET /events", blobs("a.csv", "b c.csv", marker="2!68"), blobs("c.csv")))
        listing = await drain(BLOB, here.connection, "files", 2)
        asked = [
            (request.query["maxresults"], request.query.get("marker")) for request in here.server.requests
        ]
        record = internal(BLOB, here.connection, "files", listing.records[1])
        assert isinstance(record, FileRecord)
        assert record.url == f"{here.server.address}/events/b%20c.csv"
    assert asked == [("2", None), ("2", "2!68")]
    assert listing.ids == ["a.csv", "b c.csv", "c.csv"]
    assert (record.path, record.size_bytes, record.content_type) == ("b c.csv", 11, "text/csv")
    assert (listing.records[1].version, listing.state) == ("0x8D1", None)
    assert listing.records[1].modified_at == datetime(2026, 2, 27, 10, tzinfo=UTC)


async def test_blobs_of_a_page_without_any_go_on() -> None:
    """A page may hold nothing and still name the next."""
    async with world(CASES["AzureBlob"]) as here:
        here.server.add(route("GET /events", blobs(marker="2!68"), blobs("c.csv")))
        assert (await drain(BLOB, here.connection, "files")).ids == ["c.csv"]


async def test_blob_names_that_xml_cannot_carry_and_folders() -> None:
    encoded = blobs("x")
    text = encoded.body.replace(b"<Name>x", b'<Name Encoded="true">a%EF%BF%BEb')
    folder = blobs("dir").body.replace(b"<BlobType>", b"<ResourceType>directory</ResourceType><BlobType>")
    async with world(CASES["AzureBlob"]) as here:
        here.server.add(route("GET /events", Answer(200, text)))
        assert (await drain(BLOB, here.connection, "files")).ids == ["a\ufffeb"]
        here.server.add(route("GET /events", Answer(200, folder)))
        assert (await drain(BLOB, here.connection, "files")).ids == []


async def test_objects_come_token_after_token() -> None:
    async with world(CASES["S3"]) as here:
        here.server.add(route("GET /contoso", objects("a.csv", "b+c%2B.csv", token="t=="), objects("c.csv")))
        listing = await drain(S3, here.connection, "files", 2)
        asked = [
            (request.query["max-keys"], request.query.get("continuation-token"))
            for request in here.server.requests
        ]
        record = internal(S3, here.connection, "files", listing.records[1])
    assert asked == [("2", None), ("2", "t==")]
    assert listing.ids == ["a.csv", "b c+.csv", "c.csv"]
    assert isinstance(record, FileRecord)
    assert (record.path, record.size_bytes, record.etag) == ("b c+.csv", 11, "9b2cf1")
    assert listing.records[1].version == "9b2cf1"


async def test_a_list_of_objects_that_does_not_say_how_it_goes_on_is_malformed() -> None:
    cut_off = objects("a.csv").body.replace(b">false<", b">true<")
    async with world(CASES["S3"]) as here:
        here.server.add(route("GET /contoso", Answer(200, cut_off)))
        with pytest.raises(ProviderFailure) as caught:
            await drain(S3, here.connection, "files")
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize("name", ["AzureBlob", "S3"])
async def test_stores_take_no_records(name: str) -> None:
    async with world(CASES[name]) as here:
        with pytest.raises(ProviderFailure, match="takes no records") as caught:
            await streams(name).push_record(here.connection, PushRequest("files", "k", {"path": "a"}))
        assert here.server.requests == []
    assert caught.value.kind == "rejected"


@pytest.mark.azure
@pytest.mark.parametrize("limit", [3, 100])
async def test_blobs_of_a_real_store_all_come(azurite: str, limit: int) -> None:
    await make_container(azurite, "listing")
    async with connected(BLOB_PROVIDER, blob(azurite, "listing")) as connection:
        for name in NAMES:
            # A signature in the query, as the address in a header's would be written differently by each side.
            url = f"{azurite}/listing/{quote(name, safe='')}?{sas()}"
            headers = {
                "x-ms-version": "2021-12-02",
                "x-ms-blob-type": "BlockBlob",
                "content-type": "text/csv",
            }
            await connection.http.expect(ProviderRequest("PUT", url, headers=headers, body=b"x"), 201)
        listing = await drain(BLOB, connection, "files", limit)
        record = internal(BLOB, connection, "files", listing.records[0])
    assert sorted(listing.ids) == sorted(NAMES)
    assert len(listing.pages) >= len(NAMES) / limit
    assert isinstance(record, FileRecord)
    assert (record.size_bytes, record.content_type) == (1, "text/csv")


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, Any]]:
    """Address of an S3 server with the bucket `listing`, and a client of another make."""
    pytest.importorskip("moto.server", reason="moto, an S3 server, is not installed (80 MB with botocore)")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    address = f"http://127.0.0.1:{port}"
    keys = {"aws_access_key_id": "hub", "aws_secret_access_key": "hub-secret"}
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys)
    try:
        # Whether keys are checked is kept by the process, and other tests switch it on.
        headers = {"Content-Type": "text/plain"}
        urlopen(Request(f"{address}/moto-api/reset-auth", data=b"inf", headers=headers)).close()
        client.create_bucket(Bucket="listing")
        yield address, client
    finally:
        server.stop()


@pytest.mark.parametrize("limit", [3, 100])
async def test_objects_of_a_real_store_all_come(bucket: tuple[str, Any], limit: int) -> None:
    address, client = bucket
    for name in NAMES:
        client.put_object(Bucket="listing", Key=name, Body=b"x")
    given = {"bucket": "listing", "baseUrl": address, "accessKeyId": "hub", "secretAccessKey": "hub-secret"}
    async with connected(S3_PROVIDER, given) as connection:
        listing = await drain(S3, connection, "files", limit)
        record = internal(S3, connection, "files", listing.records[0])
    assert sorted(listing.ids) == sorted(NAMES)
    assert len(listing.pages) >= len(NAMES) / limit
    assert isinstance(record, FileRecord)
    assert record.size_bytes == 1
    client.put_object(Bucket="listing", Key=NAMES[0], Body=b"changed")
    async with connected(S3_PROVIDER, given) as connection:
        again = await drain(S3, connection, "files", limit)
    before = {record.external_id: record.version for record in listing.records}
    assert [
        record.external_id for record in again.records if record.version != before[record.external_id]
    ] == [NAMES[0]]
