"""Both ways of realtime messages, each with the endpoint that its clients connect to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from devhost.signalr import SignalR
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.realtime import Realtime
from infra.azure.signalr.access import Access, IdentityAccess, KeyAccess
from infra.azure.signalr.realtime import AzureSignalR
from infra.clock import SystemClock
from infra.embedded.realtime import EmbeddedRealtime
from tests.loopback import signalr
from tests.loopback.asgi import Served, listen
from tests.loopback.signalr.server import ClientsApp
from tests.loopback.signalr_client import Client, connected

WINDOW_SECONDS = 0.01
SYSTEM_CLOCK = SystemClock()


@dataclass(frozen=True)
class Bench:
    """A Realtime, and clients of it over WebSockets that leave when the test ends."""

    realtime: Realtime
    stack: ExitStack

    def client(self, principal: Principal) -> Client:
        """Negotiated and connected."""
        negotiated = self.realtime.negotiate(principal)
        return self.stack.enter_context(connected(negotiated.url, negotiated.access_token))


class FixedCredential:
    """A managed identity that always has the token; for SignalR Service only."""

    def get_token(self, *scopes: str, **_: object) -> object:
        from azure.core.credentials import AccessToken

        assert scopes == ("https://signalr.azure.com/.default",)
        return AccessToken(signalr.ENTRA_TOKEN, 4_102_444_800)


@contextmanager
def embedded(home: Path, clock: Clock) -> Iterator[Bench]:
    """Messages through the state directory, clients at a host's realtime endpoints."""
    listening = listen()
    realtime = EmbeddedRealtime(home, f"http://127.0.0.1:{listening.getsockname()[1]}", clock)
    served = Served(ClientsApp(SignalR(realtime, clock)), listening)
    try:
        with ExitStack() as stack:
            yield Bench(realtime, stack)
    finally:
        served.close()
        realtime.shut()


@contextmanager
def azure(service: signalr.SignalRService, access: Access, clock: Clock = SYSTEM_CLOCK) -> Iterator[Bench]:
    """Messages through SignalR Service on loopback."""
    realtime = AzureSignalR(access, clock, window_seconds=WINDOW_SECONDS)
    try:
        with ExitStack() as stack:
            yield Bench(realtime, stack)
    finally:
        realtime.shut()


@contextmanager
def bench_of(kind: str, home: Path, clock: Clock = SYSTEM_CLOCK) -> Iterator[Bench]:
    """`embedded`, `azure key` or `azure identity`."""
    if kind == "embedded":
        with embedded(home, clock) as bench:
            yield bench
        return
    with signalr.running(clock=clock) as service:
        access: Access = KeyAccess(service.connection_string)
        if kind == "azure identity":
            access = IdentityAccess(service.endpoint, client_id=None, credential=FixedCredential())  # type: ignore[arg-type]
        with azure(service, access, clock) as bench:
            yield bench


KINDS = ["embedded", "azure key", "azure identity"]
