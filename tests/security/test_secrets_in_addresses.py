"""Secrets in addresses: path, query or user name of a webhook's URL let whoever knows them post to its receiver.

Each test takes a webhook whose URL holds a marker through its whole life, and looks for the marker everywhere."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from domain.core.permissions import PERMISSIONS, WEBHOOK_MANAGE
from domain.core.shown_address import shown_address
from domain.integrations.configuration import with_shown_addresses
from domain.journal.occurrences import ALERTS_QUEUE
from domain.monitoring.alerts.evaluation import AlertEvaluator
from domain.monitoring.alerts.intake import AlertIntake
from domain.providers.contract import ProviderRequest, ProviderResponse
from domain.webhooks.model import UpdateWebhook, WebhookState
from infra.observability.logs import JsonFormatter
from infra.providers._kit.refusal import describe
from infra.sql.schema import metadata
from tests.worlds.builders import TENANT, answer
from tests.worlds.http_app import App, serving_app
from tests.worlds.owned_world import SIGNED, OwnedWorld, operations, owned_world
from tests.worlds.webhook_world import WebhookWorld

MARKER = "Xq7Zp2Lr9Tw4Vb6"
FIRST = f"https://hooks.example/services/{MARKER}?key={MARKER}"
SECOND = f"https://hooks.example/{MARKER}/b?{MARKER}=1"
WATCHER = "https://watcher.example/"
#: Columns that only managers of webhooks are shown: the URL, and what their receiver answered.
FOR_MANAGERS = {("Webhooks", "Url"), ("WebhookDeliveryAttempts", "ResponseHeaders")}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def furnished(tmp_path: Path) -> Iterator[OwnedWorld]:
    with owned_world(tmp_path / "hub") as made:
        yield made


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with serving_app(tmp_path_factory.mktemp("app")) as made:
        yield made


async def live(world: WebhookWorld) -> UUID:
    """Create, change, verify, test, deliver, fail, raise alerts and be disabled; return the webhook's id."""
    await world.webhook("*", "WebhookSent", "WebhookDeliveryFailed", url=WATCHER)
    webhook = await world.webhook("BookingConfirmed", url=FIRST)
    webhook_id = webhook.webhook.webhook_id
    world.receivers.script(answer(503, retry_after=MARKER), url=FIRST)
    world.raise_event()
    await world.settle()
    world.receivers.otherwise = lambda request: answer(308, location=SECOND)
    world.raise_event()
    await world.settle()
    await world.service.update(world.principal, webhook_id, UpdateWebhook(url=SECOND), None)
    await world.service.verify(world.principal, webhook_id)
    for _ in range(12):
        world.raise_event()
    await world.settle()
    world.receivers.otherwise = lambda request: answer(410 if request.url == SECOND else 200)
    world.raise_event()
    await world.settle()
    world.hub.use(AlertEvaluator).evaluate()
    messages = world.queue.take(ALERTS_QUEUE)
    world.hub.use(AlertIntake).receive([(message.body, "m") for message in messages])
    await world.settle()
    return webhook_id


