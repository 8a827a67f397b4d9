"""What one tenant does in a process changes nothing of what another tenant reads in it afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import httpx
import pytest
from icalendar import Component
from icalendar.timezone import tzp

from domain.core.acting_for import acting_for, acting_tenant
from domain.core.ports import OutboundError
from domain.oauth.ports import TokenRequest
from domain.providers.contract import Connection, ProviderFailure, RecordStreams
from domain.providers.records import ListingRequest, SourceRecord
from domain.providers.untrusted import UNPROTECTED
from domain.sync.records import EventRecord
from infra.outbound.client import OutboundClient
from infra.outbound.transport import OutboundTransport
from infra.providers._kit.circuit import OPEN_AFTER_FAILURES, Circuits, TenantHost
from infra.providers._kit.connection import HttpProviderConnections
from infra.providers._kit.token_endpoint import HttpTokenEndpoint
from infra.providers.ical.events import write_event
from infra.providers.registry import all_providers
from tests.worlds.builders import OTHER_TENANT, TENANT, FakeClock, settings_at
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW

HOSTILE, OTHER = str(TENANT), str(OTHER_TENANT)
SITE = "https://api.vendor.example"
Answer = tuple[int, dict[str, str], bytes]


def calendar(offset: str | None, zone: str = "Customized Time Zone", name: str = "a") -> bytes:
    zones = () if offset is None else (
        "BEGIN:VTIMEZONE", f"TZID:{zone}", "BEGIN:STANDARD", "DTSTART:19700101T000000",
        f"TZOFFSETFROM:{offset}", f"TZOFFSETTO:{offset}", "END:STANDARD", "END:VTIMEZONE",
    )  # fmt: skip
    event = (f"UID:{name}", "DTSTAMP:20260101T000000Z", f"DTSTART;TZID={zone}:20260701T140000", "SUMMARY:s")
    lines = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x", *zones, "BEGIN:VEVENT", *event, "END:VEVENT")
    return "\r\n".join((*lines, "END:VCALENDAR", "")).encode()


ROW = {
    "id": "1", "Id": "1", "sid": "SM1", "message_uuid": "m1", "transaction_info": {
    "transaction_id": "t1", "transaction_amount": {"currency_code": "USD", "value": "1.00"}, "transaction_status": "S",
    "transaction_initiation_date": "2026-02-28T10:00:00+0000", "transaction_updated_date": "2026-02-28T10:00:00+0000",
    },
    "MessageID": "p1", "email": "a@x.example", "created": 1772366400, "status": "delivered", "subject": "s",
    "summary": "s", "start": {"dateTime": "2026-03-02T10:00:00Z", "timeZone": "UTC"}, "amount": 100, "currency": "usd",
    "end": {"dateTime": "2026-03-02T11:00:00Z", "timeZone": "UTC"}, "SystemModstamp": "2026-01-01T00:00:00.000+0000",
    "properties": {"firstname": "Ann"}, "amount_money": {"amount": 100, "currency": "USD"}, "FirstName": "Ann",
    "created_at": "2026-02-28T10:00:00Z", "date_created": "Sat, 28 Feb 2026 10:00:00 +0000", "message_id": "m1",
    "date_received": "2026-02-28 10:00:00", "timestamp": 1772366400.5, "event": "delivered", "ReceivedAt":
    "2026-02-28T10:00:00Z", "@odata.etag": "1", "updated_at": "2026-02-28T10:00:00Z", "object": "charge",
    "message": {"headers": {"message-id": "m1"}}, "To": [{"Email": "a@x.example"}], "Status": "Sent", "to": "+1555",
    "from": "+1556", "recipient": "a@x.example", "Recipients": ["a@x.example"], "Subject": "s",
}  # fmt: skip
NAMES = (
    *(
        "items",
        "value",
        "records",
        "results",
        "data",
        "payments",
        "messages",
        "Messages",
        "transaction_details",
    ),
    *("charges", "rows"),
)
PAGE = {
    **{name: [ROW] for name in NAMES}, "id": "1", "name": "n", "object": "list", "done": True, "has_more": False,
    "total": 1, "TotalCount": 1, "total_pages": 1, "total_items": 1, "page": 1, "paging": {}, "next_page_uri": None,
    "nextSyncToken": "t", "@odata.deltaLink": f"{SITE}/next", "request_status": "SUCCESS", "access_token": "t",
    "token_type": "Bearer", "expires_in": 3600,
}  # fmt: skip
S3_PAGE = (
    b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated><Contents>'
    b"<Key>a.txt</Key><LastModified>2026-02-28T10:00:00.000Z</LastModified><ETag>&quot;1&quot;</ETag><Size>5</Size>"
    b"</Contents></ListBucketResult>"
)
BLOB_PAGE = (
    b"<EnumerationResults><Blobs><Blob><Name>a.txt</Name><Properties><Last-Modified>Sat, 28 Feb 2026 10:00:00 GMT"
    b"</Last-Modified><Etag>1</Etag><Content-Length>5</Content-Length></Properties></Blob></Blobs><NextMarker />"
    b"</EnumerationResults>"
)
LIST_OF_ROWS = json.dumps([ROW]).encode()
PAGES: dict[str, bytes] = {
    "iCal": calendar("-0300"),
    "S3": S3_PAGE,
    "AzureBlob": BLOB_PAGE,
    "SendGrid": LIST_OF_ROWS,
    "Mailgun": json.dumps(
        {"items": [ROW], "paging": {"next": f"{SITE}/v3/mg.example.org/events/next"}}
    ).encode(),
}
LISTING = {"listRequest": {"path": "/rows", "recordsPointer": "/items", "idPointer": "/id"}}


class Scripted(httpx.AsyncBaseTransport):
    """A provider of everybody, which answers each tenant as that tenant makes it."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], Answer]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        status, headers, body = self.answers[acting_tenant() or ""]()
        if status == 0:
            raise OutboundError("timeout", "The provider did not answer", 1)
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body), request=request)


