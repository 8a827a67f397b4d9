"""A plug in the line to an embedded database: another process that holds all of its locks."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

# "WAL-Index Locks" in "WAL-mode File Format" (sqlite.org): write, checkpoint, recover and five readers.
_FIRST, _COUNT = 120, 8


class DatabasePlug:
    """Of the SQLite file `path`, in WAL mode and open in another process. Readers and writers wait for a lock until
    they give up, as they wait for the answers of a server that is away. The process that pulls must not open the
    database itself meanwhile: the locks of a process go with the first of its file handles that is closed."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + "-shm")
        self._file: int | None = None

    def pull(self) -> None:
        """Waits for transactions under way, one lock after the other."""
        assert self._file is None
        self._file = os.open(self._path, os.O_RDWR)
        for place in range(_FIRST, _FIRST + _COUNT):
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, place)

    def restore(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
