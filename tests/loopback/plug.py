"""A plug in the line to any endpoint: a TCP relay that can be pulled, and put in again at the same port."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Plug:
    """Relays connections at `port` to `target`'s port on loopback, from construction to `pull`; between `hold` and
    `restore` it takes connections and bytes, and nothing comes out."""

    def __init__(self) -> None:
        self.target = 0
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._listening = _listen(0)
        self.port: int = self._listening.getsockname()[1]
        self._start()

    def pull(self) -> None:
        """Refuse connections, and break those there are."""
        with self._lock:
            _shut(self._listening)
            for each in self._open:
                _shut(each)
            self._open.clear()

    def hold(self) -> None:
        """Let everybody wait."""
        self._flowing.clear()

    def restore(self) -> None:
        """Relay again, after `pull` or `hold`."""
        if not self._flowing.is_set():
            self._flowing.set()
            return
        with self._lock:
            self._listening = _listen(self.port)
        self._start()

    def _start(self) -> None:
        _in_background(lambda: self._accept(self._listening))

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", self.target), 5)
                far.settimeout(None)
            except OSError:
                return
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                _in_background(lambda source=source, sink=sink: self._pump(source, sink))  # type: ignore[misc]

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65_536):
                self._flowing.wait()
                sink.sendall(chunk)
        _shut(sink)


@contextmanager
def plugged() -> Iterator[Plug]:
    """A plug for the length of a block; set `target` before the first connection."""
    plug = Plug()
    try:
        yield plug
    finally:
        plug.pull()


def _listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=128)


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()
