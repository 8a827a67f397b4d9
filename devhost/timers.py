"""Timer triggers: one process over a state directory fires them, each timer once for what is due."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.functions.timer import TimerRequest
from filelock import FileLock, Timeout

from devhost.errors import HostError
from devhost.invocation import Invocations, trace_of
from devhost.loading import Function
from devhost.schedule import Schedule, parse_schedule
from domain.core.ports import Clock
from infra.observability import logs

_log = logging.getLogger("devhost.timers")

POLL_SECONDS = 0.1
TAKEOVER_SECONDS = 0.5
_PUNCTUAL = timedelta(seconds=1)


@dataclass(slots=True)
class _Timer:
    function: Function
    schedule: Schedule
    last: datetime | None
    next: datetime
    run_now: bool
    running: asyncio.Task[None] | None = None


class TimerLock:
    """Decides which process fires the timers: a lock on a file, which the system frees when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(path, thread_local=False)

    def acquire(self) -> bool:
        """Take the lock without waiting. Return whether this process has it, now or from before."""
        try:
            if not self._lock.is_locked:
                self._lock.acquire(blocking=False)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        self._lock.release()


class Timers:
    """Fires the app's timers while this process holds the lock; state is `home`/timers.json."""

    def __init__(
        self, *, functions: Sequence[Function], home: Path, clock: Clock, invocations: Invocations
    ) -> None:
        """Read the schedules. Raises HostError for one that cannot be read."""
        self._functions = [(function, _schedule(function)) for function in functions]
        self._lock = TimerLock(home / "timers.lock")
        self._state = home / "timers.json"
        self._clock = clock
        self._invocations = invocations
        self._timers: list[_Timer] = []
        self._seen = clock.now()

    async def run(self) -> None:
        """Take the lock when it is free, then fire what is due, until cancelled.

        A run in progress is not cancelled with it; `drain` waits for those."""
        first = True
        while not self._lock.acquire():
            first = False
            await asyncio.sleep(TAKEOVER_SECONDS)
        self._timers = self._load(starting=first)
        while True:
            self.fire_due()
            await asyncio.sleep(POLL_SECONDS)

    async def drain(self) -> None:
        """Wait for the runs in progress, then let another process fire."""
        running = [timer.running for timer in self._timers if timer.running is not None]
        if running:
            await asyncio.wait(running)
        self._lock.release()

    def fire_due(self) -> None:
        """Start every timer that is due and not running."""
        now = self._clock.now()
        moved_back, self._seen = now < self._seen - _PUNCTUAL, now
        for timer in self._timers:
            if timer.running is not None:
                continue
            if moved_back:
                timer.next = timer.schedule.after(now)
            if timer.run_now or now >= timer.next:
                timer.running = asyncio.create_task(self._fire(timer, now), name="devhost timer")

    async def _fire(self, timer: _Timer, now: datetime) -> None:
        trace = trace_of(None)
        late = now - timer.next > _PUNCTUAL
        request = TimerRequest(past_due=late, schedule_status=_status(timer), schedule={"AdjustForDST": True})
        timer.run_now = False
        try:
            with logs.bind(trace=trace):
                await self._invocations.call(timer.function, request)
        except Exception:
            with logs.bind(trace=trace):
                _log.exception("Timer failed", extra={"function": timer.function.name})
        finally:
            timer.last = now
            timer.next = timer.schedule.after(max(now, self._clock.now()))
            self._save()
            timer.running = None

    def _load(self, *, starting: bool) -> list[_Timer]:
        now, stored = self._clock.now(), self._read()
        timers = []
        for function, schedule in self._functions:
            known = stored.get(function.name, {})
            same = known.get("schedule") == function.trigger["schedule"]
            last = datetime.fromisoformat(known["last"]) if known.get("last") else None
            following = schedule.after(now)
            if same:
                # The earlier one: the clock may have been moved back since.
                following = min(following, datetime.fromisoformat(known["next"]))
            run_now = starting and bool(function.trigger.get("runOnStartup"))
            timers.append(_Timer(function, schedule, last, following, run_now))
        self._timers = timers
        self._save()
        return timers

    def _read(self) -> Mapping[str, Any]:
        try:
            stored: Mapping[str, Any] = json.loads(self._state.read_text())
        except FileNotFoundError:
            return {}
        return stored

    def _save(self) -> None:
        state = {
            timer.function.name: {
                "schedule": timer.function.trigger["schedule"],
                "last": timer.last.isoformat() if timer.last else None,
                "next": timer.next.isoformat(),
            }
            for timer in self._timers
            if timer.function.trigger.get("useMonitor", True)
        }
        draft = self._state.with_suffix(".new")
        draft.write_text(json.dumps(state, indent=2))
        draft.replace(self._state)


def _schedule(function: Function) -> Schedule:
    try:
        return parse_schedule(str(function.trigger["schedule"]))
    except ValueError as error:
        raise HostError(f"Function '{function.name}': {error}") from error


def _status(timer: _Timer) -> dict[str, str]:
    last = timer.last or datetime.min.replace(tzinfo=UTC)
    return {"Last": last.isoformat(), "Next": timer.next.isoformat(), "LastUpdated": last.isoformat()}
