"""A page of small lists kept the event loop, and every tenant, for as long as it took to read: seconds a megabyte."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from domain.providers.contract import Connection, ProviderFailure
from domain.providers.records import ListingRequest, ListPage
from infra.providers.custom_rest.adapter import PROVIDER as REST
from infra.providers.ical.adapter import PROVIDER as ICAL
from infra.providers.s3.adapter import PROVIDER as S3
from infra.providers.stripe.adapter import PROVIDER as STRIPE
from infra.untrusted.pool import WorkPool
from tests.worlds.heartbeat import beating
from tests.worlds.untrusted_world import connected_to, work_pool

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkPool]:
    with work_pool(seconds=20) as pool:
        yield pool


def answering(body: bytes, type_: str = "application/json", status: int = 200) -> Callable[..., Any]:
    return lambda _: httpx.Response(status, content=body, headers={"content-type": type_})


def rest(body: bytes, pool: WorkPool, type_: str = "application/json") -> Connection:
    configuration = {
        "baseUrl": "https://api.example",
        "auth": "none",
        "listRequest": {
            "path": "/rows",
            "recordsPointer": "",
            "idPointer": "/id",
            "paging": {"style": "none"},
        },
    }
    return connected_to(REST, configuration, answering(body, type_), pool)


def stripe(body: bytes, pool: WorkPool) -> Connection:
    return connected_to(STRIPE, {"apiKey": "sk_test_" + "4eC39HqLyjWDarjtT1zdp7dc"}, answering(body), pool)


def bucket(body: bytes, pool: WorkPool) -> Connection:
    configuration = {
        "bucket": "bucket",
        "region": "eu-central-1",
        "accessKeyId": "AKIDEXAMPLE",
        "secretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    }
    return connected_to(S3, configuration, answering(body, "application/xml"), pool)


def dav(body: bytes, pool: WorkPool) -> Connection:
    configuration = {"serverUrl": "https://dav.example", "username": "a", "password": "secret"}
    return connected_to(ICAL, configuration, answering(body, "application/xml", 207), pool)


def rows_of_rest(body: bytes, pool: WorkPool) -> Awaitable[ListPage]:
    return REST.streams.list_records(rest(body, pool), ListingRequest("records", 1000))


def rows_of_stripe(body: bytes, pool: WorkPool) -> Awaitable[ListPage]:
    return STRIPE.streams.list_records(stripe(body, pool), ListingRequest("payments", 100))


def objects_of_s3(body: bytes, pool: WorkPool) -> Awaitable[ListPage]:
    return S3.streams.list_records(bucket(body, pool), ListingRequest("objects", 1000))


def calendars_of_dav(body: bytes, pool: WorkPool) -> Awaitable[Any]:
    return ICAL.validate_credentials(dav(body, pool))


BOMBS = {
    "lists of a declared API": (rows_of_rest, b"[" + b"[]," * (21 * MEGABYTE) + b"0]"),
    "objects of a declared API": (rows_of_rest, b"[" + b"{}," * (2 * MEGABYTE) + b"0]"),
    "depth of a declared API": (rows_of_rest, b"[" * MEGABYTE + b"]" * MEGABYTE),
    "numbers of a declared API": (rows_of_rest, b"[" + b"1.5," * (15 * MEGABYTE) + b"0]"),
    "rows of a provider": (rows_of_stripe, b'{"has_more":false,"data":[' + b"{}," * 400_000 + b"{}]}"),
    "values of a provider": (rows_of_stripe, b'{"data":[' + b"[[]]," * MEGABYTE + b"{}]}"),
    "depth of a provider": (rows_of_stripe, b'{"data":' + b"[" * MEGABYTE),
    "elements of XML": (objects_of_s3, b"<r>" + b"<a/>" * (2 * MEGABYTE) + b"</r>"),
    "depth of XML": (objects_of_s3, b"<a>" * MEGABYTE),
    "entities of XML": (
        calendars_of_dav,
        b'<!DOCTYPE a [<!ENTITY b "bb">]><a>' + b"&b;" * MEGABYTE + b"</a>",
    ),
    "parts of a multistatus": (
        calendars_of_dav,
        b"<multistatus>" + b"<response><href>" * 400_000 + b"</multistatus>",
    ),
}


@pytest.mark.parametrize(("read", "body"), BOMBS.values(), ids=list(BOMBS))
async def test_a_page_that_explodes_fails_and_holds_up_nobody(
    read: Callable[[bytes, WorkPool], Awaitable[Any]], body: bytes, pool: WorkPool
) -> None:
    async with beating() as heartbeat:
        with pytest.raises(ProviderFailure) as caught:
            await asyncio.wait_for(read(body, pool), 20)
    assert caught.value.kind in ("malformed", "rejected")
    assert heartbeat.is_steady, heartbeat


async def test_a_page_as_large_as_it_may_be_is_read_beside_the_loop(pool: WorkPool) -> None:
    row = b'{"id":%d,"name":"' + b"x" * 300 + b'","tags":["a","b"]}'
    body = b"[" + b",".join(row % number for number in range(20_000)) + b"]"
    async with beating() as heartbeat:
        page = await rows_of_rest(body, pool)
    assert [record.external_id for record in page.records] == [str(number) for number in range(20_000)]
    assert page.records[7].data["tags"] == ["a", "b"]
    assert heartbeat.is_steady, heartbeat


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "x-nobody-knows-this"])
async def test_a_charset_whose_decoding_never_ends_is_not_used(charset: str, pool: WorkPool) -> None:
    body = b'[{"id":1,"name":"' + b"a-9" * 30_000 + b'"}]'
    async with beating() as heartbeat:
        connection = rest(body, pool, f"application/json; charset={charset}")
        page = await asyncio.wait_for(
            REST.streams.list_records(connection, ListingRequest("records", 1000)), 20
        )
    assert page.records[0].data["name"] == "a-9" * 30_000
    assert heartbeat.is_steady, heartbeat