async def at_once(seconds: float) -> None: ...


def internal(source: RecordStreams, stream: str, record: SourceRecord) -> object:
    try:
        return source.to_internal(stream, record)
    except ValueError as unreadable:
        return str(unreadable)


class Process:
    """What one process shares: the adapters, and the way out."""

    def __init__(self) -> None:
        self.vendor = Scripted()
        self.connections = HttpProviderConnections(lambda: self.vendor, FakeClock(NOW), at_once)

    def connection(self, name: str, tenant: str) -> Connection:
        case = CASES[name]
        extra = LISTING if name == "REST" else {}
        given = {**case.configuration(SITE), **extra}
        http = self.connections(
            account=f"integration of {tenant}",
            secrets=case.secrets,
            allow_tls_1_2=False,
            retries=1,
            work=replace(UNPROTECTED, tenant=tenant),
        )
        configuration = case.provider.profile.configuration.model_validate(given)
        return Connection(configuration, http, NOW, case.access_token)

    async def read(self, name: str, tenant: str, answer: Callable[[], Answer]) -> object:
        """What the tenant reads of its first stream: the records as the hub would store them, or the failure."""
        self.vendor.answers[tenant] = answer
        connection = self.connection(name, tenant)
        source = all_providers()[name].streams
        if source is None:
            try:
                return await all_providers()[name].probe(connection)
            except ProviderFailure as failure:
                return failure.kind, failure.detail
        (stream, *_) = source.streams_of(connection.configuration)
        try:
            page = await source.list_records(connection, ListingRequest(stream.name, 100))
        except ProviderFailure as failure:
            return failure.kind, failure.detail
        return [(record, internal(source, stream.name, record)) for record in page.records]


def good(name: str) -> Answer:
    return 200, {"content-type": "application/octet-stream"}, PAGES.get(name) or json.dumps(PAGE).encode()


def hostile() -> Iterator[Answer]:
    """What a tenant's own provider may answer: zones of its own, refusals, silence, rubbish, endless waits."""
    json_page = json.dumps(PAGE).replace("2026", "1999").replace("a@x", "evil@x").encode()
    yield from (
        (200, {}, body)
        for body in (
            *(calendar(offset, zone) for offset in ("+0900", "-1100") for zone in ZONES),
            *(json_page, S3_PAGE.replace(b"a.txt", b"evil"), BLOB_PAGE.replace(b"a.txt", b"evil")),
            *(b"", b"<html>", b"[" * 5_000, b"\xff\xfe", b'{"a":1' + b"0" * 5_000 + b"}"),
        )
    )
    yield from ((status, {}, b"") for status in (401, 403, 404, 302, *[500] * OPEN_AFTER_FAILURES))
    yield from ((0, {}, b"") for _ in range(OPEN_AFTER_FAILURES))
    yield 429, {"retry-after": "3600"}, b""


ZONES = ("Customized Time Zone", "Europe/Berlin", "W. Europe Standard Time", "/x.example/Europe/Berlin")


@pytest.mark.filterwarnings("ignore::icalendar.error.GloballyUniqueTZIDGuessed")
@pytest.mark.parametrize("name", CASES)
def test_records_read_after_a_hostile_run_equal_those_read_alone(name: str) -> None:
    alone = asyncio.run(Process().read(name, OTHER, lambda: good(name)))
    assert isinstance(alone, list) or all_providers()[name].streams is None

    async def after() -> object:
        process = Process()
        # GA4 signs each question it asks, which takes long.
        for answer in tuple(hostile())[:: 6 if name == "GA4" else 1]:
            await process.read(name, HOSTILE, lambda answer=answer: answer)  # type: ignore[misc]
        return await process.read(name, OTHER, lambda: good(name))

    assert asyncio.run(after()) == alone


