"""Runs an adapter against the scripted server through the real connection and the real outbound client."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from domain.providers.contract import Connection, IncomingRequest
from infra.outbound.client import OutboundClient
from infra.outbound.transport import OutboundTransport
from infra.providers._kit.connection import HttpProviderConnection
from tests.fixtures.authority import new_authority
from tests.fixtures.scripted_server import ScriptedServer
from tests.worlds.builders import settings_at
from tests.worlds.provider_cases import ProviderCase

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FixedClock:
    def now(self) -> datetime:
        return NOW


class Impatient(OutboundTransport):
    """The transport with every timeout cut short, so that a hanging provider costs no time."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["timeout_seconds"] = 0.15
        return await super().handle_async_request(request)


@lru_cache(maxsize=1)
def _few_roots() -> Path:
    """Loading the system's roots into every client's TLS context would take most of the tests' time."""
    path = Path(mkdtemp(prefix="hub-test-")) / "roots.pem"
    path.write_bytes(new_authority().pem)
    return path


@dataclass(slots=True)
class World:
    server: ScriptedServer
    connection: Connection
    waits: list[float]


@contextlib.asynccontextmanager
async def world(
    case: ProviderCase, *, impatient: bool = False, changes: Mapping[str, Any] | None = None
) -> AsyncIterator[World]:
    """`changes` go over the case's configuration."""
    settings = settings_at(Path(), environment="development")
    client = OutboundClient(settings, ca_file=_few_roots())
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with ScriptedServer(case.good).serving() as server:
        given = {**case.configuration(server.address), **(changes or {})}
        connection = Connection(
            configuration=case.provider.profile.configuration.model_validate(given),
            http=HttpProviderConnection(
                Impatient(client) if impatient else OutboundTransport(client),
                clock=FixedClock(),
                secrets=case.secrets,
                sleep=sleep,
                retries=1,
            ),
            now=NOW,
            access_token=case.access_token,
        )
        try:
            yield World(server, connection, waits)
        finally:
            await client.close()


def incoming(
    body: bytes,
    headers: Mapping[str, str],
    *,
    url: str = "https://hub.example.org/api/webhooks/incoming/7c9e6679-7425-40de-944b-e07fc1f90ae7",
    method: str = "POST",
    received_at: datetime = NOW,
) -> IncomingRequest:
    """A webhook as it came in; the query is read from the URL."""
    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    lowered = {name.lower(): value for name, value in headers.items()}
    return IncomingRequest(method, url, lowered, query, body, received_at)
