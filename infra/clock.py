"""Time and ids. In development the clock can be moved forward, so that retries, expiry and schedules are
seen to work without waiting for them."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

_CHECK_SECONDS = 0.02


class SystemClock:
    """The wall clock in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class AdjustableClock:
    """The wall clock plus the seconds held in `offset_file`, shared by every process over the same state.

    Development only: `python -m devhost clock --advance 60` writes the file. A missing file is an offset of 0.
    """

    def __init__(self, offset_file: Path) -> None:
        self._file = offset_file
        self._offset = timedelta()
        self._checked = float("-inf")

    def now(self) -> datetime:
        tick = time.monotonic()
        if tick - self._checked > _CHECK_SECONDS:
            self._checked = tick
            self._offset = timedelta(seconds=self._read())
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        """Move time by `seconds` for every process that shares the file."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(repr(self._read() + seconds))
        fresh.replace(self._file)
        self._checked = float("-inf")

    def _read(self) -> float:
        try:
            return float(self._file.read_text())
        except FileNotFoundError:
            return 0.0


class Uuid7Generator:
    """UUID version 7 (RFC 9562 section 5.7): 48 bits of milliseconds, then random bits."""

    def new(self) -> UUID:
        milliseconds = time.time_ns() // 1_000_000
        value = (milliseconds << 80) | secrets.randbits(80)
        value = (value & ~(0xF << 76)) | (0x7 << 76)
        value = (value & ~(0x3 << 62)) | (0x2 << 62)
        return UUID(int=value)
