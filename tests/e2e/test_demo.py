"""`make demo` tells its story to the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.e2e


def _tell(**settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    command = [sys.executable, "-m", "devhost.demo"]
    return subprocess.run(
        command, cwd=ROOT, env=kept | settings, capture_output=True, text=True, timeout=90, check=False
    )


@pytest.fixture(scope="module")
def story() -> str:
    told = _tell(COLUMNS="100")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "\x1b" not in told.stdout
    assert "Traceback" not in told.stderr
    return told.stdout


@pytest.fixture(scope="module")
def numbers(story: str) -> dict[str, str]:
    """The closing table."""
    rows = [line.strip("│ ").split("│") for line in story.splitlines() if line.startswith("│")]
    return {row[0].strip(): row[1].strip() for row in rows if len(row) == 2}


def test_every_event_arrives_and_a_receiver_that_failed_gets_its_own_in_the_end(
    story: str, numbers: dict[str, str]
) -> None:
    assert numbers["Delivered and acknowledged"] == numbers["Signatures valid"] == "1,000"
    assert numbers["... and arrived in the end"] == "20"
    assert "POST /api/webhooks: Active. Verified." in story
    assert "A forged delivery is refused" in story


def test_ten_thousand_records_are_synchronised_and_then_only_what_changed(
    story: str, numbers: dict[str, str]
) -> None:
    assert "POST /api/integrations: Active." in story
    assert re.search(r"^Full import .* 10,000 of 10,000 [\d,]+ a second$", story, re.MULTILINE)
    assert "10,000 records, every one of them once." in story
    assert "7 written, 9,993 left alone." in story
    assert numbers["Records synchronised"] == "10,000"


def test_an_api_key_works_up_to_its_limit_and_until_it_is_revoked(
    story: str, numbers: dict[str, str]
) -> None:
    calls = re.findall(r"^call (\d): (\d+), (\d) left", story, re.MULTILINE)
    assert calls == [(str(number), "200", str(5 - number)) for number in range(1, 6)]
    assert "call 6: 429, The API key's limit of 5 requests an hour is used up" in story
    assert "Revoked; the next call: 401" in story
    assert not re.search(r"ihk_\w{20}", story), "the key itself is not shown on a terminal"
    assert numbers["Calls an API key made / was refused"] == "5 / 2"


def test_it_says_so_when_there_is_no_hub(tmp_path: Path) -> None:
    told = _tell(HUB_URL="http://127.0.0.1:9", HUB_HOME=str(tmp_path))
    assert told.returncode == 1
    assert "The demo stopped" in told.stdout
