"""The dashboard's realtime connection, in Node and by a clock that is moved."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from bench.harness import ROOT

CLIENT = ROOT / "functions" / "http" / "static" / "client.js"
SCRIPT = ROOT / "tests" / "fixtures" / "dashboard_client.cjs"


@pytest.mark.parametrize(
    ("lasts", "open_for"),
    [(3600, 3600), (300, 300), (-7200, 60), (86_400, 3600)],
    ids=["an hour", "a key that expires", "a clock that is fast", "a clock that is slow"],
)
def test_it_negotiates_anew_when_what_it_negotiated_ends(lasts: int, open_for: int) -> None:
    """SignalR Service would leave it open, and deaf."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on PATH")
    printed = subprocess.check_output([node, SCRIPT, CLIENT, str(lasts)], text=True, timeout=20)
    assert json.loads(printed) == {"closedAfter": open_for, "negotiations": 2}
