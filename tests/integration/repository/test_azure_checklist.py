"""What docs/azure-checklist.md says was run is run by the tests that it names."""

from __future__ import annotations

import re

import pytest

from tests import ROOT
from tests.worlds.worker_environment import LIBRARY

PAGE = (ROOT / "docs" / "azure-checklist.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
THERE = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_the_checklist_names_is_there(name: str) -> None:
    assert name in THERE


def test_every_test_under_the_worker_is_claimed_by_the_checklist_or_about_the_same_as_one() -> None:
    files = sorted((ROOT / "tests/worker").glob("test_*.py"))
    claimed = [path.name for path in files if any(f"def {name}(" in path.read_text() for name in NAMED)]
    assert claimed == [path.name for path in files]


def test_the_checklist_names_the_version_of_the_library_that_is_run() -> None:
    assert f"`{LIBRARY}`" in PAGE


def test_what_nobody_has_run_says_how_to_see_it() -> None:
    rows = re.findall(r"^\| \[ \] \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 10
    assert all(what.strip() and how.strip() for what, how in rows)
