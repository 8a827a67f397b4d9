"""Connections to real peers on loopback, and the peers that install from PyPI."""

import contextlib
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from domain.providers.contract import Connection, Provider, ProviderRequest, ProviderResponse
from infra.app.settings import Settings
from infra.outbound.client import OutboundClient
from infra.outbound.transport import OutboundTransport
from infra.providers._kit.connection import HttpProviderConnection


@contextlib.asynccontextmanager
async def connected(
    provider: Provider, configuration: Mapping[str, Any], *, secrets: Collection[str] = ()
) -> AsyncIterator[Connection]:
    """A connection as the product makes it, at the present time: real peers look at the clock."""
    client = OutboundClient(Settings(home=Path(), environment="development"))
    try:
        yield Connection(
            configuration=provider.profile.configuration.model_validate(configuration),
            http=HttpProviderConnection(OutboundTransport(client), secrets=secrets, retries=0),
            now=datetime.now(UTC),
        )
    finally:
        await client.close()


class CannedHttp:
    """ProviderHttp that answers 200 with the bytes kept for an address and records what was asked for."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        self.asked.append(request.url)
        return ProviderResponse(200, {}, self.answers[request.url], 1)

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        response = await self.send(request)
        assert response.status in (statuses or (200,))
        return response


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Tests print nothing."""


def radicale_application(folder: Path, username: str, password: str) -> Any:
    """A CalDAV server, as a WSGI application, with one account and no calendar yet."""
    pytest.importorskip("radicale", reason="radicale, a CalDAV server, is not installed")
    from radicale.app import Application
    from radicale.config import load

    users = folder / "users"
    users.write_text(f"{username}:{password}\n")
    configuration = load()
    configuration.update(
        {
            "auth": {
                "type": "htpasswd",
                "htpasswd_filename": str(users),
                "htpasswd_encryption": "plain",
                "delay": "0",
            },
            "storage": {"filesystem_folder": str(folder / "collections")},
            "logging": {"level": "critical"},
        },
        "test",
        privileged=True,
    )
    return Application(configuration)


@contextlib.contextmanager
def radicale(folder: Path, username: str, password: str) -> Iterator[str]:
    """Address of a CalDAV server with one account and no calendar yet."""
    with _serving(radicale_application(folder, username, password)) as address:
        yield address


@contextlib.contextmanager
def _serving(application: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, application, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
