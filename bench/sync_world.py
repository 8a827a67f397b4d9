"""A host, and a paged API that it synchronises from, for benchmarks and end-to-end tests."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness import ROOT, HostProcess, call, free_port


class ApiProcess:
    """`python -m tests.fixtures.paged_api` on a free port."""

    def __init__(self, records: int, **settings: float) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.paged_api", str(self.port), str(records)], cwd=ROOT
        )
        for _ in range(2_000):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            time.sleep(0.01)
        else:
            raise RuntimeError("the API did not start")
        if settings:
            self.configure(**settings)

    def configure(self, **settings: Any) -> None:
        call("POST", f"{self.url}/configure", settings)

    def stats(self) -> dict[str, int]:
        return dict(call("GET", f"{self.url}/stats")[1])

    def truth(self) -> dict[str, int]:
        """Every record's latest version."""
        return dict(call("GET", f"{self.url}/truth")[1])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@contextlib.contextmanager
def serving(records: int, **settings: float) -> Iterator[ApiProcess]:
    api = ApiProcess(records, **settings)
    try:
        yield api
    finally:
        api.stop()


class SyncClient:
    """What a tenant does to synchronise."""

    def __init__(self, host: HostProcess, token: str) -> None:
        self._host = host
        self._token = token

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return call(method, f"{self._host.url}{path}", body, token=self._token)

    def integration(self, url: str, *, name: str = "Guests", size: int = 100) -> str:
        """Return the id of an active REST integration of the paged API."""
        configuration = {
            "baseUrl": url,
            "healthPath": "/health",
            "listRequest": {
                "path": "/records",
                "recordsPointer": "/records",
                "idPointer": "/id",
                "modifiedPointer": "/modified",
                "sinceParameter": "since",
                "paging": {
                    "style": "cursor",
                    "parameter": "cursor",
                    "sizeParameter": "size",
                    "size": size,
                    "cursorPointer": "/next",
                },
            },
        }
        body = {
            "name": name,
            "integrationType": "CustomAPI",
            "provider": "REST",
            "configuration": configuration,
            "test": False,
        }
        status, answer = self("POST", "/integrations", body)
        assert status == 201 and answer["status"] == "Active", answer
        return str(answer["integrationId"])

    def start(self, integration_id: str, sync_type: str = "Full", **fields: Any) -> str:
        body = {"integrationId": integration_id, "syncType": sync_type, **fields}
        status, answer = self("POST", "/datasyncs", body)
        assert status == 201, answer
        return str(answer["dataSyncJobId"])

    def job(self, job_id: str) -> dict[str, Any]:
        status, answer = self("GET", f"/datasyncs/{job_id}")
        assert status == 200, answer
        return dict(answer)

    def ended(self, job_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """Return the job once it has ended. A host that is just restarting is waited for."""
        deadline = time.monotonic() + seconds
        job: dict[str, Any] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, AssertionError):
                job = self.job(job_id)
                if job["status"] not in ("Scheduled", "Running"):
                    return job
            time.sleep(0.05)
        raise AssertionError(f"the job did not end: {job}")

    def progressed(self, job_id: str, records: int, seconds: float = 60.0) -> dict[str, Any]:
        """Return the job once so many records are processed, or it ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # a worker that was killed may still be asked
                job = self.job(job_id)
                if job["recordsProcessed"] >= records or job["status"] not in ("Scheduled", "Running"):
                    return job
            time.sleep(0.01)
        raise AssertionError("the job did not get so far")


def stored(home: Path, integration_id: str) -> dict[str, int]:
    """Version by external id of every live record, straight from the database."""
    import json

    with contextlib.closing(sqlite3.connect(home / "hub.db", timeout=30)) as database:
        rows = database.execute(
            "SELECT ExternalId, Data FROM SyncedRecords WHERE IntegrationId = ? AND DeletedAt IS NULL",
            (integration_id.replace("-", ""),),
        ).fetchall()
    assert len({key for key, _ in rows}) == len(rows)
    return {key: int(json.loads(data)["fields"]["version"]) for key, data in rows}
