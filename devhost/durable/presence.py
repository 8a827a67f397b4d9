"""Which worker processes are alive, known from the kernel instead of from a timeout.

Every worker holds an exclusive lock on a file of its own beside the store; the kernel drops the lock when the
process ends, however it ends. A lease whose holder's file can be locked belongs to a process that is gone.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: leases end by time alone
    fcntl = None  # type: ignore[assignment]


_ATTEMPTS, _PAUSE_SECONDS = 20, 0.01


class Presence:
    """The liveness file of one worker. Names may hold letters, digits, `-`, `_` and `.`."""

    def __init__(self, store: Path, worker: str) -> None:
        """Announce the worker. Raises RuntimeError when a worker of that name is alive."""
        self._store = store
        self._own = worker
        for _ in range(_ATTEMPTS):  # another worker may be looking at what a dead namesake left
            self._file = os.open(self._path(worker), os.O_RDWR | os.O_CREAT, 0o600)
            if not fcntl or self._is_held():
                return
            os.close(self._file)
            time.sleep(_PAUSE_SECONDS)
        raise RuntimeError(f"a worker named '{worker}' is already running on {store.name}")

    def _is_held(self) -> bool:
        """Lock the file, and see that the one locked is still the one others find by its name."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(self._file), self._path(self._own).stat())
        except (BlockingIOError, FileNotFoundError):
            return False

    def is_gone(self, worker: str) -> bool:
        """Return True only when that worker's process has certainly ended."""
        if worker == self._own or not fcntl:
            return False
        try:
            other = os.open(self._path(worker), os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            self._path(worker).unlink(missing_ok=True)
            return True
        finally:
            os.close(other)

    def close(self) -> None:
        """Say that this worker is gone."""
        self._path(self._own).unlink(missing_ok=True)
        os.close(self._file)

    def _path(self, worker: str) -> Path:
        return self._store.with_name(f"{self._store.name}.{worker}.alive")
