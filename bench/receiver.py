"""A receiver that costs next to nothing: a bare asyncio protocol, so that it measures the sender, not itself.

`python -m bench.receiver PORT [--delay SECONDS] [--hang] [--status N] [--fails SHARE]`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from array import array
from typing import Any, cast

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_EVENT = re.compile(rb"webhook-id: *([^\r]+)", re.IGNORECASE)
_SENT_AT = b'"sentAt":'


class Tally:
    """What arrived since the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.requests = 0
        self.ids: set[bytes] = set()
        self.latencies = array("d")
        self.succeeded: dict[bytes, str] = {}

    def add(self, event_id: bytes, body: bytes) -> None:
        self.requests += 1
        self.ids.add(event_id)
        at = body.find(_SENT_AT)
        if at >= 0:
            end = min(i for i in (body.find(b",", at), body.find(b"}", at)) if i > 0)
            self.latencies.append((time.time() - float(body[at + len(_SENT_AT) : end])) * 1000)

    def succeed(self, event_id: bytes, body: bytes) -> None:
        """Note the event and its subject, in the order of the first successes."""
        if event_id not in self.succeeded:
            self.succeeded[event_id] = json.loads(body).get("subject") or ""

    def order(self) -> dict[str, list[str]]:
        """Return the ids of the events answered well, by subject, in the order of their first successes."""
        found: dict[str, list[str]] = {}
        for event_id, subject in self.succeeded.items():
            found.setdefault(subject, []).append(event_id.decode())
        return found

    def counts(self) -> dict[str, Any]:
        """Return what may be asked often: it costs nothing."""
        return {"requests": self.requests, "events": len(self.ids)}

    def report(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            **self.counts(),
            **{f"p{percent}": _percentile(ordered, percent) for percent in (50, 95, 99)},
        }


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


class Receiver(asyncio.Protocol):
    """HTTP/1.1 with Content-Length and keep-alive, nothing more."""

    def __init__(self, tally: Tally, options: argparse.Namespace) -> None:
        self._tally = tally
        self._options = options
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            matched = _LENGTH.search(head)
            total = end + 4 + (int(matched[1]) if matched else 0)
            if len(self._buffer) < total:
                return
            body = bytes(self._buffer[end + 4 : total])
            del self._buffer[:total]
            self._handle(head, body)

    def _handle(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /stats"):
            self._answer(200, json.dumps(self._tally.report()).encode())
        elif head.startswith(b"GET /counts"):
            self._answer(200, json.dumps(self._tally.counts()).encode())
        elif head.startswith(b"GET /order"):
            self._answer(200, json.dumps(self._tally.order()).encode())
        elif head.startswith(b"GET /reset"):
            self._tally.reset()
            self._answer(200, b"{}")
        elif b'"webhook.verification"' in body:
            self._answer(200, json.dumps({"challenge": json.loads(body)["data"]["challenge"]}).encode())
        else:
            self._receive(head, body)

    def _receive(self, head: bytes, body: bytes) -> None:
        event = _EVENT.search(head)
        event_id = event[1] if event else b""
        self._tally.add(event_id, body)
        if self._options.fails is not None:
            if random.random() < self._options.fails:
                self._answer(500, b"{}")
                return
            self._tally.succeed(event_id, body)
        if self._options.hang:
            return
        if self._options.delay:
            asyncio.get_running_loop().call_later(
                self._options.delay, self._answer, self._options.status, b"{}"
            )
        else:
            self._answer(self._options.status, b"{}")

    def _answer(self, status: int, body: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(
            b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (status, len(body), body)
        )


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--hang", action="store_true")
    parser.add_argument("--fails", type=float, help="share of the posts that are answered 500")
    options = parser.parse_args()
    tally = Tally()
    server = await asyncio.get_running_loop().create_server(
        lambda: Receiver(tally, options), "127.0.0.1", options.port, backlog=2048
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
