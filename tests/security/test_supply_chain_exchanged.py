"""Somebody else's code comes in: as a package under a locked version, or from a fork into the deployment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOCKED = "certifi==2026.10.18"


def jobs(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text())["jobs"])


def hashes_of(pin: str) -> str:
    """Return the hashes of a pin in the app's lock, as `--hash` takes them."""
    text = (ROOT / "requirements.txt").read_text().replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.startswith(pin))
    return " ".join(re.findall(r"--hash=\S+", line))


def test_a_package_exchanged_under_the_same_version_is_refused(tmp_path: Path) -> None:
    """What somebody put into the place of a package has another hash, whatever its version says."""
    package = tmp_path / "certifi-2026.10.18-py3-none-any.whl"
    package.write_bytes(b"PK not what was locked")
    lock = tmp_path / "lock.txt"
    hashes = hashes_of(LOCKED)
    lock.write_text(f"certifi @ {package.as_uri()} {hashes}\n")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-index", "--disable-pip-version-check"]
    refused = subprocess.run(
        [*pip, "--require-hashes", "-r", str(lock), "-d", str(tmp_path / "got")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def test_a_fork_whose_branch_is_called_main_is_not_deployed() -> None:
    """A pull request from a fork whose branch is called main once passed: `workflow_run` knows branches by name."""
    for path in WORKFLOWS:
        triggers = yaml.safe_load(path.read_text())[True]  # YAML takes the word `on` for a truth value
        assert not {"workflow_run", "pull_request_target"} & set(triggers), path.name
        for name, job in jobs(path).items():
            if job.get("permissions", {}).get("id-token") == "write":
                assert "github.ref == 'refs/heads/main'" in job["if"], f"{path.name}: {name}"
                assert "||" not in job["if"]
        assert "id-token" not in yaml.safe_load(path.read_text())["permissions"], "jobs ask for it, not files"
    assert "github.event_name == 'push'" in jobs(ROOT / ".github" / "workflows" / "ci.yml")["deploy"]["if"]