@pytest.mark.filterwarnings("ignore::icalendar.error.GloballyUniqueTZIDGuessed")
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("offset", ["+0100", None])
def test_a_zone_means_in_a_calendar_what_it_means_alone(zone: str, offset: str | None) -> None:
    async def starts(process: Process, tenant: str, offset: str | None) -> object:
        return await process.read("iCal", tenant, lambda: (200, {}, calendar(offset, zone)))

    async def both() -> tuple[object, object]:
        alone = await starts(Process(), OTHER, offset)
        process = Process()
        for evil in ("+0900", "-1100", "+1300"):
            await starts(process, HOSTILE, evil)
        return alone, await starts(process, OTHER, offset)

    alone, after = asyncio.run(both())
    assert after == alone


@pytest.mark.parametrize("separator", ["\r\n", "\n", "\r\n ", "\r"])
def test_a_recurrence_rule_brings_no_zone_into_the_process(separator: str) -> None:
    zone = f"Zone behind {separator.encode().hex()}"
    lines = calendar("+0900", zone).decode().split("\r\n")
    defined = separator.join(lines[lines.index("BEGIN:VTIMEZONE") : lines.index("END:VTIMEZONE") + 1])
    event = EventRecord.model_validate(
        {
            "title": "t",
            "startsAt": NOW,
            "endsAt": NOW,
            "recurrence": [f"RRULE:FREQ=DAILY{separator}{defined}"],
        },
        by_alias=True,
    )
    with pytest.raises(ProviderFailure) as refused:
        write_event(event, "u", NOW)
    assert refused.value.kind == "rejected"
    assert tzp.timezone(zone) is None


def test_names_that_a_calendar_invents_are_not_remembered() -> None:
    def remembered() -> int:
        return len(Component._get_component_factory())

    before = remembered()
    odd = "".join(f"BEGIN:X-{n}\r\nEND:X-{n}\r\n" for n in range(200)).encode()
    body = calendar("+0900").replace(b"BEGIN:VEVENT", odd + b"BEGIN:VEVENT")
    assert isinstance(asyncio.run(Process().read("iCal", HOSTILE, lambda: (200, {}, body))), list)
    assert remembered() == before


def test_a_host_that_fails_for_one_tenant_is_asked_for_another() -> None:
    circuits = Circuits(count(0.0, 0.001).__next__)
    for _ in range(OPEN_AFTER_FAILURES):
        circuits.failed(TenantHost(HOSTILE, SITE))
    while circuits.take_retry(TenantHost(HOSTILE, SITE)):
        pass
    assert circuits.admit(TenantHost(HOSTILE, SITE)) is not None
    assert circuits.admit(TenantHost(OTHER, SITE)) is None
    assert circuits.take_retry(TenantHost(OTHER, SITE))


def test_hosts_without_end_take_up_a_bounded_memory_and_forget_no_tenant_that_calls() -> None:
    circuits = Circuits(count(0.0, 0.001).__next__)
    for _ in range(OPEN_AFTER_FAILURES):
        circuits.failed(TenantHost(OTHER, SITE))
    for number in range(10_000):
        circuits.admit(TenantHost(HOSTILE, f"https://{number}.example"))
        circuits.pause(TenantHost(HOSTILE, f"https://{number}.example"), "a", 3600)
        if number % 1_000 == 0:
            assert circuits.state(TenantHost(OTHER, SITE)) == "open"
            circuits.admit(TenantHost(OTHER, SITE))
    assert len(circuits) <= 2 * 4_096


def token_request(tenant: str) -> TokenRequest:
    return TokenRequest(f"{SITE}/token", {"grant_type": "refresh_token"}, f"integration of {tenant}", tenant)


def test_an_authorization_server_that_one_tenant_names_and_ends_answers_another() -> None:
    vendor = Scripted()
    endpoint = HttpTokenEndpoint(lambda: vendor, FakeClock(NOW))
    vendor.answers = {HOSTILE: lambda: (503, {}, b""), OTHER: lambda: (200, {}, b'{"access_token":"t"}')}
    for _ in range(OPEN_AFTER_FAILURES + 1):
        try:
            endpoint.post(token_request(HOSTILE))
        except ProviderFailure as failure:
            assert failure.kind == "unavailable"
    assert endpoint.post(token_request(OTHER)).body == {"access_token": "t"}


async def test_no_request_goes_by_a_connection_that_was_opened_for_another_tenant(tmp_path: Path) -> None:
    """A server may take what it was sent before for a part of what comes next."""
    opened: list[list[bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads: list[bytes] = []
        opened.append(heads)
        while head := await reader.readuntil(b"\r\n\r\n"):
            heads.append(head)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: session=1\r\n\r\nok")
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = OutboundClient(settings_at(tmp_path, environment="development"))
    try:
        for tenant in (HOSTILE, OTHER, HOSTILE, OTHER):
            with acting_for(tenant):
                await client.post(url, {"x-tenant": tenant}, b"", 5)
                request = httpx.Request("GET", url, headers={"x-tenant": tenant})
                await OutboundTransport(client).handle_async_request(request)
    finally:
        await client.close()
        server.close()
    assert len(opened) == 2
    for heads in opened:
        assert len({head.split(b"x-tenant: ")[1][:36] for head in heads}) == 1
        assert not any(b"cookie" in head.lower() for head in heads)
