"""Killing the host loses nothing (a short form of `make soak`)."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from bench.soak import survive

pytestmark = pytest.mark.e2e


def test_every_event_is_delivered_and_in_order_though_the_host_is_killed_twice(tmp_path: Path) -> None:
    outcome = survive(tmp_path / "hub", events=600, kills=2, workers=2, rng=random.Random(7), subjects=10)
    assert outcome.missing == 0
    assert outcome.statuses == {"Delivered": 600}
    assert outcome.duplicates <= outcome.interrupted_at_most
    assert outcome.attempts_recorded >= 600
    assert outcome.overtaken == []
    assert outcome.ordered_statuses == {"Delivered": 600}
    assert outcome.ordered_posts > 600, "some failed, and held those behind them"


def test_the_host_drains_and_exits_0(tmp_path: Path) -> None:
    from bench.harness import HostProcess

    host = HostProcess(tmp_path / "hub").start()
    started = time.monotonic()
    assert host.stop() == 0
    assert time.monotonic() - started < 10
