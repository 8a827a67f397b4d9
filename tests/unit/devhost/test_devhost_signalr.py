"""One SignalR connection, spoken to as an ASGI server would."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from devhost import signalr_connection
from devhost.signalr_connection import ClientConnection, HandshakeRefused
from infra.embedded.realtime import Admitted
from tests.worlds.builders import START, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Socket:
    """The ASGI side of a WebSocket: what the client sends is scripted; nothing more comes after."""

    def __init__(self, *texts: str) -> None:
        self.incoming = list(texts)
        self.sent: list[Any] = []
        self.has_sent = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if not self.incoming:
            await asyncio.Event().wait()
        return {"type": "websocket.receive", "text": self.incoming.pop(0)}

    async def send(self, message: Any) -> None:
        self.sent.append(message.get("text", message["type"]))
        self.has_sent.set()


def connection(socket: Socket, clock: FakeClock) -> ClientConnection:
    admitted = Admitted("key:1", frozenset(), START + timedelta(hours=1))
    return ClientConnection(admitted, clock, socket.receive, socket.send)


async def test_a_handshake_may_come_in_pieces_and_with_a_record_behind_it(clock: FakeClock) -> None:
    socket = Socket('{"protocol":"json",', '"version":1}\x1e{"type":7}\x1e')
    one = connection(socket, clock)
    await one.shake_hands()
    await one.greet()
    await asyncio.wait_for(one.serve(), 1)
    assert socket.sent == ["{}\x1e"]


async def test_a_client_that_does_not_speak_is_let_go(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalr_connection, "HANDSHAKE_SECONDS", 0.01)
    socket = Socket()
    with pytest.raises(HandshakeRefused):
        await connection(socket, clock).shake_hands()
    assert socket.sent == ["websocket.close"]


async def test_a_silent_connection_is_pinged_until_its_token_expires(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalr_connection, "PING_SECONDS", 0.01)
    socket = Socket()
    serving = asyncio.create_task(connection(socket, clock).serve())
    async with asyncio.timeout(5):
        await socket.has_sent.wait()
    assert set(socket.sent) == {'{"type": 6}\x1e'}
    clock.advance(hours=1)
    await asyncio.wait_for(serving, 1)
    assert '"allowReconnect": true' in socket.sent[-2]
    assert socket.sent[-1] == "websocket.close"


async def test_a_client_that_does_not_read_is_closed(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalr_connection, "MOST_WAITING", 2)
    socket = Socket()
    one = connection(socket, clock)
    for _ in range(3):
        one.put("{}")
    await asyncio.wait_for(one.serve(), 1)
    assert "too slowly" in socket.sent[0]
