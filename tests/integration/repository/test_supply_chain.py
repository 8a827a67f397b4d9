"""What is installed is what was locked, and the workflows let nobody else's code near the deployment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOCKS = [
    "requirements",
    "requirements-dev",
    "devhost/requirements",
    "devhost/installer",
    "tests/loopback/requirements",
]


def asked(path: Path) -> set[str]:
    """The pins of an `.in` file and of those that it includes."""
    pins: set[str] = set()
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            pins |= asked(path.parent / text[3:])
        elif text:
            assert "==" in text, f"{path.name}: {text} is not pinned"
            pins.add(re.sub(r"\[.*?\]|\s*;.*|\s", "", text).lower())
    return pins


def locked(path: Path) -> dict[str, str]:
    """Each pin of a lock file, with the text of its hashes."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        pin, _, hashes = line.partition(" --hash=")
        found[re.sub(r"\[.*?\]|\s*;.*|\s", "", pin).lower()] = hashes
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_everything_that_is_asked_for_is_locked_to_files_by_their_hashes(name: str) -> None:
    found = locked(ROOT / f"{name}.txt")
    assert asked(ROOT / f"{name}.in") <= set(found), "run `make lock`"
    assert [pin for pin, hashes in found.items() if "sha256:" not in hashes] == []


def test_all_locks_agree_on_a_version_for_each_python() -> None:
    """Two files of one environment that name two versions would be installed one over the other."""
    app, whole = locked(ROOT / "requirements.txt"), locked(ROOT / "requirements-dev.txt")
    assert set(app) <= set(whole)
    assert {pin: app[pin] for pin in app} == {pin: whole[pin] for pin in app}


def test_every_installation_of_the_makefile_asks_for_hashes() -> None:
    text = (ROOT / "Makefile").read_text()
    installs = re.findall(r"^.*(?:\$\(pip\)|uv pip install).*$", text, re.MULTILINE)
    assert len(installs) >= 3
    assert [line for line in installs if "--require-hashes" not in line] == []


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return dict(document["jobs"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_hold_no_secret(path: Path) -> None:
    text = path.read_text()
    for used in re.findall(r"uses: (\S+.*)", text):
        assert used.startswith("$/") or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", used), used
    assert "secrets." not in text, "federated credentials need none"


def test_zizmor_finds_nothing_in_the_workflows() -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    found = subprocess.run(
        [zizmor, "--offline", "--persona", "auditor", "--no-progress", *WORKFLOWS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
