"""Reading request bodies: bounded in size and time, and in what all of them take up together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from domain.core.memory_budget import MemoryBudget

LIMIT_SETTING = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
"""The real host's setting of the bytes a request body may have."""

BUDGET_SETTING = "HUB_BODIES_MAX_BYTES"
BODY_BYTES = 16 * 1024 * 1024
BUDGET_BYTES = 64 * 1024 * 1024
BODY_SECONDS = 100.0

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class BodyTooLarge(Exception):
    """The body has more bytes than any request may have."""


class BodyTooSlow(Exception):
    """The body did not come in time."""


class ClientGone(Exception):
    """The client hung up before its body had come."""


class BodyReader:
    """Reads bodies as their bytes come: what is refused is not read any further."""

    def __init__(
        self, most: int | None = None, budget: MemoryBudget | None = None, seconds: float = BODY_SECONDS
    ) -> None:
        """Without arguments the environment decides."""
        self.most = most or int(os.environ.get(LIMIT_SETTING) or BODY_BYTES)
        self._budget = budget or MemoryBudget(int(os.environ.get(BUDGET_SETTING) or BUDGET_BYTES))
        self._seconds = seconds

    @asynccontextmanager
    async def body(self, headers: Mapping[str, str], receive: Receive, sender: str) -> AsyncIterator[bytes]:
        """Read the body, and hold its bytes within the block.

        One that comes in chunks is read and thrown away: functions of the real host get an empty one.
        Raises BodyTooLarge, BodyTooSlow, ClientGone, or the budget's Busy."""
        declared = headers.get("content-length")
        if declared == "0" or (declared is None and "transfer-encoding" not in headers):
            yield b""
            return
        if declared is not None and int(declared) > self.most:
            raise BodyTooLarge
        buffer = bytearray()
        try:
            await self._read(buffer, receive, sender)
            yield b"" if "transfer-encoding" in headers else bytes(buffer)
        finally:
            self._budget.give_back(sender, len(buffer))

    async def _read(self, buffer: bytearray, receive: Receive, sender: str) -> None:
        """Put the body into `buffer`, whose bytes are held."""
        try:
            async with asyncio.timeout(self._seconds):
                is_all = False
                while not is_all:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    if len(buffer) + len(message["body"]) > self.most:
                        raise BodyTooLarge
                    self._budget.take(sender, len(message["body"]))
                    buffer += message["body"]
                    is_all = not message["more_body"]
        except TimeoutError:
            raise BodyTooSlow from None
