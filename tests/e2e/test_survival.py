"""Killing the host loses nothing (a short form of `make soak`)."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from bench.soak import survive

pytestmark = pytest.mark.e2e


def test_every_event_is_delivered_though_the_host_is_killed_twice(tmp_path: Path) -> None:
    outcome = survive(tmp_path / "hub", events=500, kills=2, workers=2, rng=random.Random(7))
    assert outcome.missing == 0
    assert outcome.statuses == {"Delivered": 500}
    assert outcome.duplicates <= outcome.interrupted_at_most
    assert outcome.attempts_recorded >= 500


def test_the_host_drains_and_exits_0(tmp_path: Path) -> None:
    from bench.harness import HostProcess

    host = HostProcess(tmp_path / "hub").start()
    started = time.monotonic()
    assert host.stop() == 0
    assert time.monotonic() - started < 10
