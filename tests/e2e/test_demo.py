"""`make demo` tells its story to the end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


def _tell(**settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    command = [sys.executable, "-m", "devhost.demo"]
    return subprocess.run(
        command, cwd=ROOT, env=kept | settings, capture_output=True, text=True, timeout=90, check=False
    )


def test_every_event_arrives_and_a_receiver_that_failed_gets_its_own_in_the_end() -> None:
    told = _tell(COLUMNS="100")
    assert told.returncode == 0, told.stdout + told.stderr
    lines = {line.strip("│ ").partition("│")[0].strip(): line for line in told.stdout.splitlines()}
    assert "1,000" in lines["Delivered and acknowledged"]
    assert "1,000" in lines["Signatures valid"]
    assert " 20 " in lines["... and arrived in the end"]
    assert "POST /api/webhooks: Active. Verified." in told.stdout
    assert "A forged delivery is refused" in told.stdout
    assert "\x1b" not in told.stdout
    assert "Traceback" not in told.stderr


def test_it_says_so_when_there_is_no_hub(tmp_path: Path) -> None:
    told = _tell(HUB_URL="http://127.0.0.1:9", HUB_HOME=str(tmp_path))
    assert told.returncode == 1
    assert "The demo stopped" in told.stdout
