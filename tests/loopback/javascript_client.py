"""Microsoft's JavaScript client of SignalR, as a process."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.loopback.azurite import node_package

_SCRIPT = Path(__file__).parents[1] / "fixtures" / "signalr_client.js"


class JavascriptClient:
    """Connected, and hearing one kind of message."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._lines.put(line.strip())
        self._lines.put("(it ended)")

    def line(self, seconds: float = 30.0) -> str:
        """What it prints next. Raises queue.Empty when nothing comes."""
        return self._lines.get(timeout=seconds)

    def payloads(self, until: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """What it hears, up to the payload that `until` waits for. Fails when the client ends first."""
        heard: list[dict[str, Any]] = []
        while not heard or not until(heard[-1]):
            text = self.line()
            assert text.startswith("{"), f"{text!r} after {heard}"
            heard.append(json.loads(text))
        return heard


@contextmanager
def javascript_client(api_url: str, token: str, kind: str) -> Iterator[JavascriptClient]:
    """A client of the hub at `api_url`, `.../api`. Skips without Node.js or the package."""
    node, package = node_package("@microsoft/signalr")
    with subprocess.Popen(
        [node, str(_SCRIPT), str(package), f"{api_url}/realtime", kind],
        env={**os.environ, "TOKEN": token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            client = JavascriptClient(process.stdout)
            first = client.line()
            assert first == "connected", first
            yield client
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(10) == 0
        finally:
            process.kill()
