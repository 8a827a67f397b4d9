"""Section 12.2: everything it names is a line of the log, at its level, with what it is about and nothing secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from domain.apikeys.service import ApiKeyService, CreateApiKey
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.journal.audit import AuditEntry
from domain.providers.contract import ProviderFailure
from infra.observability import logs
from tests.worlds.builders import START, TENANT, USER, answer
from tests.worlds.http_app import TRACE, App, create_webhook, serving_app
from tests.worlds.integration_world import GOOD_KEY, OTHER_KEY, IntegrationWorld
from tests.worlds.sync_world import SyncWorld
from tests.worlds.webhook_world import WebhookWorld

Lines = list[dict[str, Any]]
ADMIN = Principal(TENANT, USER, frozenset(PERMISSIONS))


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What is logged, as it is written."""
    found: Lines = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(formatter.format(record)))

    formatter, handler, hub = logs.JsonFormatter(), Kept(), logging.getLogger("hub")
    before = hub.level
    hub.addHandler(handler)
    hub.setLevel(logging.INFO)
    yield found
    hub.removeHandler(handler)
    hub.setLevel(before)


def said(lines: Lines, message: str) -> Lines:
    return [line for line in lines if line["message"] == message]


@contextmanager
def closing(world: Any) -> Iterator[Any]:
    try:
        yield world
    finally:
        world.close()


async def test_changes_of_an_integrations_configuration(tmp_path: Path, lines: Lines) -> None:
    with closing(IntegrationWorld(tmp_path)) as world:
        created = await world.create()
        await world.put(world.now(created), name="Renamed")
        integration = world.now(created)
    told = said(lines, "change recorded")
    assert {"integration.created", "integration.updated"} <= {line["action"] for line in told}
    for line in told:
        assert (line["level"], line["targetType"]) == ("INFO", "integration")
        assert line["targetId"] == str(integration.integration_id)
        assert (line["tenantId"], line["actorUserId"]) == (str(TENANT), str(USER))
    text = json.dumps(lines)
    assert GOOD_KEY not in text
    assert OTHER_KEY not in text


def test_keys_made_and_revoked_and_nothing_of_what_was_rolled_back(tmp_path: Path, lines: Lines) -> None:
    app = App(tmp_path)
    command = CreateApiKey.model_validate({"keyName": "Till", "scopes": ["events:read"]})
    with app.hub.transactions.write() as tx:
        tx.users.see(TENANT, USER, "Ada", START)
        tx.commit()
    issued = app.hub.use(ApiKeyService).create(ADMIN, command)
    app.hub.use(ApiKeyService).revoke(ADMIN, issued.key.api_key_id, None, None)
    told = said(lines, "change recorded")
    assert [line["action"] for line in told] == ["apikey.created", "apikey.revoked"]
    assert [line["auditSequence"] for line in told] == [1, 2]
    assert issued.plain.text not in json.dumps(lines)
    lines.clear()

    with app.hub.transactions.write() as tx:
        tx.audit.append(TENANT, AuditEntry("apikey.created", "apikey", "x", ADMIN))
    assert lines == []
    app.hub.database.close()


async def test_deliveries_that_succeed_and_that_fail(tmp_path: Path, lines: Lines) -> None:
    with closing(WebhookWorld(tmp_path)) as world:
        webhook = await world.webhook()
        world.receivers.script(answer(500))
        event_id = world.raise_event()
        await world.run_until(START + timedelta(minutes=5))
    told = said(lines, "webhook delivery attempted")
    assert [(line["level"], line["deliveryStatus"], line["httpStatusCode"]) for line in told] == [
        ("WARNING", "Retrying", 500),
        ("INFO", "Delivered", 200),
    ]
    for line in told:
        assert (line["webhookId"], line["eventId"]) == (str(webhook.webhook.webhook_id), event_id)
        assert line["durationMs"] == 7


async def test_sync_jobs_from_start_to_end(tmp_path: Path, lines: Lines) -> None:
    with closing(SyncWorld(tmp_path)) as world:
        world.crm.put("c1", START - timedelta(days=1))
        integration = await world.integration()
        job = await world.synced(integration)
        world.clock.advance(days=1)
        world.crm.failures = [ProviderFailure("unavailable", "Out of order.")] * 8
        failed = await world.synced(integration)
    started, ended = said(lines, "sync job started"), said(lines, "sync job ended")
    ids = [str(job.data_sync_job_id), str(failed.data_sync_job_id)]
    assert [line["dataSyncJobId"] for line in started] == [line["dataSyncJobId"] for line in ended] == ids
    assert [(line["level"], line["status"], line["recordsProcessed"]) for line in ended] == [
        ("INFO", "Completed", 1),
        ("ERROR", "Failed", 0),
    ]
    assert ended[1]["error"]
    assert {line["integrationId"] for line in started + ended} == {str(integration)}


def test_attempts_to_authenticate_with_their_trace_and_request(tmp_path: Path, lines: Lines) -> None:
    parent = f"00-{TRACE}-00f067aa0ba902b7-01"
    with serving_app(tmp_path) as app:
        assert create_webhook(app, traceparent=parent, X_Request_Id="r-1").status_code == 201
        assert create_webhook(app, authorization="Bearer nonsense", traceparent=parent).status_code == 401
    [accepted], [refused] = said(lines, "authenticated"), said(lines, "authentication refused")
    assert (accepted["level"], refused["level"]) == ("INFO", "WARNING")
    for line in (accepted, refused):
        assert line["traceId"] == TRACE
        assert len(line["spanId"]) == 16
        assert line["requestId"]
    assert "nonsense" not in json.dumps(lines)
    assert {(line["action"], line["traceId"]) for line in said(lines, "change recorded")} >= {
        ("webhook.created", TRACE)
    }


def test_errors_with_their_stack(tmp_path: Path, lines: Lines) -> None:
    def broken(call: object) -> None:
        raise RuntimeError("broken")

    with serving_app(tmp_path) as app:
        response = app.serve(broken)(app.request("POST", "things", {}))
    [line] = said(lines, "unexpected error")
    assert (line["level"], line["logger"]) == ("ERROR", "hub.http")
    assert 'raise RuntimeError("broken")' in line["exception"]
    assert line["traceId"] == json.loads(response.get_body())["traceId"]


def test_a_line_is_one_line(lines: Lines) -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("said\nmore", extra={"detail": "a\nb"})
    [line] = stream.getvalue().splitlines()
    assert json.loads(line)["detail"] == "a\nb"
