"""A calendar whose time zone changes every second stopped the process that read it, and every tenant in it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from domain.providers.contract import Connection, ProviderFailure
from domain.providers.records import ListingRequest, SourceRecord
from infra.providers.ical.adapter import PROVIDER as ICAL
from infra.untrusted.pool import WorkPool
from tests.worlds.heartbeat import beating
from tests.worlds.untrusted_world import connected_to, process_ids, work_pool

MEGABYTE = 1024 * 1024
PERIOD = "DTSTART:{begin}\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\n{rule}\r\n"
ORDINARY = "BEGIN:VEVENT\r\nUID:mine\r\nDTSTART:20260301T100000Z\r\nSUMMARY:Mine\r\nEND:VEVENT\r\n"


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkPool]:
    with work_pool(seconds=20) as pool:
        yield pool


def calendar(*parts: str) -> bytes:
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{''.join(parts)}END:VCALENDAR\r\n".encode()


def in_zone(rule: str, begin: str = "19700101T000000", periods: int = 1) -> str:
    period = f"BEGIN:DAYLIGHT\r\n{PERIOD.format(begin=begin, rule=rule)}END:DAYLIGHT\r\n"
    event = "BEGIN:VEVENT\r\nUID:timed\r\nDTSTART;TZID=Mine:20260301T100000\r\nEND:VEVENT\r\n"
    return f"BEGIN:VTIMEZONE\r\nTZID:Mine\r\n{period * periods}END:VTIMEZONE\r\n{event}"


def feed(body: bytes, pool: WorkPool, tenant: str = "a") -> Connection:
    configuration = {"feedUrl": "https://calendars.example/feed.ics"}
    return connected_to(ICAL, configuration, lambda _: httpx.Response(200, content=body), pool, tenant=tenant)


async def records_of(connection: Connection) -> list[SourceRecord]:
    page = await ICAL.streams.list_records(connection, ListingRequest("events", 1000))
    return list(page.records)


ZONES = {
    "every second": in_zone("RRULE:FREQ=SECONDLY"),
    "a second of every minute": in_zone("RRULE:FREQ=MINUTELY;COUNT=99999999"),
    "never, until the year 9999": in_zone(
        "RRULE:FREQ=YEARLY;COUNT=9;BYMONTH=2;BYMONTHDAY=30", "00010101T000000"
    ),
    "an interval of nothing": in_zone("RRULE:FREQ=YEARLY;INTERVAL=0"),
    "every second of the days of a year": in_zone(
        "RRULE:FREQ=YEARLY;BYYEARDAY=1;BYHOUR=1,2,3;BYMINUTE=1,2,3;BYSECOND=1,2,3"
    ),
    "every day, for ever": in_zone(
        "RRULE:FREQ=YEARLY;UNTIL=99990101T000000Z;BYMONTHDAY=" + ",".join(map(str, range(1, 32)))
    ),
    "a thousand periods of one name": in_zone("", periods=1000),
    "two thousand single dates": in_zone(
        "RDATE:" + ",".join(f"19700101T{n // 3600:02}{n // 60 % 60:02}{n % 60:02}" for n in range(2001))
    ),
}


@pytest.mark.parametrize("zone", ZONES.values(), ids=list(ZONES))
async def test_a_time_zone_that_changes_too_often_costs_its_own_events_alone(
    zone: str, pool: WorkPool
) -> None:
    async with beating() as heartbeat:
        found = await asyncio.wait_for(records_of(feed(calendar(zone, ORDINARY), pool)), 20)
    told = {record.external_id: record.data for record in found}
    assert told["mine"]["summary"] == "Mine"
    assert told["timed"] == {"problem": "an event that cannot be read"}
    assert heartbeat.is_steady, heartbeat


#: What is refused as a whole.
FLOODS = {
    "components": calendar("BEGIN:VTODO\r\nEND:VTODO\r\n" * 51_000),
    "levels": b"BEGIN:VCALENDAR\r\n" + b"BEGIN:X\r\n" * 100_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=list(FLOODS))
async def test_a_flooded_calendar_is_refused_and_holds_up_nobody(flood: bytes, pool: WorkPool) -> None:
    async with beating() as heartbeat:
        with pytest.raises(ProviderFailure, match="more than") as caught:
            await asyncio.wait_for(records_of(feed(flood, pool)), 20)
    assert caught.value.is_lasting
    assert heartbeat.is_steady, heartbeat


async def test_a_calendar_that_takes_too_long_is_given_up_while_another_tenants_is_read() -> None:
    days = "20260301T100000Z," * 450_000
    flood = calendar(
        f"BEGIN:VEVENT\r\nUID:a\r\nDTSTART:20260301T100000Z\r\nEXDATE:{days}", "\r\nEND:VEVENT\r\n"
    )

    async def others() -> int:
        done = 0
        while not attack.done():
            assert len(await records_of(feed(calendar(ORDINARY * 300), pool, "b"))) == 1
            done += 1
        return done

    with work_pool(seconds=2.5) as pool:
        async with beating() as heartbeat:
            attack = asyncio.ensure_future(records_of(feed(flood, pool)))
            await asyncio.sleep(1.0)
            attacked = process_ids()
            done = await asyncio.wait_for(others(), 40)
        failure: Any = attack.exception()
        assert isinstance(failure, ProviderFailure)
        assert (failure.is_lasting, failure.detail) == (
            True,
            "The provider's answer cannot be read. Reading it took more than 2.5 s.",
        )
        assert done >= 1
        assert attacked - process_ids()  # the process was ended
    assert heartbeat.is_steady, heartbeat


@pytest.mark.parametrize(
    "lines",
    [b"\n" * MEGABYTE, b"\r\n \r\n\t" * (MEGABYTE // 6), b"A" + b";QUOTED-PRINTABLE" * (MEGABYTE // 17)],
    ids=["empty lines", "folds", "parameters"],
)
async def test_lines_without_end_are_unfolded_in_no_more_time_than_they_are_long(
    lines: bytes, pool: WorkPool
) -> None:
    body = b"BEGIN:VCALENDAR\r\n" + lines + b"\r\n" + ORDINARY.encode() + b"END:VCALENDAR\r\n"
    async with beating() as heartbeat:
        found = await asyncio.wait_for(records_of(feed(body, pool)), 20)
    assert [record.external_id for record in found] == ["mine"]
    assert heartbeat.is_steady, heartbeat
