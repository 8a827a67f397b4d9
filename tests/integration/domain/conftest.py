"""Use cases run with small steps, so that every loop over pages sees a second one."""

from __future__ import annotations

import pytest

from tests.worlds.small_steps import make_small


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
