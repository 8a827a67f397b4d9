"""Integrations over HTTP against a running host, and a host that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.harness import ROOT, HostProcess, call, running
from domain.integrations.credential_store import CredentialStore
from infra.app.build import build
from infra.app.settings import Settings
from infra.embedded.secrets import EmbeddedSecretStore
from tests.worlds.azure_services import embedded_only
from tests.worlds.builders import FakeClock

pytestmark = pytest.mark.e2e

GOOD, SECOND, WRONG = "planted-good-7f3a91c2", "planted-second-51be08d4", "planted-wrong-c90d77e6"
HOOK = "planted-hook-2b4c6d8e"


class Vendor:
    """An API that takes two keys, repeats the key it was given in its errors, and may be told to hang."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                vendor.asked.set()
                vendor.may_answer.wait(20)
                key = self.headers.get("X-API-Key", "")
                is_good = key in (GOOD, SECOND)
                body = json.dumps({"message": f"hello {key}"}).encode()
                self.send_response(200 if is_good else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()

    def body(self, key: str = GOOD, name: str = "Orders", **fields: Any) -> dict[str, Any]:
        configuration = {"baseUrl": self.url, "auth": "apiKey", "apiKey": key, "healthPath": "/me"}
        return {
            "name": name,
            "integrationType": "CustomAPI",
            "provider": "REST",
            "configuration": configuration,
            **fields,
        }


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    made = Vendor()
    yield made
    made.close()


class Client:
    def __init__(self, host: HostProcess) -> None:
        self._host, self._token = host, host.token()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(method, self._host.url + path, body, token=self._token, headers=named)


@embedded_only
def test_the_life_of_an_integration_and_no_secret_at_rest_in_clear__BR_IM_06_07(
    vendor: Vendor, tmp_path: Path
) -> None:
    home = tmp_path / "hub"
    with running(home, HUB_LOG_LEVEL="DEBUG") as host:
        ask = Client(host)
        status, made = ask("POST", "/integrations", vendor.body(), idempotency_key="once")
        assert (status, made["status"], made["configuration"]["apiKey"]) == (201, "Active", "********")
        assert ask("POST", "/integrations", vendor.body(), idempotency_key="once")[1] == made
        one = f"/integrations/{made['integrationId']}"
        status, refused = ask("POST", "/integrations", vendor.body())
        assert (status, refused["code"]) == (409, "BR-IM-01")
        status, draft = ask("POST", "/integrations", vendor.body(WRONG, "Wrong"))
        assert (status, draft["status"], draft["validation"]["failure"]) == (201, "Draft", "unauthorized")
        assert draft["reason"] == "The provider answered 401: hello ********"

        shown = made["configuration"] | {"healthPath": "/you"}
        status, changed = ask("PUT", one, {"configuration": shown, "name": "Renamed"}, if_match="*")
        assert (status, changed["configuration"]["healthPath"], changed["name"]) == (200, "/you", "Renamed")
        moved = {"configuration": shown | {"baseUrl": "https://elsewhere.example"}}
        status, refused = ask("PUT", one, moved)
        assert (status, refused["code"]) == (422, "secrets-needed") and "baseUrl" in refused["detail"]
        assert [error["pointer"] for error in refused["errors"]] == ["/configuration/apiKey"]
        assert ask("PUT", one, {"name": "x"}, if_match='"1"')[0] == 412
        credentials = {"credentials": {"apiKey": SECOND, "webhookSecret": HOOK}}
        assert ask("PUT", f"{one}/credentials", credentials)[0] == 200
        status, kept = ask("PUT", f"{one}/credentials", {"credentials": {"apiKey": WRONG}})
        assert (status, kept["code"]) == (409, "BR-IM-02")
        assert ask("POST", f"{one}/test")[1]["succeeded"] is True

        assert ask("POST", f"{one}/suspend", {"reason": "Maintenance"})[1]["status"] == "Suspended"
        status, unfit = ask("POST", f"{one}/review", {"note": "?"})
        assert (status, unfit["code"]) == (409, "illegal-move") and "activate" in unfit["detail"]
        assert ask("POST", f"{one}/activate")[1]["status"] == "Active"
        assert ask("GET", f"{one}/health")[1]["windows"].keys() == {"1h", "24h", "7d"}
        logs = ask("GET", f"{one}/logs?q=Maintenance")[1]
        assert [row["message"] for row in logs["items"]] == ["Maintenance"]
        listed = ask("GET", "/integrations?q=renamed&type=CustomAPI,CRM&sort=-name")[1]
        assert [row["integrationId"] for row in listed["items"]] == [made["integrationId"]]
        told = json.dumps([ask("GET", path)[1] for path in ("/integrations", one, f"{one}/logs", "/audit")])

        assert ask("DELETE", f"{one}?reason=done")[0] == 204
        assert ask("DELETE", one)[0] == 204
        gone = ask("GET", one)[1]
        assert (gone["status"], gone["reason"], gone["configuration"]) == ("Disconnected", "done", {})
        assert ask("GET", "/integrations?q=renamed")[1]["total"] == 0
        assert ask("GET", "/integrations/not-an-id")[0] == 404
    assert_nowhere(home, host.log, (GOOD, SECOND, WRONG, HOOK), told)


def assert_nowhere(home: Path, log: Path, planted: tuple[str, ...], told: str) -> None:
    """Not in an answer, the database, the queue, the tables, the log; in the secret store only encrypted."""
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {"hub.db", "queue.db", "tables.db", "secrets.db"} <= {path.name for path in files}
    for path in (*files, log):
        content = path.read_bytes()
        for secret in planted:
            assert secret.encode() not in content, f"{secret} is in {path.name}"
            assert secret not in told
    store = EmbeddedSecretStore(home)
    kept = [store.get(name) or "" for name in store.names("integration-")]
    store.close()
    assert len(kept) == 1 and WRONG in kept[0]  # the draft's, which was not disconnected


def test_the_catalogue_describes_every_provider_well_enough_to_draw_a_form(tmp_path: Path) -> None:
    with running(tmp_path / "hub", HUB_DISABLED_INTEGRATION_TYPES="CRM") as host:
        ask = Client(host)
        items = ask("GET", "/providers")[1]["items"]
        assert len(items) == 18
        for item in items:
            schema = item["configurationSchema"]
            assert schema["type"] == "object" and item["documentationUrl"].startswith("https://")
            assert item["isEnabled"] == (item["integrationType"] != "CRM")
        stripe = ask("GET", "/providers/Stripe")[1]
        assert stripe["configurationSchema"]["properties"]["apiKey"]["secret"] is True
        assert "secret" not in stripe["configurationSchema"]["properties"]["currency"]
        assert ask("GET", "/providers/Nobody")[0] == 404


def test_a_host_killed_during_validation_leaves_an_integration_that_can_be_activated(
    vendor: Vendor, tmp_path: Path
) -> None:
    host = HostProcess(tmp_path / "hub").start()
    vendor.may_answer.clear()
    ask = Client(host)
    lost = threading.Thread(
        target=lambda: _ignoring_loss(lambda: ask("POST", "/integrations", vendor.body()))
    )
    lost.start()
    assert vendor.asked.wait(20)
    host.kill()
    lost.join(20)
    vendor.may_answer.set()
    with running(tmp_path / "hub") as again:
        ask = Client(again)
        (left,) = ask("GET", "/integrations")[1]["items"]
        assert left["status"] == "PendingValidation" and "activate" in left["reason"]
        status, active = ask("POST", f"/integrations/{left['integrationId']}/activate")
        assert (status, active["status"]) == (200, "Active")


_DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from uuid import UUID
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.integrations.commands import CreateIntegration
from domain.integrations.service import IntegrationService
from infra.app.build import build
from infra.app.settings import Settings
from infra.sql.transaction import SqlTransaction

hub = build(Settings(home=Path(sys.argv[1])))
caller = Principal(UUID(int=1), UUID(int=2), frozenset(PERMISSIONS))
with hub.transactions.write() as unit:
    unit.users.see(caller.tenant_id, caller.user_id, "", hub.clock.now())
    unit.commit()
SqlTransaction.commit = lambda self: os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(hub.use(IntegrationService).create(caller, CreateIntegration.model_validate_json(sys.argv[2])))
"""


def test_a_process_killed_between_secret_and_commit_leaves_an_orphan_that_the_sweep_destroys(
    vendor: Vendor, tmp_path: Path
) -> None:
    home = tmp_path / "hub"
    arguments = [sys.executable, "-c", _DIES, str(home), json.dumps(vendor.body())]
    died = subprocess.run(arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert died.returncode == -signal.SIGKILL
    hub = build(Settings(home=home))
    assert len(hub.secrets.names("integration-")) == 1
    assert hub.use(CredentialStore).sweep(hub.transactions) == 0  # too young: its change may still be running
    later = build(Settings(home=home), clock=FakeClock(datetime.now(UTC) + timedelta(minutes=20)))
    assert later.use(CredentialStore).sweep(later.transactions) == 1
    assert later.secrets.names("integration-") == []
    with later.transactions.read() as tx:
        assert tx.integrations.all_ids(after=None, limit=10) == []
    for opened in (hub, later):
        opened.database.close()


def _ignoring_loss(action: Any) -> None:
    try:
        action()
    except OSError:
        return
