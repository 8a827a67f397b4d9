"""Time and ids.

In development the clock can be moved forward, so that retries, expiry and schedules are seen to work without
waiting."""

from __future__ import annotations

import random
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

#: How often a process looks whether the clock was moved.
CHECK_SECONDS = 0.02


class SystemClock:
    """The wall clock in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class _Offset:
    """The seconds that a file holds, looked at often but read seldom."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.value = timedelta()
        self.checked = float("-inf")

    def current(self) -> timedelta:
        tick = time.monotonic()
        if tick - self.checked > CHECK_SECONDS:
            self.value = timedelta(seconds=self.read())
            self.checked = tick  # after the value: another thread would take the old one for current
        return self.value

    def read(self) -> float:
        try:
            return float(self.file.read_text())
        except FileNotFoundError:
            return 0.0


_offsets: dict[Path, _Offset] = {}


class AdjustableClock:
    """The wall clock plus the seconds held in `offset_file`, shared by every process over the same state.

    Development only: `python -m devhost clock --advance 60` writes the file; a missing file is an offset of 0.
    All clocks of a process over one file tell the same time: a queue that releases a message early by a few
    milliseconds would otherwise meet code for which it is not due yet.
    """

    def __init__(self, offset_file: Path) -> None:
        self._offset = _offsets.setdefault(offset_file.absolute(), _Offset(offset_file))

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset.current()

    def advance(self, seconds: float) -> None:
        """Move time by `seconds` for every process that shares the file."""
        fresh = self._offset.file.with_suffix(".new")
        fresh.write_text(repr(self._offset.read() + seconds))
        fresh.replace(self._offset.file)
        self._offset.checked = float("-inf")

    def reset(self) -> None:
        """Back to the wall clock, for every process that shares the file."""
        self._offset.file.unlink(missing_ok=True)
        self._offset.checked = float("-inf")


class Uuid7Generator:
    """UUID version 7 (RFC 9562 section 5.7): 48 bits of milliseconds, then random bits.

    The random bits make ids unique, not secret, so one seed from the operating system serves a process."""

    def __init__(self) -> None:
        self._random = random.Random(secrets.randbits(256))  # noqa: S311

    def new(self) -> UUID:
        milliseconds = time.time_ns() // 1_000_000
        value = (milliseconds << 80) | self._random.getrandbits(80)
        value = (value & ~(0xF << 76)) | (0x7 << 76)
        value = (value & ~(0x3 << 62)) | (0x2 << 62)
        return UUID(int=value)
