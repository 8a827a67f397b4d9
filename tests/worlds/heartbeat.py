"""How late an event loop is, beside how late the machine lets anybody be: a busy one is no fault of the product."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

LATE_SECONDS = 0.25
_PACE, _WORK, _REST = 0.01, 0.03, 0.05
#: A beat in a process that has work of its own between, and tells when its input ends what the machine took from it.
_ELSEWHERE = f"""
import sys, threading, time
worst, ended = 0.0, threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
while not ended.is_set():
    began, worked = time.perf_counter(), time.process_time()
    while time.process_time() - worked < {_WORK}:
        pass
    worst = max(worst, time.perf_counter() - began - {_WORK})
    began = time.perf_counter()
    time.sleep({_PACE})
    worst = max(worst, time.perf_counter() - began - {_PACE})
    time.sleep({_REST})
print(worst)
"""


@dataclass(slots=True)
class Heartbeat:
    """The worst delay of a beat: of the loop, and of a process that has nothing to do with it."""

    worst: float = 0.0
    elsewhere: float = 0.0

    @property
    def is_steady(self) -> bool:
        return self.worst <= LATE_SECONDS + self.elsewhere


@asynccontextmanager
async def beating() -> AsyncIterator[Heartbeat]:
    """Measure within the block. The figures are complete after it."""
    heartbeat = Heartbeat()
    other = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-S", "-c", _ELSEWHERE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    async def beat() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_PACE)
            heartbeat.worst = max(heartbeat.worst, time.perf_counter() - began - _PACE)

    task = asyncio.ensure_future(beat())
    await asyncio.sleep(0)
    try:
        yield heartbeat
    finally:
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        told, _ = await asyncio.to_thread(other.communicate)
        heartbeat.elsewhere = float(told)
