"""One client of the JSON hub protocol: its handshake, its messages, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from domain.core.ports import Clock
from infra.embedded.realtime import Admitted

SEPARATOR: Final = "\x1e"
HANDSHAKE_SECONDS = 15.0
PING_SECONDS = 15.0
MOST_WAITING = 1_000
_COMPLETION, _PING, _CLOSE, _INVOCATION = 3, 6, 7, 1

Message = MutableMapping[str, Any]


class HandshakeRefused(Exception):
    """The client asked for what is not served, or left."""


class ClientConnection:
    """A WebSocket that is accepted. Only `put` and `close` are for others, on the same event loop."""

    def __init__(
        self,
        admitted: Admitted,
        clock: Clock,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.user = admitted.user
        self.groups = admitted.groups
        self._expires_at = admitted.expires_at
        self._clock = clock
        self._receive = receive
        self._send = send
        self._frames: asyncio.Queue[str] = asyncio.Queue()
        self._rest = ""
        self._ending: dict[str, Any] | None = None

    def put(self, frame: str) -> None:
        """Send a frame, in order. A client that does not read is closed."""
        if self._ending is not None:
            return
        if self._frames.qsize() >= MOST_WAITING:
            self.close("The client reads too slowly.", allow_reconnect=True)
        else:
            self._frames.put_nowait(frame)

    def close(self, reason: str, *, allow_reconnect: bool = False) -> None:
        """Say why, and close. What waits is not sent any more."""
        self._ending = {"type": _CLOSE, "error": reason, "allowReconnect": allow_reconnect}
        self._frames.put_nowait("")

    async def shake_hands(self) -> None:
        """Read the client's first record, which names the protocol. Raises HandshakeRefused."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                record = await self._handshake_record()
        except TimeoutError:
            await self._end()
            raise HandshakeRefused("None came in time.") from None
        if record.get("protocol") == "json" and record.get("version") == 1:
            return
        refusal = f"The protocol '{record.get('protocol')}' is not supported here; 'json', version 1, is."
        await self._text(json.dumps({"error": refusal}))
        await self._end()
        raise HandshakeRefused(refusal)

    async def greet(self) -> None:
        """Answers the handshake."""
        await self._text("{}")

    async def serve(self) -> None:
        """Until either side ends it."""
        sides = {asyncio.create_task(self._write()), asyncio.create_task(self._read())}
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
        for side in done:
            # The peer may vanish while we write; anything else is a fault of ours.
            with contextlib.suppress(OSError):
                side.result()

    async def _handshake_record(self) -> dict[str, Any]:
        while SEPARATOR not in self._rest:
            text = await self._text_received()
            if text is None:
                raise HandshakeRefused("The client left.")
            self._rest += text
        first, _, self._rest = self._rest.partition(SEPARATOR)
        record = _record(first)
        return record if record is not None else {}

    async def _write(self) -> None:
        while self._ending is None:
            frame = await self._next_frame()
            if self._ending is None:
                await self._text(frame)
        await self._text(json.dumps(self._ending))
        await self._end()

    async def _next_frame(self) -> str:
        left = (self._expires_at - self._clock.now()).total_seconds()
        try:
            async with asyncio.timeout(min(PING_SECONDS, max(0.0, left))):
                frame = await self._frames.get()
        except TimeoutError:
            frame = json.dumps({"type": _PING})
        if self._ending is None and self._expires_at <= self._clock.now():
            self.close("The access token expired; negotiate again.", allow_reconnect=True)
        return frame

    async def _read(self) -> None:
        while True:
            *records, self._rest = self._rest.split(SEPARATOR)
            for text in records:
                record = _record(text)
                if record is None or record.get("type") == _CLOSE:
                    return
                if record.get("type") == _INVOCATION:
                    self._refuse(record)
            received = await self._text_received()
            if received is None:
                return
            self._rest += received

    def _refuse(self, invocation: dict[str, Any]) -> None:
        """Refuse the call of a method. Without an id the client does not wait for an answer."""
        if "invocationId" in invocation:
            refusal = "This hub has no methods; it only tells."
            completion = {
                "type": _COMPLETION,
                "invocationId": invocation["invocationId"],
                "error": refusal,
            }
            self.put(json.dumps(completion))

    async def _text_received(self) -> str | None:
        """None when the client has left, or sends what no client of this protocol does."""
        message = await self._receive()
        text = message.get("text")
        if message["type"] != "websocket.receive" or text is None:
            return None
        return str(text)

    async def _text(self, record: str) -> None:
        await self._send({"type": "websocket.send", "text": record + SEPARATOR})

    async def _end(self) -> None:
        await self._send({"type": "websocket.close", "code": 1000})


def _record(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
