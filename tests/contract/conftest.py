"""Endpoints for the Azure adapters, on loopback only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.azurite import running_azurite, tables_connection


@pytest.fixture(scope="session")
def azurite_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of Azurite's table service."""
    with running_azurite("table", tmp_path_factory.mktemp("azurite")) as address:
        yield tables_connection(address)
