"""A SignalR client of a few lines: negotiation, the handshake, and the messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.loopback.plain_http import PLAIN

SEPARATOR = "\x1e"


class Client:
    """Connected, and past the handshake."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._records: list[dict[str, Any]] = []

    def send(self, record: dict[str, Any]) -> None:
        self._socket.send(json.dumps(record) + SEPARATOR)

    def next(self, seconds: float = 5.0) -> dict[str, Any]:
        """The next record that is no ping. Raises TimeoutError, ConnectionClosed."""
        while True:
            while self._records:
                record = self._records.pop(0)
                if record.get("type") != 6:
                    return record
            text = str(self._socket.recv(timeout=seconds))
            self._records += [json.loads(part) for part in text.split(SEPARATOR) if part]

    def message(self, target: str, seconds: float = 5.0) -> list[dict[str, Any]]:
        """The payloads of the next message, which must be of this kind."""
        record = self.next(seconds)
        assert (record["type"], record["target"]) == (1, target), record
        [payloads] = record["arguments"]
        return list(payloads)

    def hears_nothing(self, seconds: float) -> bool:
        try:
            record = self.next(seconds)
        except TimeoutError:
            return True
        raise AssertionError(f"heard {record}")

    def until_closed(self, seconds: float) -> dict[str, Any]:
        """The close record, once the connection has ended as well."""
        record = self.next(seconds)
        assert record["type"] == 7, record
        try:
            self.next(seconds)
        except ConnectionClosed:
            return record
        raise AssertionError("the connection stayed open")


@contextmanager
def connected(url: str, token: str, *, protocol: str = "json") -> Iterator[Client]:
    """A client of the address and token that a negotiation gave. Raises AssertionError when it is not let in."""
    answer = negotiated_at(url, token)
    assert answer.status_code == 200, answer.status_code
    where = (
        f"{url.replace('http', 'ws', 1)}&id={answer.json()['connectionToken']}&access_token={quote(token)}"
    )
    with connect(where) as socket:
        client = Client(socket)
        client.send({"protocol": protocol, "version": 1})
        first = client.next()
        assert first == {}, first
        yield client


def negotiated_at(url: str, token: str, **headers: str) -> httpx.Response:
    """The second negotiation, with the service itself."""
    parts = urlsplit(url)
    return httpx.post(
        f"{parts.scheme}://{parts.netloc}{parts.path}negotiate?{parts.query}&negotiateVersion=1",
        headers={"Authorization": f"Bearer {token}", **headers},
        verify=PLAIN,
    )
