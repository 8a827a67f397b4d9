"""A desk for every test of incoming webhooks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds.incoming_desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.hub.database.close()
