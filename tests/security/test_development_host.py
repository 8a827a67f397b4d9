"""What a web page, or somebody else on the machine, can do to the development host."""

from __future__ import annotations

import http.client
import json
import os
import sqlite3
from pathlib import Path

import pytest

from bench.harness import HostProcess, running
from devhost.durable.api import PREFIX
from infra.sql.migrate import upgrade_embedded
from tests.worlds.builders import new_database


def asked(
    host: HostProcess, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    """One request with just these headers, `Host` among them when it is given."""
    connection = http.client.HTTPConnection("127.0.0.1", host.port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


@pytest.mark.parametrize("key", [None, "", "x", "durabletask_extension"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/instances"),
        ("POST", "/orchestrators/sync_job"),
        ("POST", "/instances/job-1/terminate"),
        ("DELETE", "/instances?createdTimeFrom=2020-01-01"),
        ("GET", "/rpc/instances"),
        ("GET", "/rpc//instances"),
        ("GET", "/rpc/x/instances"),
    ],
)
def test_orchestrations_are_ended_or_read_by_whoever_reaches_the_port(
    host: HostProcess, method: str, path: str, key: str | None
) -> None:
    given = {} if key is None else {"x_functions_key": key}
    status, body, _ = asked(host, method, PREFIX + path, **given)
    assert (status, body) == (401, b"")


def test_the_key_of_the_host_opens_the_orchestrations(host: HostProcess) -> None:
    key = json.loads((host.home / "host-keys.json").read_text())["masterKey"]
    assert asked(host, "GET", f"{PREFIX}/instances", x_functions_key=key)[0] == 200
    assert asked(host, "GET", f"{PREFIX}/instances?code={key}")[0] == 200


@pytest.mark.parametrize(
    "name", ["attacker.example", "attacker.example:{port}", "localhost.attacker.example:{port}", "localhost@x", "[", ""]
)  # fmt: skip
def test_a_page_reads_answers_by_a_name_that_it_lets_resolve_to_loopback(
    host: HostProcess, name: str
) -> None:
    status, body, headers = asked(host, "GET", "/api/openapi.json", Host=name.format(port=host.port))
    assert status == 421
    assert headers["content-type"] == "application/problem+json"
    assert b"paths" not in body


@pytest.mark.parametrize(
    "name", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "hub.localhost:{port}"]
)
def test_its_own_names_are_answered(host: HostProcess, name: str) -> None:
    assert asked(host, "GET", "/api/health/live", Host=name.format(port=host.port))[0] == 200


@pytest.mark.parametrize(
    "origin", ["https://attacker.example", "null", "http://localhost:1", "http://127.0.0.1", "file://", "http://["]
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_a_page_of_another_origin_posts_with_the_browser_of_a_developer(
    host: HostProcess, method: str, origin: str
) -> None:
    status, _, headers = asked(
        host, method, "/api/webhooks/incoming/00000000-0000-4000-8000-000000000001", b"{}", Origin=origin
    )
    assert status == 403
    assert "access-control-allow-origin" not in headers


def test_a_page_of_the_host_itself_may_post(host: HostProcess) -> None:
    status, _, _ = asked(host, "POST", "/api/events", b"{}", Origin=f"http://127.0.0.1:{host.port}")
    assert status == 401, "the app was asked, and wants a token"


def test_another_user_of_the_machine_reads_the_databases(tmp_path: Path) -> None:
    """Those of an earlier version, and those that are made, whatever the shell's mask is."""
    home = tmp_path / "hub"
    new_database(home)
    sqlite3.connect(home / "realtime.db").close()
    for name in ("hub.db", "realtime.db"):
        (home / name).chmod(0o644)
    before = os.umask(0o022)
    try:
        with running(home) as started:
            assert asked(started, "GET", "/api/health/ready")[0] == 200
            readable = [
                file.name for file in home.rglob("*") if file.is_file() and file.stat().st_mode & 0o077
            ]
            assert {"hub.db", "durable.db", "queue.db"} <= {file.name for file in home.iterdir()}
    finally:
        os.umask(before)
    assert readable == []


def test_a_database_that_is_migrated_by_hand_is_its_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "state"
    before = os.umask(0o022)
    try:
        assert upgrade_embedded(home)
    finally:
        os.umask(before)
    assert [file.name for file in home.glob("*.db*") if file.stat().st_mode & 0o077] == []
