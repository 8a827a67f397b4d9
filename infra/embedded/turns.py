"""Turns at a SQLite file for the writers of several processes.

SQLite's own busy handler sleeps up to 100 ms at a time, so under load a free file stays idle. A lock file that is
asked every half millisecond passes the turn on at once, and the kernel frees it when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ASK_SECONDS = 0.0005


class Turns:
    """`path` is the database file; the lock file stands beside it. Not for two threads at once: take the
    process's own lock first."""

    def __init__(self, path: Path, *, most_seconds: float) -> None:
        self._path = path.with_name(path.name + ".turn")
        self._most_seconds = most_seconds
        self._file: int | None = None

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Hold the turn. When it does not come in time, go on: SQLite's own lock still guards the file."""
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + self._most_seconds
        held = self._try()
        while not held and time.monotonic() < deadline:
            time.sleep(_ASK_SECONDS)
            held = self._try()
        try:
            yield
        finally:
            if held:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _try(self) -> bool:
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