async def test_a_webhooks_secret_address_is_told_nobody_else(
    world: WebhookWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        webhook_id = await live(world)
    with world.transactions.read() as tx:
        assert tx.webhooks.get(TENANT, webhook_id).state == WebhookState.Disabled
    lines = [JsonFormatter().format(record) for record in caplog.records]
    assert "webhook delivery attempted" in "".join(lines)
    told = {
        "log lines": "".join(lines),
        "realtime": repr(world.realtime.messages),
        "queues": "".join(message.body for _, message in world.queue.sent),
        "another receiver": b"".join(
            request.body for _, request in world.receivers.posts if request.url == WATCHER
        ).decode(),
    }
    assert {where for where, text in told.items() if MARKER in text} == set()
    assert "alertChanged" in told["realtime"] and '"WebhookDisabled"' in told["another receiver"]
    assert shown_address(SECOND) in told["another receiver"]


async def test_the_database_holds_a_webhooks_address_in_one_column(world: WebhookWorld) -> None:
    await live(world)
    with world.database.read() as connection:
        held = {
            (table.name, column)
            for table in metadata.sorted_tables
            for row in connection.execute(table.select()).mappings()
            for column, value in row.items()
            if MARKER in str(value)
        }
        rows = connection.exec_driver_sql(
            "SELECT Before, After FROM AuditLog WHERE Action = 'webhook.updated'"
        ).all()
    assert ("Webhooks", "Url") in held
    assert held <= FOR_MANAGERS
    urls = [(json.loads(before)["url"], json.loads(after)["url"]) for before, after in rows]
    assert urls == [(shown_address(FIRST), shown_address(SECOND))], "the change shows by its digits"


def test_whoever_may_not_manage_webhooks_reads_their_secret_nowhere_in_the_api(
    furnished: OwnedWorld,
) -> None:
    manager = furnished.token(PERMISSIONS.keys())
    webhook = furnished.made("POST", "/api/webhooks", {"url": FIRST, "eventTypes": ["*"]})
    path = {"id": webhook["webhookId"]}
    furnished.made("PUT", "/api/webhooks/{id}", {"url": SECOND}, **path)
    furnished.receivers.otherwise = lambda request: answer(410, location=SECOND)
    furnished.made("POST", "/api/webhooks/{id}/test", {}, **path)
    furnished.made("POST", "/api/events", {"type": "BookingConfirmed", "data": {}})
    asyncio.run(furnished.settle())
    asyncio.run(furnished.settle())
    messages = furnished.queue.take(ALERTS_QUEUE)
    furnished.hub.use(AlertIntake).receive([(message.body, "m") for message in messages])
    viewer = furnished.token(PERMISSIONS.keys() - {WEBHOOK_MANAGE})
    answers = {
        operation.id: (asked.status, asked.text)
        for operation in operations()
        if operation.method == "GET" and not operation.is_anonymous
        for asked in [furnished.send(operation, viewer)]
    }
    exported = furnished.call("POST", "/api/privacy/export", {"identifiers": [MARKER]}, viewer)
    assert {name for name, (status, text) in answers.items() if MARKER in text} == set()
    assert MARKER not in exported.text.replace(f'"{MARKER}"', "")
    shown = shown_address(SECOND)
    assert {name for name, (status, text) in answers.items() if shown in text} >= {
        "listAudit",
        "exportAudit",
        "listAlerts",
    }
    overview = furnished.call("GET", "/api/insights/overview", None, manager).text
    assert MARKER not in overview and shown in overview
    assert furnished.call("GET", "/api/webhooks/{id}", None, manager, **path).body["url"] == SECOND


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{MARKER}@hooks.example/",
        f"https://{MARKER}@hooks.example/",
        f"ftp://hooks.example/{MARKER}",
        f"https://hooks.example/{MARKER}#{MARKER}",
        f"https://127.0.0.1:99999/{MARKER}",
        f"http://hooks.example/?{MARKER}",
        f"https://hooks.example/{MARKER}" + "x" * 500,
    ],
)
def test_a_refused_address_is_not_repeated(app: App, url: str) -> None:
    body = {"url": url, "eventTypes": ["*"]}
    refused = app.call("create_webhook", app.request("POST", "webhooks", body))
    assert refused.status_code == 422
    assert MARKER not in refused.get_body().decode()


def test_the_token_of_an_incoming_address_is_in_no_log_line_and_no_problem(
    furnished: OwnedWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = furnished.ids["webhooks/incoming/*/token"]
    path, named = (
        "/api/webhooks/incoming/{integrationId}/{token}",
        {"integrationId": str(furnished.integration_id)},
    )
    refused = furnished.call("POST", path, {}, {"x-other": "yes"}, token=token, **named)
    monkeypatch.setattr(furnished.crm, "receive", None)
    failed = furnished.call("POST", path, {}, {SIGNED: "yes"}, token=token, **named)
    assert (refused.status, failed.status) == (401, 500)
    lines = "".join(JsonFormatter().format(record) for record in caplog.records)
    assert "unexpected error" in lines and str(furnished.integration_id) in lines
    assert token not in lines + refused.text + failed.text


def test_an_operator_is_shown_no_secret_in_an_integrations_addresses() -> None:
    assert with_shown_addresses(
        {
            "baseUrl": FIRST,
            "healthPath": f"/health?key={MARKER}",
            "auth": {"tokenUrl": SECOND},
            "calls": [{"path": f"/x?{MARKER}"}],
            "feedUrl": "********",
            "name": "Guests",
        }
    ) == {
        "baseUrl": shown_address(FIRST),
        "healthPath": "/health?...",
        "auth": {"tokenUrl": shown_address(SECOND)},
        "calls": [{"path": "/x?..."}],
        "feedUrl": "********",
        "name": "Guests",
    }


@pytest.mark.parametrize(
    "said",
    [
        f"Cannot GET /cal/private-{MARKER}/basic.ics?key={MARKER}",
        f"No calendar at /cal/private-{MARKER}/basic.ics.",
        f"There is no calendar private-{MARKER} here.",
        f"The key {MARKER} has expired.",
        f"https://cal.example/cal/private-{MARKER}/basic.ics?key={MARKER} is gone",
        f"Not found: %2Fcal%2Fprivate-{MARKER}%2Fbasic.ics",
    ],
)
def test_a_server_that_repeats_a_part_of_a_feeds_address_gives_nothing_away(said: str) -> None:
    feed = f"https://cal.example/cal/private-{MARKER}/basic.ics?key={MARKER}"
    body = json.dumps({"error": said}).encode()
    response = ProviderResponse(404, {"content-type": "application/json"}, body, 7)
    told = describe(ProviderRequest("GET", feed), response, [feed])
    assert MARKER not in told
    assert told.startswith("The provider answered 404: ")
