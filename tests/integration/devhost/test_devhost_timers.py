"""Schedules, and timers moved by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import azure.functions as func
import pytest

from devhost.errors import HostError
from devhost.invocation import Invocations
from devhost.loading import Function
from devhost.schedule import parse_schedule, parse_timespan
from devhost.timers import TimerLock, Timers

NOON = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)  # a Monday


class MovedClock:
    def __init__(self) -> None:
        self.moment = NOON

    def now(self) -> datetime:
        return self.moment


class Host:
    """A timer function `f` on a schedule, and the moments at which it ran."""

    def __init__(self, home: Path, schedule: str, **binding: object) -> None:
        self.clock = MovedClock()
        self.requests: list[func.TimerRequest] = []
        self.release = asyncio.Event()
        self.release.set()
        trigger = {"type": "timerTrigger", "name": "timer", "schedule": schedule, **binding}
        function = Function("f", "timerTrigger", trigger, self._run, True, False, (), str(home))
        pool = ThreadPoolExecutor(1)
        self.timers = Timers(functions=[function], home=home, clock=self.clock, invocations=Invocations(pool))

    async def _run(self, timer: func.TimerRequest) -> None:
        self.requests.append(timer)
        await self.release.wait()

    async def at(self, moment: datetime) -> int:
        """How often it has run once what is due at `moment` was fired."""
        self.clock.moment = moment
        self.timers.fire_due()
        for _ in range(5):
            await asyncio.sleep(0)
        return len(self.requests)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    tasks: list[asyncio.Task[None]] = []

    async def started(schedule: str, *, now: datetime = NOON, **binding: object) -> Host:
        host = Host(tmp_path, schedule, **binding)
        host.clock.moment = now
        tasks.append(asyncio.create_task(host.timers.run()))
        for _ in range(5):
            await asyncio.sleep(0)
        return host

    yield started
    for task in tasks:
        task.cancel()


async def stop(host: Host) -> None:
    await host.timers.drain()


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("0 */5 * * * *", datetime(2026, 3, 2, 12, 5, tzinfo=UTC)),
        ("*/15 * * * * *", datetime(2026, 3, 2, 12, 0, 45, tzinfo=UTC)),
        ("0 30 9 * * 1-5", datetime(2026, 3, 3, 9, 30, tzinfo=UTC)),
        ("0 0 0 1 * Mon", datetime(2026, 6, 1, tzinfo=UTC)),  # both the 1st and a Monday
        ("*/5 * * * *", datetime(2026, 3, 2, 12, 5, tzinfo=UTC)),
        ("00:01:30", NOON + timedelta(seconds=90)),
    ],
)
def test_a_schedule_names_its_next_occurrence(text: str, following: datetime) -> None:
    assert parse_schedule(text).after(NOON) == following


@pytest.mark.parametrize("text", ["", "* * *", "61 * * * * *", "00:61:00", "1:2", "00:00:00", "x"])
def test_a_schedule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("00:05:00", timedelta(minutes=5)),
        ("23:59:59", timedelta(hours=23, minutes=59, seconds=59)),
        ("24:00:00", timedelta(days=24)),
        ("1.02:03:04", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("00:00:00.5", timedelta(milliseconds=500)),
    ],
)
def test_a_timespan_is_read_as_the_real_host_reads_it(text: str, span: timedelta) -> None:
    assert parse_timespan(text) == span


def test_a_timer_with_a_bad_schedule_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="'f'"):
        Timers(
            functions=[Function("f", "timerTrigger", {"schedule": "no"}, print, False, False, (), "")],
            home=tmp_path,
            clock=MovedClock(),
            invocations=Invocations(ThreadPoolExecutor(1)),
        )


async def test_many_missed_ticks_fire_once(start: Callable[..., Host]) -> None:
    host = await start("0 * * * * *")
    assert await host.at(NOON + timedelta(seconds=29)) == 0
    assert await host.at(NOON + timedelta(seconds=30)) == 1
    assert host.requests[0].past_due is False
    assert await host.at(NOON + timedelta(hours=5)) == 2
    assert host.requests[1].past_due is True
    assert await host.at(NOON + timedelta(hours=5, seconds=1)) == 2
    await stop(host)


async def test_a_run_missed_while_the_host_was_down_is_past_due(start: Callable[..., Host]) -> None:
    first = await start("0 0 * * * *")
    assert await first.at(NOON + timedelta(hours=1)) == 1
    await stop(first)
    second = await start("0 0 * * * *", now=NOON + timedelta(hours=3))
    assert await second.at(NOON + timedelta(hours=3)) == 1
    assert second.requests[0].past_due is True
    assert second.requests[0].schedule_status["Last"] == (NOON + timedelta(hours=1)).isoformat()
    await stop(second)


async def test_a_changed_schedule_does_not_make_a_timer_past_due(start: Callable[..., Host]) -> None:
    await stop(await start("0 0 * * * *"))
    host = await start("0 30 * * * *", now=NOON + timedelta(hours=3))
    assert host.requests == []
    await stop(host)


async def test_a_timer_never_runs_twice_at_once(start: Callable[..., Host]) -> None:
    host = await start("0 * * * * *")
    host.release.clear()
    assert await host.at(NOON + timedelta(minutes=1)) == 1
    assert await host.at(NOON + timedelta(minutes=9)) == 1
    host.release.set()
    await asyncio.sleep(0)
    assert await host.at(NOON + timedelta(minutes=10)) == 2
    await stop(host)


async def test_run_on_startup_runs_at_once(start: Callable[..., Host]) -> None:
    host = await start("0 0 * * * *", runOnStartup=True)
    assert len(host.requests) == 1
    await stop(host)


async def test_a_clock_moved_back_starts_the_schedule_over(start: Callable[..., Host]) -> None:
    host = await start("0 * * * * *")
    assert await host.at(NOON + timedelta(hours=24)) == 1
    assert await host.at(NOON + timedelta(seconds=5)) == 1
    assert await host.at(NOON + timedelta(seconds=30)) == 2
    await stop(host)


def test_one_holder_has_the_timer_lock_until_it_lets_go(tmp_path: Path) -> None:
    first, second = TimerLock(tmp_path / "lock"), TimerLock(tmp_path / "lock")
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    second.release()
