"""The state is backed up while the host serves, and a host goes on from the copy (docs/backup.md)."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bench.harness import ROOT, HostProcess, running
from tests.worlds.azure_services import SWITCH
from tests.worlds.hub_api import Api, Receiver

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(os.environ.get(SWITCH)), reason="over the Azure SDKs the state is elsewhere"),
]


def devhost(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devhost", *arguments],
        cwd=ROOT,
        check=False,
        env={**os.environ, "HUB_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_host_goes_on_from_a_backup_taken_under_load(
    own_host: HostProcess, receiver: Receiver, tmp_path: Path
) -> None:
    tenant = ("--tenant", "00000000-0000-4000-8000-000000000001")
    api = Api(own_host, own_host.token(*tenant))
    webhook = api.webhook(receiver.url)
    before = [api.raise_event() for _ in range(50)]
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            api.raise_event()

    loading = threading.Thread(target=load)
    loading.start()
    try:
        made = devhost(own_host.home, "backup", str(tmp_path / "copy"))
    finally:
        stop.set()
        loading.join()
    assert made.returncode == 0, made.stderr
    assert oct((tmp_path / "copy" / "master.key").stat().st_mode & 0o777) == "0o600"

    restored = devhost(tmp_path / "new", "restore", str(tmp_path / "copy"))
    assert restored.returncode == 0, restored.stderr
    with running(tmp_path / "new") as host:
        again = Api(host, host.token(*tenant))
        assert again("GET", f"/webhooks/{webhook['webhookId']}")[1]["url"] == receiver.url
        event = again.raise_event()
        again.eventually(
            lambda: event in {request["headers"]["webhook-id"] for request in receiver.received}
        )  # its secret is opened and signs
        # What waited in the backup may be delivered once more, under the same id; nothing is lost.
        again.eventually(
            lambda: set(before) <= {request["headers"]["webhook-id"] for request in receiver.received},
            seconds=60,
        )
        assert again("GET", "/audit/verify")[1]["intact"]
        with sqlite3.connect(host.home / "hub.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
