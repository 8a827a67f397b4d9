"""An ASGI application on a port of loopback, served by a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

_SECONDS = 10.0


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: a thread may not have any."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(port: int = 0) -> socket.socket:
    """A listening socket on a free port, or on `port`: its address is known before what is served there."""
    return socket.create_server(("127.0.0.1", port), backlog=128)


class Served:
    """`app` is served from construction to `close`."""

    def __init__(self, app: Any, listening: socket.socket) -> None:
        self._listening = listening
        config = uvicorn.Config(
            app,
            ws="websockets-sansio",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="asgi", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(_SECONDS)
        self._listening.close()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listening]))
