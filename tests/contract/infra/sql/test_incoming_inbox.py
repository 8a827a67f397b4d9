"""The inbox of incoming webhooks as its port says, on SQLite; its statements as SQL Server gets them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlglot
from sqlalchemy import event
from sqlglot import expressions as exp

from domain.core.errors import Conflict, NotFound, PreconditionFailed
from domain.core.paging import PageRequest
from domain.incoming.model import IncomingBody, IncomingEndpoint, IncomingStatus, IncomingWebhook
from domain.incoming.ports import AlreadyStored, IncomingFilter
from domain.integrations.model import Integration, IntegrationStatus
from domain.providers.contract import IntegrationType
from infra.sql.incoming.repository import SqlIncomingWebhooks
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_server_wire import Wire, sql_server_engine
from tests.worlds.sql_world import SqlWorld, world_under

_FOR_ALL_TENANTS = frozenset({"delete_bodies_before", "forget_before"})


class Inbox:
    """A world with one integration, and builders."""

    def __init__(self, world: SqlWorld) -> None:
        self.world = world
        self.tenant, self.integration = world.tenant, self._integration(world.tenant, world.user)
        self.other_tenant = world.other_tenant
        self.other = self._integration(world.other_tenant, world.other_user)

    def _integration(self, tenant: UUID, user: UUID) -> UUID:
        integration_id = self.world.ids.new()
        integration = Integration(
            integration_id=integration_id,
            tenant_id=tenant,
            name="Till",
            integration_type=IntegrationType.PaymentGateway,
            provider="Stripe",
            status=IntegrationStatus.Active,
            sealed_configuration="sealed",
            created_at=self.world.clock.now(),
            created_by=user,
        )
        with self.world.transactions.write() as tx:
            tx.integrations.add(tenant, integration)
            tx.commit()
        return integration_id

    def made(self, *names: str, **fields: Any) -> tuple[IncomingBody, list[IncomingWebhook]]:
        ids, now = self.world.ids, self.world.clock.now()
        integration = fields.pop("integration_id", self.integration)
        tenant = self.other_tenant if integration == self.other else self.tenant
        body = IncomingBody(ids.new(), tenant, integration, "sealed", now)
        webhooks = [
            IncomingWebhook(
                incoming_webhook_id=ids.new(),
                tenant_id=tenant,
                integration_id=integration,
                incoming_body_id=body.incoming_body_id,
                provider_event_id=name,
                event_type=fields.get("event_type", "stripe.charge.succeeded"),
                status=fields.get("status", IncomingStatus.Processed),
                attempts=1,
                received_at=now,
                source_ip="2001:db8::1",
                occurred_at=now - timedelta(seconds=1),
                event_id=f"id-of-{name}",
                processed_at=now,
            )
            for name in names
        ]
        return body, webhooks

    def store(self, *names: str, **fields: Any) -> tuple[IncomingBody, list[IncomingWebhook]]:
        body, webhooks = self.made(*names, **fields)
        with self.world.transactions.write() as tx:
            tx.incoming.add(body.tenant_id, [body], webhooks)
            tx.commit()
        return body, webhooks


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with world_under(tmp_path) as world:
        yield Inbox(world)


def test_what_is_stored_comes_back_as_it_was(inbox: Inbox) -> None:
    body, [webhook] = inbox.store("evt_1")
    with inbox.world.transactions.read() as tx:
        found = tx.incoming.get(inbox.tenant, inbox.integration, webhook.incoming_webhook_id)
        assert found == webhook
        assert tx.incoming.body(inbox.tenant, body.incoming_body_id) == body
        assert tx.incoming.known(inbox.tenant, inbox.integration, ["evt_1", "evt_2"]) == {"evt_1"}


def test_an_event_is_stored_once_and_case_counts(inbox: Inbox) -> None:
    inbox.store("evt_1")
    inbox.store("EVT_1")
    inbox.store("evt_1", integration_id=inbox.other)
    body, webhooks = inbox.made("evt_2", "evt_1")
    with pytest.raises(AlreadyStored), inbox.world.transactions.write() as tx:
        tx.incoming.add(inbox.tenant, [body], webhooks)
    with inbox.world.transactions.read() as tx:
        assert tx.incoming.known(inbox.tenant, inbox.integration, ["evt_2"]) == set()
        assert tx.incoming.body(inbox.tenant, body.incoming_body_id) is None


def test_a_thousand_ids_are_looked_up_in_chunks(inbox: Inbox) -> None:
    names = [f"evt_{index}" for index in range(1_200)]
    inbox.store(*names)
    with inbox.world.transactions.read() as tx:
        assert tx.incoming.known(inbox.tenant, inbox.integration, names) == set(names)


def test_a_page_is_filtered_and_newest_first(inbox: Inbox) -> None:
    inbox.store("a", status=IncomingStatus.Failed)
    moment = inbox.world.clock.advance(minutes=1)
    inbox.store("b", event_type="stripe.other")

    def names(**fields: Any) -> list[str]:
        with inbox.world.transactions.read() as tx:
            page = tx.incoming.page(inbox.tenant, inbox.integration, IncomingFilter(**fields), PageRequest())
            assert page.total == len(page.items)
            return [webhook.provider_event_id for webhook in page.items]

    assert names() == ["b", "a"]
    assert names(statuses=[IncomingStatus.Failed]) == ["a"]
    assert names(event_types=["stripe.other"]) == ["b"]
    assert names(since=moment) == ["b"]
    assert names(until=moment) == ["a"]


def test_an_update_counts_attempts_so_that_two_do_not_meet(inbox: Inbox) -> None:
    _, [webhook] = inbox.store("evt_1")
    again = replace(webhook, attempts=2, status=IncomingStatus.Failed, error_message="No.", event_id=None)
    with inbox.world.transactions.write() as tx:
        tx.incoming.update(inbox.tenant, again)
        tx.commit()
    with inbox.world.transactions.write() as tx:
        assert tx.incoming.get(inbox.tenant, inbox.integration, webhook.incoming_webhook_id) == again
        with pytest.raises(Conflict):
            tx.incoming.update(inbox.tenant, again)


def test_an_endpoint_has_defaults_until_it_is_set_and_then_a_version(inbox: Inbox) -> None:
    with inbox.world.transactions.write() as tx:
        fresh = tx.incoming.endpoint(inbox.tenant, inbox.integration)
        assert fresh == IncomingEndpoint(inbox.integration, inbox.tenant)
        now = inbox.world.clock.now()
        tx.incoming.count_refusals(inbox.tenant, inbox.integration, 3, "x" * 500, at=now)
        wanted = replace(
            fresh,
            allowed_ips=["192.0.2.0/24"],
            token_hash="a" * 64,
            previous_token_hash="",
            previous_expires_at=now,
            rotated_at=now,
        )
        tx.incoming.save_endpoint(inbox.tenant, wanted)
        stored = replace(wanted, refused_count=3, last_refused_at=now, last_refusal="x" * 400, version=1)
        assert tx.incoming.endpoint(inbox.tenant, inbox.integration) == stored
        with pytest.raises(PreconditionFailed):
            tx.incoming.save_endpoint(inbox.tenant, wanted)


def test_old_bodies_go_first_and_the_ids_stay_until_they_are_forgotten(inbox: Inbox) -> None:
    body, [webhook] = inbox.store("evt_1")
    later = inbox.world.clock.advance(days=1)
    young, _ = inbox.store("evt_2")
    with inbox.world.transactions.write() as tx:
        assert tx.incoming.delete_bodies_before(later, 10) == 1
        assert tx.incoming.body(inbox.tenant, body.incoming_body_id) is None
        assert tx.incoming.body(inbox.tenant, young.incoming_body_id) is not None
        assert tx.incoming.get(inbox.tenant, inbox.integration, webhook.incoming_webhook_id) == webhook
        assert tx.incoming.forget_before(later, 10) == 1
        assert tx.incoming.known(inbox.tenant, inbox.integration, ["evt_1", "evt_2"]) == {"evt_2"}


def test_another_tenants_inbox_is_not_there(inbox: Inbox) -> None:
    body, [webhook] = inbox.store("evt_1")
    intruder = inbox.other_tenant
    with inbox.world.transactions.write() as tx:
        with pytest.raises(NotFound):
            tx.incoming.get(intruder, inbox.integration, webhook.incoming_webhook_id)
        with pytest.raises(Conflict):
            tx.incoming.update(intruder, replace(webhook, attempts=2))
        assert tx.incoming.body(intruder, body.incoming_body_id) is None
        assert tx.incoming.known(intruder, inbox.integration, ["evt_1"]) == set()
        page = tx.incoming.page(intruder, inbox.integration, IncomingFilter(), PageRequest())
        assert (page.items, page.total) == ([], 0)
        tx.incoming.save_endpoint(inbox.tenant, IncomingEndpoint(inbox.integration, inbox.tenant))
        assert tx.incoming.endpoint(intruder, inbox.integration).version == 0
        with pytest.raises(PreconditionFailed):
            tx.incoming.save_endpoint(intruder, IncomingEndpoint(inbox.integration, intruder, version=1))


def test_every_method_asks_for_the_tenant_first() -> None:
    methods = {
        name: method
        for name, method in inspect.getmembers(SqlIncomingWebhooks, inspect.isfunction)
        if not name.startswith("_")
    }
    assert set(methods) >= _FOR_ALL_TENANTS
    for name in set(methods) - _FOR_ALL_TENANTS:
        first = list(inspect.signature(methods[name], eval_str=True).parameters.values())[1]
        assert (first.name, first.annotation) == ("tenant_id", UUID), name


def _calls(inbox: Inbox) -> dict[str, Callable[[SqlTransaction], object]]:
    body, [webhook] = inbox.store("evt_1")
    new_body, new = inbox.made("evt_2", "evt_3")
    tenant, integration, now = inbox.tenant, inbox.integration, inbox.world.clock.now()
    every = IncomingFilter(list(IncomingStatus), ["stripe.x"], now, now)
    return {
        "known": lambda tx: tx.incoming.known(tenant, integration, [f"e{n}" for n in range(600)]),
        "add": lambda tx: tx.incoming.add(tenant, [new_body], new),
        "last_with": lambda tx: tx.incoming.last_with(tenant, integration, ["d" * 32]),
        "same_bodies_since": lambda tx: tx.incoming.same_bodies_since(tenant, integration, now),
        "page": lambda tx: tx.incoming.page(tenant, integration, every, PageRequest(2, 50)),
        "get": lambda tx: tx.incoming.get(tenant, integration, webhook.incoming_webhook_id),
        "body": lambda tx: tx.incoming.body(tenant, body.incoming_body_id),
        "raised": lambda tx: tx.incoming.raised(tenant, "id-of-evt_1"),
        "update": lambda tx: tx.incoming.update(tenant, replace(webhook, attempts=2)),
        "endpoint": lambda tx: tx.incoming.endpoint(tenant, integration),
        "save_endpoint": lambda tx: tx.incoming.save_endpoint(tenant, IncomingEndpoint(integration, tenant)),
        "count_refusals": lambda tx: tx.incoming.count_refusals(tenant, integration, 1, "No.", at=now),
        "delete_bodies_before": lambda tx: tx.incoming.delete_bodies_before(now, 100),
        "forget_before": lambda tx: tx.incoming.forget_before(now, 100),
    }


def test_every_statement_is_plain_t_sql(inbox: Inbox) -> None:
    wire = Wire()
    server = sql_server_engine(wire).connect()
    calls = _calls(inbox)
    public = {name for name in dir(SqlIncomingWebhooks) if not name.startswith("_")}
    assert set(calls) == public

    def replay(connection: Any, statement: Any, many: Any, one: Any, options: Any) -> None:
        server.execute(statement, many or one)

    event.listen(inbox.world.database.engine, "before_execute", replay)
    for call in calls.values():
        with inbox.world.transactions.write() as tx:
            call(tx)
    assert len({statement.text for statement in wire.sent}) >= 14
    forbidden = r"\b(MERGE|RETURNING|LIMIT|TRUE|FALSE|NOLOCK|UPDLOCK|ON CONFLICT)\b|\|\||\bIS (NOT )?[^N]"
    for statement in wire.sent:
        (parsed,) = sqlglot.parse(statement.text, dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE)
        assert isinstance(parsed, exp.Select | exp.Insert | exp.Update | exp.Delete), statement.text
        assert not re.search(forbidden, statement.text, re.IGNORECASE), statement.text
        assert max(len(row) for row in statement.rows) <= 2_100
        for select in sqlglot.parse_one(statement.text, dialect="tsql").find_all(exp.Select):
            if select.args.get("limit") or select.args.get("offset"):
                assert select.args.get("order"), statement.text


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("known", "sqlite_autoindex_IncomingWebhooks_"),
        ("page", "IX_IncomingWebhook_Integration (IntegrationId=? AND ReceivedAt>? AND ReceivedAt<?)"),
        ("last_with", "IX_IncomingWebhook_Content"),
        ("same_bodies_since", "IX_IncomingWebhook_Integration"),
        ("get", "sqlite_autoindex_IncomingWebhooks_"),
        ("body", "sqlite_autoindex_IncomingBodies_"),
        ("raised", "sqlite_autoindex_DomainEvents_"),
        ("update", "sqlite_autoindex_IncomingWebhooks_"),
        ("endpoint", "sqlite_autoindex_IncomingEndpoints_"),
        ("delete_bodies_before", "IX_IncomingBody_Received"),
        ("forget_before", "IX_IncomingWebhook_Received"),
    ],
)
def test_a_statement_is_served_by_its_index(inbox: Inbox, name: str, index: str) -> None:
    call = _calls(inbox)[name]
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(inbox.world.database.engine, "before_cursor_execute", note)
    with inbox.world.transactions.write() as tx:
        call(tx)
    event.remove(inbox.world.database.engine, "before_cursor_execute", note)
    steps: list[str] = []
    with inbox.world.database.read() as connection:
        for statement, parameters in seen:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                steps += [row[3] for row in rows]
    assert any(index in step for step in steps), steps
    assert not [
        step for step in steps if step.startswith("SCAN ") and " USING " not in step and "anon" not in step
    ]
