"""What the Azure adapters and the SQL repositories are tested over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.azure.keyvault.store import KeyVaultSecretStore
from infra.sql.engine import Database
from tests.fixtures.keyvault_server import KeyVaultServer, VaultState
from tests.loopback.azurite import running_azurite, tables_connection
from tests.worlds.sql_server_database import SERVER, empty, fresh_database, needs_sql_server
from tests.worlds.sql_world import SqlWorld, world_under
from tests.worlds.vault_credential import FixedCredential


@pytest.fixture(scope="session")
def azurite_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of Azurite's table service."""
    with running_azurite("table", tmp_path_factory.mktemp("azurite")) as address:
        yield tables_connection(address)


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


@pytest.fixture(scope="session")
def sql_server() -> Iterator[Database]:
    """A fresh, migrated database on the SQL Server that the environment names."""
    with fresh_database(SERVER) as database:
        yield database


@pytest.fixture(params=["sqlite", pytest.param("sqlserver", marks=needs_sql_server)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlWorld]:
    """An empty world on each of the databases; suites of other ports have worlds of their own."""
    if request.param == "sqlite":
        with world_under(tmp_path) as made:
            yield made
        return
    database = request.getfixturevalue("sql_server")
    empty(database)
    yield SqlWorld(database)
