"""Peers that the adapters of storage are tested against."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loopback.azurite import running_azurite


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of Azurite's blob service."""
    with running_azurite("blob", tmp_path_factory.mktemp("azurite")) as address:
        yield address
