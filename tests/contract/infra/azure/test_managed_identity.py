"""Every adapter that enters with the managed identity, against the token endpoint of a Function App on loopback: what
it asks for, for whom, how often, and what is left when there is no token."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest

from domain.core.errors import Unavailable
from domain.core.ports import TableEntity
from infra.azure.credential import managed_identity
from infra.azure.keyvault.store import KeyVaultSecretStore
from infra.azure.openai.access import IdentityModelAccess as ModelIdentity
from infra.azure.servicebus.queue import ServiceBusQueue
from infra.azure.signalr.access import IdentityAccess as SignalRIdentity
from infra.azure.tables.store import AzureTableStore
from infra.sql.login import SCOPE
from tests.fixtures.keyvault_server import TOKEN, KeyVaultServer
from tests.loopback.azurite import running_azurite
from tests.loopback.managed_identity import SECRET, IdentityEndpoint

pytestmark = pytest.mark.azure

CLIENT = "11111111-2222-3333-4444-555555555555"
STORAGE = "https://storage.azure.com"
STRANGER = "99999999-2222-3333-4444-555555555555"
Entering = Callable[[str, KeyVaultServer], Callable[[], object]]


def vault(client: str, server: KeyVaultServer) -> Callable[[], object]:
    return KeyVaultSecretStore(server.url, client, verify_challenge_resource=False).names


def tables(client: str, server: KeyVaultServer) -> Callable[[], object]:
    return AzureTableStore(endpoint=server.url, client_id=client).ping


def signalr(client: str, server: KeyVaultServer) -> Callable[[], object]:
    access = SignalRIdentity("https://hub.service.signalr.net", client_id=client)
    return lambda: access.service_token("https://hub.service.signalr.net/api", datetime.now(UTC))


def model(client: str, server: KeyVaultServer) -> Callable[[], object]:
    return ModelIdentity(client).headers


def service_bus(client: str, server: KeyVaultServer) -> Callable[[], object]:
    """What the SDK asks of the credential when it puts a token, see `test_queue_azure.py`."""
    queue = ServiceBusQueue(namespace="hub.servicebus.windows.net", client_id=client)
    credential = queue._new_client()._credential
    return lambda: credential.get_token("https://servicebus.azure.net//.default")


def database(client: str, server: KeyVaultServer) -> Callable[[], object]:
    credential = managed_identity(client)
    return lambda: credential.get_token(SCOPE)


def storage_token() -> str:
    """Azurite reads its times, issuer and audience, and checks no signature."""
    now = int(time.time())
    times = {"iat": now - 60, "nbf": now - 60, "exp": now + 3600}
    claims = {"aud": STORAGE, "iss": f"https://sts.windows.net/{CLIENT}/"}
    return jwt.encode(claims | times, "a key that nobody looks at, 32 bytes", algorithm="HS256")


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch, vault_server: KeyVaultServer) -> Iterator[IdentityEndpoint]:
    endpoint = IdentityEndpoint({STORAGE: storage_token()}, TOKEN, clients=(CLIENT,))
    for name, value in endpoint.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(vault_server.ca_file))
    monkeypatch.setenv("PATH", "")  # the SDK would go on to the command line tools that a developer has
    yield endpoint
    endpoint.close()


@pytest.mark.parametrize(
    ("entering", "resource"),
    [
        (vault, "https://vault.azure.net"),
        (signalr, "https://signalr.azure.com"),
        (model, "https://cognitiveservices.azure.com"),
        (service_bus, "https://servicebus.azure.net/"),
        (database, "https://database.windows.net"),
    ],
)
def test_a_token_for_the_very_resource_is_had_once(
    identity: IdentityEndpoint, vault_server: KeyVaultServer, entering: Entering, resource: str
) -> None:
    enter = entering(CLIENT, vault_server)
    enter()
    enter()
    assert identity.asked == [{"api-version": "2019-08-01", "resource": resource, "client_id": CLIENT}]


def test_tables_are_made_written_and_read_with_a_token_over_tls(
    vault_server: KeyVaultServer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with running_azurite(
        "table", tmp_path, certificate=(vault_server.ca_file, vault_server.key_file)
    ) as endpoint:
        identity: IdentityEndpoint = request.getfixturevalue("identity")
        store = AzureTableStore(endpoint=endpoint, client_id=CLIENT)
        store.insert("Usage", TableEntity("tenant", "row", {"calls": 7}))
        found = store.get("Usage", "tenant", "row")
    assert found is not None
    assert found.properties == {"calls": 7}
    assert identity.asked == [{"api-version": "2019-08-01", "resource": STORAGE, "client_id": CLIENT}]


@pytest.mark.parametrize("entering", [vault, tables, signalr, model])
@pytest.mark.parametrize("wrong", ["identity", "secret"])
def test_without_a_token_the_service_is_unavailable_and_nothing_is_told(
    identity: IdentityEndpoint,
    vault_server: KeyVaultServer,
    monkeypatch: pytest.MonkeyPatch,
    entering: Entering,
    wrong: str,
) -> None:
    if wrong == "secret":
        monkeypatch.setenv("IDENTITY_HEADER", "not-the-secret")
    enter = entering(STRANGER if wrong == "identity" else CLIENT, vault_server)
    with pytest.raises(Unavailable) as refused:
        enter()
    for secret in (SECRET, "not-the-secret", TOKEN):
        assert secret not in str(refused.value)
