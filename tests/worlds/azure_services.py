"""The Azure services of the end-to-end tests: Service Bus over AMQP, tables on Azurite, Key Vault over TLS, SignalR
Service, Azure OpenAI, the managed identity that enters them, and the issuer of tokens. All on loopback, all by the
real SDKs where the hub uses one."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from bench import harness
from devhost.cli import DEVELOPMENT_TENANT, DEVELOPMENT_USER
from domain.core.permissions import PERMISSIONS
from domain.core.ports import QueueSender
from infra.app.build import build
from infra.app.hub import Hub
from infra.app.settings import Settings
from infra.azure.servicebus.queue import ServiceBusQueue
from infra.clock import AdjustableClock
from tests.fixtures.keyvault_server import TOKEN, KeyVaultServer
from tests.loopback import azure_openai, signalr
from tests.loopback.amqp import MISSING
from tests.loopback.azurite import running_azurite, tables_connection
from tests.loopback.issuer import Issuer
from tests.loopback.managed_identity import IdentityEndpoint
from tests.loopback.plug import Plug, plugged

if TYPE_CHECKING:
    from tests.loopback.servicebus import Namespace

SWITCH = "HUB_TEST_AZURE"
_TOKENS = {
    "https://signalr.azure.com": signalr.ENTRA_TOKEN,
    "https://cognitiveservices.azure.com": azure_openai.TOKEN,
}
"""What lets into a resource; a vault, whose address is its own, takes another."""
MODEL_SECONDS = 2.0
"""As long as the model may take."""
_LOCK_SECONDS = 5.0
"""Short, so that a test which kills a host need not wait long for its messages."""

embedded_only = pytest.mark.skipif(
    bool(os.environ.get(SWITCH)),
    reason="looks into the embedded adapters' own files, which Azure does not have",
)


def hub_beside(home: Path) -> Hub:
    """The hub of this process over a running host's state, with the host's secrets."""
    if harness.surroundings is None:
        return build(Settings(home=home))
    environment = harness.surroundings(home)
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "REQUESTS_CA_BUNDLE"):
        os.environ[name] = environment[name]
    return build(Settings(home=home, key_vault_url=environment["HUB_KEY_VAULT_URL"]))


def queue_beside(home: Path) -> QueueSender:
    """The queues of a running host, for another module of the platform to send to."""
    if harness.surroundings is None:
        return build(Settings(home=home)).queue
    return ServiceBusQueue(harness.surroundings(home)["ServiceBusConnection"])


class AzureServices:
    """One namespace, vault, SignalR Service and model for each host's state directory; one table service and one
    issuer of tokens for all."""

    def __init__(self, folder: Path) -> None:
        if MISSING is not None:
            pytest.skip(MISSING)
        self._folder = folder
        self._stack = ExitStack()
        self._made = 0
        self._stacks: dict[Path, ExitStack] = {}
        self._environments: dict[Path, dict[str, str]] = {}
        self.namespaces: dict[Path, Namespace] = {}
        self.tables: dict[Path, Plug] = {}
        self.vaults: dict[Path, Plug] = {}
        self.realtime: dict[Path, Plug] = {}
        self.models: dict[Path, Plug] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._azurite = stack.enter_context(running_azurite("table", self._folder))
            identity = IdentityEndpoint(_TOKENS, TOKEN)
            self._identity = identity.environment
            stack.callback(identity.close)
            self._issuer = Issuer()
            stack.callback(self._issuer.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close_under(Path("/"))
        self._stack.close()

    def environment(self, home: Path) -> dict[str, str]:
        """The settings of the host over `home`; the same for a host that is started there again."""
        if home not in self._environments:
            with ExitStack() as stack:
                self._environments[home] = self._new_environment(home, stack)
                self._stacks[home] = stack.pop_all()
        return self._environments[home]

    def close_under(self, folder: Path) -> None:
        """End the endpoints of the hosts whose state is in `folder`: each takes processor time while it is there."""
        for home in [each for each in self._stacks if each.is_relative_to(folder)]:
            self._stacks.pop(home).close()
            del self._environments[home]

    def token(self, *arguments: str) -> str:
        """As `python -m devhost token` makes them, but of our issuer."""
        given = dict(zip(arguments[::2], arguments[1::2], strict=True))
        permissions = given.get("--permissions")
        return self._issuer.token(
            tenant_id=UUID(given.get("--tenant", DEVELOPMENT_TENANT)),
            user_id=UUID(given.get("--user", DEVELOPMENT_USER)),
            permissions=list(PERMISSIONS) if permissions is None else permissions.split(","),
            ttl_seconds=int(given.get("--ttl", "3600")),
        )

    def _new_environment(self, home: Path, stack: ExitStack) -> dict[str, str]:
        from tests.loopback.servicebus import QUEUES, QueueRules, running

        clock = AdjustableClock(home / "clock")
        rules = dict.fromkeys(QUEUES, QueueRules(lock_seconds=_LOCK_SECONDS))
        namespace = running(rules, now=lambda: clock.now().timestamp())
        self.namespaces[home] = stack.enter_context(namespace)
        self._made += 1
        folder = self._folder / f"vault-{self._made}"
        folder.mkdir()
        tables = self.tables[home] = stack.enter_context(plugged())
        address = urlsplit(self._azurite)
        tables.target = int(address.port or 0)
        plug = self.vaults[home] = stack.enter_context(plugged())
        # The SDK lets the vault's address end in the resource's name, as in vault.azure.net.
        vault = KeyVaultServer(folder, resource=f"https://0.0.1:{plug.port}")
        plug.target = int(urlsplit(vault.url).port or 0)
        stack.callback(vault.close)
        return {
            **self.namespaces[home].environment,
            "HUB_TABLES_CONNECTION": tables_connection(f"http://127.0.0.1:{tables.port}{address.path}"),
            "HUB_KEY_VAULT_URL": f"https://127.0.0.1:{plug.port}",
            "HUB_SIGNALR_ENDPOINT": self._signalr(home, clock, stack),
            "HUB_OPENAI_ENDPOINT": self._openai(home, stack),
            "HUB_OPENAI_TIMEOUT_SECONDS": str(MODEL_SECONDS),
            "REQUESTS_CA_BUNDLE": str(vault.ca_file),
            **self._identity,
            **self._issuer.environment,
        }

    def _signalr(self, home: Path, clock: AdjustableClock, stack: ExitStack) -> str:
        plug = self.realtime[home] = stack.enter_context(plugged())
        endpoint = f"http://127.0.0.1:{plug.port}"
        plug.target = stack.enter_context(signalr.running(endpoint=endpoint, clock=clock)).port
        return endpoint

    def _openai(self, home: Path, stack: ExitStack) -> str:
        plug = self.models[home] = stack.enter_context(plugged())
        service = stack.enter_context(azure_openai.running())
        plug.target = int(urlsplit(service.address).port or 0)
        return f"http://127.0.0.1:{plug.port}"
