"""Endpoints for the Azure adapters, on loopback only."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from infra.keyvault.store import KeyVaultSecretStore
from tests.azurite import running_azurite, tables_connection
from tests.fixtures.keyvault_server import TOKEN, KeyVaultServer, VaultState


@pytest.fixture(scope="session")
def azurite_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of Azurite's table service."""
    with running_azurite("table", tmp_path_factory.mktemp("azurite")) as address:
        yield tables_connection(address)


class FixedCredential:
    """A token credential as azure-core calls it; `asked` is what for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_token_info(self, *scopes: str, options: object = None) -> object:
        from azure.core.credentials import AccessTokenInfo

        self.asked += scopes
        return AccessTokenInfo(TOKEN, int(time.time()) + 3600)

    def get_token(self, *scopes: str, **options: object) -> object:
        from azure.core.credentials import AccessToken

        return AccessToken(TOKEN, int(time.time()) + 3600)


@pytest.fixture(scope="module")
def vault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyVaultServer]:
    made = KeyVaultServer(tmp_path_factory.mktemp("vault"))
    yield made
    made.close()


@pytest.fixture
def vault(vault_server: KeyVaultServer) -> VaultState:
    vault_server.state = VaultState()
    return vault_server.state


@pytest.fixture
def credential() -> FixedCredential:
    return FixedCredential()


@pytest.fixture
def key_vault(
    vault_server: KeyVaultServer, vault: VaultState, credential: FixedCredential
) -> Iterator[KeyVaultSecretStore]:
    made = KeyVaultSecretStore(
        vault_server.url,
        credential=credential,  # type: ignore[arg-type]
        verify_challenge_resource=False,
        connection_verify=str(vault_server.ca_file),
        retry_backoff_factor=0.01,
    )
    yield made
    made.close()
