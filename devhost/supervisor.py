"""The parent of several serving processes: holds the sockets, starts the children, restarts those that die.

Imports nothing heavy: it shares the machine with its children."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

_log = logging.getLogger("devhost.supervisor")

POLL_SECONDS = 0.02
_FIRST_BACKOFF_SECONDS, _LAST_BACKOFF_SECONDS, _STABLE_SECONDS = 0.1, 5.0, 10.0


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` sockets bound to one address, among which the kernel shares out connections; listening.

    Where the platform cannot share them out (SO_REUSEPORT balances on Linux), all are the same socket.
    Raises OSError when the port is taken: sharing must not hide a second host.
    """
    first = socket.create_server((host, port))
    if count == 1:
        return [first]
    if sys.platform != "linux":
        return [first] * count
    address = first.getsockname()
    first.close()
    return [socket.create_server(address[:2], reuse_port=True, backlog=4096) for _ in range(count)]


class Supervisor:
    """Runs one child per socket until it is told to stop or a child cannot start."""

    def __init__(
        self, command: Sequence[str], sockets: Sequence[socket.socket], *, drain_seconds: float
    ) -> None:
        """Complete `command` by what is a worker's own.

        That is its number and the file descriptors of its socket, of the pipe it says it is ready on, and of the
        pipe that ends with this process."""
        self._command = list(command)
        self._sockets = sockets
        self._drain_seconds = drain_seconds
        # Nobody writes to it: its end tells the children that the parent is gone, however it went.
        self._alive, self._alive_kept = os.pipe()
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> int:
        """Return the exit code: 0 after a drain, else that of the child that could not start.

        Calls `ready` when every child answers requests."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        children = [_Child(index) for index in range(len(self._sockets))]
        announced = False
        while not self._stopping:
            for child in children:
                failure = child.tend(self._spawn)
                if failure is not None:
                    self._end(children)
                    return failure
            if not announced and all(child.is_ready for child in children):
                announced = True
                ready()
            time.sleep(POLL_SECONDS)
        return self._end(children)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    def _spawn(self, index: int) -> tuple[subprocess.Popen[bytes], int]:
        said, says = os.pipe()
        os.set_blocking(said, False)
        listening = self._sockets[index].fileno()
        passed = (listening, says, self._alive)
        command = [*self._command, str(index), *(str(number) for number in passed)]
        # Its own process group: Ctrl-C reaches the parent alone, which passes it on once.
        process = subprocess.Popen(command, pass_fds=passed, process_group=0)
        os.close(says)
        return process, said

    def _end(self, children: list[_Child]) -> int:
        for listening in self._sockets:
            listening.close()
        for child in children:
            child.terminate()
        deadline = time.monotonic() + self._drain_seconds + 5.0
        codes = [child.wait(deadline) for child in children]
        # A child that does not drain is ended by the signal itself.
        return next((code for code in codes if code not in (0, -signal.SIGTERM)), 0)


class _Child:
    def __init__(self, index: int) -> None:
        self._index = index
        self._process: subprocess.Popen[bytes] | None = None
        self._said = -1
        self._started = self._not_before = 0.0
        self._backoff = _FIRST_BACKOFF_SECONDS
        self.is_ready = self._was_ready = False

    def tend(self, spawn: Callable[[int], tuple[subprocess.Popen[bytes], int]]) -> int | None:
        """Start the child if it does not run. Returns its exit code if it ended before it ever served."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._not_before:
                self._process, self._said = spawn(self._index)
                self._started = now
            return None
        if not self.is_ready:
            self.is_ready = self._was_ready = self._reads_ready() or self._was_ready
        code = self._process.poll()
        if code is None:
            return None
        self._lose(now)
        if not self._was_ready:
            return code if code > 0 else 1
        _log.error("A worker died and is restarted", extra={"worker": self._index, "exitCode": code})
        return None

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def wait(self, deadline: float) -> int:
        """Return the exit code; a child that outlasts the deadline is killed."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait() or 1

    def _reads_ready(self) -> bool:
        try:
            return bool(os.read(self._said, 1))
        except BlockingIOError:
            return False

    def _lose(self, now: float) -> None:
        os.close(self._said)
        self._process = None
        stable = now - self._started > _STABLE_SECONDS
        self._backoff = _FIRST_BACKOFF_SECONDS if stable else min(self._backoff * 2, _LAST_BACKOFF_SECONDS)
        self._not_before = now + self._backoff


def exit_with_parent(alive: int) -> None:
    """In a child: end this process at once when the parent's pipe ends."""

    def watch() -> None:
        os.read(alive, 1)
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
