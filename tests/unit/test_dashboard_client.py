"""The dashboard's scripts in Node: the realtime connection by a clock that is moved, and texts."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from bench.harness import ROOT

STATIC = ROOT / "functions" / "http" / "static"
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.mark.parametrize(
    ("lasts", "open_for"),
    [(3600, 3600), (300, 300), (-7200, 60), (86_400, 3600)],
    ids=["an hour", "a key that expires", "a clock that is fast", "a clock that is slow"],
)
def test_it_negotiates_anew_when_what_it_negotiated_ends(lasts: int, open_for: int) -> None:
    """SignalR Service would leave it open, and deaf."""
    printed = _printed("dashboard_client.cjs", "client.js", str(lasts))
    assert printed == {"closedAfter": open_for, "negotiations": 2}


def test_what_stands_between_backticks_is_shown_as_code() -> None:
    told = _printed("dashboard_text.cjs", "attention.js", "12 events of `A<b>` went out.")
    assert told == ["12 events of ", {"code": "A<b>"}, " went out."]


def _printed(script: str, source: str, argument: str) -> Any:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on PATH")
    command = [node, FIXTURES / script, STATIC / source, argument]
    return json.loads(subprocess.check_output(command, text=True, timeout=20))
