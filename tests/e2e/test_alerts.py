"""Alerts over real HTTP: a receiver fails, somebody is told and acknowledges, it recovers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.harness import HostProcess
from tests.worlds.hub_api import Api, Receiver, fresh_tenant

pytestmark = pytest.mark.e2e
_SCOPES = {"scopes": ["mail.send"]}
SOMEONE = {"recipient": "someone@example.org"}


class MailProvider:
    """As much of SendGrid as an integration needs: one verified sender. `mails` is what was to be delivered."""

    def __init__(self) -> None:
        self.mails: list[dict[str, Any]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(200, json.dumps(_SCOPES).encode())

            def do_POST(self) -> None:
                mail = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if mail["from"]["email"] != "hub@example.org":
                    said = "The from address does not match a verified Sender Identity."
                    self._answer(403, json.dumps({"errors": [{"message": said, "field": "from"}]}).encode())
                    return
                if "mail_settings" in mail:
                    self._answer(200, b"")
                    return
                provider.mails.append(mail)
                self._answer(202, b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mail() -> Iterator[MailProvider]:
    started = MailProvider()
    yield started
    started.close()


def _mail(mail: MailProvider, sender: str = "hub@example.org") -> dict[str, Any]:
    return {
        "name": "Mail",
        "integrationType": "EmailService",
        "provider": "SendGrid",
        "configuration": {"apiKey": "SG.0123456789", "fromEmail": sender, "baseUrl": mail.url},
    }


def _mail_sink(api: Api, mail: MailProvider) -> None:
    """Set the mail integration up as a person does who forgets things: each answer says what to add."""
    status, refused = api(
        "POST", "/integrations", _mail(mail, "nobody@example.org") | {"testOptions": SOMEONE}
    )
    assert (status, refused["status"]) == (201, "Draft"), refused
    assert "does not match a verified Sender Identity" in refused["reason"]
    status, created = api("POST", "/integrations", _mail(mail))
    assert (status, created["status"], mail.mails) == (201, "PendingValidation", []), created
    assert created["validation"]["cause"] == "recipient-needed"
    path = f"/integrations/{created['integrationId']}"
    status, problem = api("POST", f"{path}/activate", {"testOptions": {"recipient": "+15558675310"}})
    assert (status, problem["errors"][0]["pointer"]) == (422, "/testOptions/recipient")
    status, active = api("POST", f"{path}/activate", {"testOptions": SOMEONE})
    assert (status, active["status"], active["validation"]["delivered"]) == (200, "Active", True), active
    [tested] = mail.mails
    assert tested["personalizations"] == [{"to": [{"email": SOMEONE["recipient"]}]}]
    status, dry = api("POST", f"{path}/test", SOMEONE | {"sandbox": True})
    assert (status, dry["succeeded"], dry["validation"]["delivered"]) == (200, True, False), dry
    assert len(mail.mails) == 1
    mail.mails.clear()
    sinks = [{"integrationId": created["integrationId"], "recipients": ["ops@example.org"]}]
    status, rule = api("PUT", "/alerts/rules/webhook-failure-rate", {"sinks": sinks})
    assert status == 200, rule


def _alerts(api: Api, query: str = "") -> list[dict[str, Any]]:
    status, page = api("GET", f"/alerts{query}")
    assert status == 200, page
    return list(page["items"])


def _events(api: Api, count: int) -> None:
    events = [{"type": "BookingConfirmed", "data": {"n": n}} for n in range(count)]
    assert api("POST", "/events", {"events": events})[0] == 202


def test_a_failing_receiver_raises_an_alert_that_recovers_with_it__12_3(
    clocked_host: HostProcess, receiver: Receiver, mail: MailProvider
) -> None:
    api = fresh_tenant(clocked_host)
    _mail_sink(api, mail)
    witness = Receiver()
    api.webhook(witness.url, eventTypes=["AlertRaised", "AlertRecovered"])
    webhook = api.webhook(receiver.url, eventTypes=["BookingConfirmed"])
    receiver.respond = lambda request: (400, {})
    _events(api, 12)
    api.eventually(lambda: len(api.deliveries(webhook["webhookId"], "&status=Failed")) == 12)

    # the round of the timer comes within a minute of the app's clock
    [opened] = api.eventually(lambda: _moved(clocked_host, api, "?status=Open"), seconds=30)
    assert (opened["kind"], opened["subject"]) == ("webhook-failure-rate", webhook["webhookId"])
    [raised] = witness.wait(1)
    assert raised["json"]["type"] == "AlertRaised"
    assert raised["json"]["data"]["alertId"] == opened["alertId"]
    api.eventually(lambda: _after_timers(clocked_host, lambda: len(mail.mails) == 1), seconds=30)
    assert (
        f"100% of 12 attempts to deliver to {urlsplit(receiver.url).netloc} failed"
        in mail.mails[0]["subject"]
    )

    path = f"/alerts/{opened['alertId']}"
    status, acknowledged = api("POST", f"{path}/acknowledge", {"note": "Looking."})
    assert (status, acknowledged["status"], acknowledged["note"]) == (200, "Acknowledged", "Looking.")
    assert api("POST", f"{path}/acknowledge")[0] == 409
    assert fresh_tenant(clocked_host)("GET", path)[0] == 404

    receiver.respond = lambda request: (200, {})
    for batch in range(1, 13):  # few at a time: the receiver's backlog is short
        _events(api, 10)
        receiver.wait(12 + 10 * batch)
    [over] = api.eventually(lambda: _moved(clocked_host, api, "?status=Recovered"), seconds=30)
    assert (over["alertId"], over["note"]) == (opened["alertId"], "Looking.")
    assert witness.wait(2)[1]["json"]["type"] == "AlertRecovered"
    api.eventually(lambda: _after_timers(clocked_host, lambda: len(mail.mails) == 2), seconds=30)
    _, detail = api("GET", path)
    assert [
        (notification["transition"], notification["status"]) for notification in detail["notifications"]
    ] == [
        ("Raised", "Sent"),
        ("Recovered", "Sent"),
    ]
    assert len(_alerts(api)) == 1
    witness.close()


def _moved(host: HostProcess, api: Api, query: str) -> list[dict[str, Any]]:
    _after_timers(host, lambda: False)
    return _alerts(api, query)


def _after_timers(host: HostProcess, condition: Any) -> bool:
    """Moves the app's clock by a minute unless the condition holds, so that every timer fires."""
    if condition():
        return True
    host.advance(60)
    return bool(condition())
