"""A tenant is deleted with everything it has, and the platform's audit log certifies it."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import pkgutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import domain
from domain.core.permissions import PERMISSIONS
from domain.core.ports import TableEntity
from domain.core.principal import Principal
from domain.core.tenants import KnownStandings, TenantState
from domain.journal.occurrences import message_of, occurrence
from domain.journal.usage import UsageMeter
from domain.monitoring.alerts.intake import AlertIntake
from domain.oauth.grants import GrantStore
from domain.oauth.model import Grant, GrantStatus, Tokens
from domain.privacy.suppression import SuppressionList
from domain.tenants import deletion
from domain.tenants.deletion import SETTLES, TenantDeleter, outside_places
from domain.tenants.model import SuspendTenant
from domain.tenants.service import TenantService
from domain.webhooks.fan_out import FanOut
from infra.sql.journal.tables import audit_log
from infra.sql.schema import metadata
from infra.sql.tenants.rows import KEPT, REACHED_BY, plan
from tests.worlds.builders import OTHER_TENANT, OTHER_USER, TENANT, USER, see_users
from tests.worlds.integration_world import Killed
from tests.worlds.owned_world import (
    MARK,
    PLATFORM_TENANT,
    PLATFORM_USER,
    OwnedWorld,
    owned_world,
)

OPERATOR = Principal(PLATFORM_TENANT, PLATFORM_USER, frozenset(PERMISSIONS))
AT = "/api/platform/tenants/{tenantId}"
HIS = {"tenantId": str(TENANT)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OwnedWorld]:
    with owned_world(tmp_path) as made:
        see_users(made.hub, OPERATOR, Principal(OTHER_TENANT, OTHER_USER, frozenset(PERMISSIONS)))
        _keep_things_outside(made)
        _furnish_the_neighbour(made)
        yield made


def _keep_things_outside(world: OwnedWorld) -> None:
    """Keep something of the owner in every store besides the database."""
    hub, now = world.hub, world.clock.now()
    answered = world.send_idempotently("POST", "/api/events", {"type": "A", "data": {}})
    assert answered.status == 202
    later = now + timedelta(days=1)
    grant = Grant(world.integration_id, TENANT, USER, GrantStatus.Active, now, later, later)
    hub.use(GrantStore).establish(grant, Tokens("access", "refresh", (), now, later))
    webhook, integration = world.ids["webhooks/id"], world.integration_id.hex
    for table, partition in (
        ("EndpointPace", webhook),
        ("integrationhealth", integration),
        ("InsightWording", TENANT.hex),
        ("UserQuotas", TENANT.hex),
    ):
        for row in ("one", "two", "three"):
            hub.tables.upsert(table, TableEntity(partition, row, {"at": 1}))


def _furnish_the_neighbour(world: OwnedWorld) -> None:
    neighbour = world.token(PERMISSIONS.keys(), tenant=OTHER_TENANT, user=OTHER_USER)
    body = {"url": "https://other.example/hook", "eventTypes": ["*"]}
    assert world.call("POST", "/api/webhooks", body, neighbour).status == 201
    key = {"keyName": "Neighbour", "scopes": ["events:write"]}
    assert world.call("POST", "/api/apikeys", key, neighbour).status == 201


def ask_for_deletion(world: OwnedWorld) -> None:
    service = world.hub.use(TenantService)
    service.suspend(OPERATOR, TENANT, SuspendTenant(reason="Leaves."), None)
    service.delete(OPERATOR, TENANT, None)
    # In the time that passes now, every process stores what it counted.
    world.hub.use(UsageMeter).flush()
    world.clock.advance(seconds=SETTLES.total_seconds())


def certificate(world: OwnedWorld) -> dict[str, Any]:
    with world.hub.database.read() as connection:
        (row,) = connection.execute(audit_log.select().where(audit_log.c.Action == "tenant.deleted")).all()
    assert row.TenantId == PLATFORM_TENANT
    return dict(json.loads(row.After))


def remains(world: OwnedWorld) -> dict[str, list[str]]:
    rows = world.rows_of()
    return {table: rows[table] for table in rows if rows[table] and table != "TenantStandings"}


def entities(world: OwnedWorld) -> list[str]:
    """Every entity of the table store that names something of the owner."""
    owned = {id_.replace("-", "") for id_ in world.ids.values()} | {TENANT.hex}
    tables = (
        "OAuthGrants",
        "ApiKeyUsage",
        "integrationhealth",
        "EndpointPace",
        "InsightWording",
        "IdempotencyKeys",
        "UserQuotas",
    )
    found = [
        f"{table} {entity.partition_key} {entity.row_key}"
        for table in tables
        for entity in world.hub.tables.query(table)
    ]
    return [name for name in found if any(id_ in name.replace("-", "") for id_ in owned)]


def test_nothing_is_left_of_a_deleted_tenant_and_its_neighbour_keeps_everything(world: OwnedWorld) -> None:
    before, theirs = world.rows_of(), world.rows_of(OTHER_TENANT)
    assert len(entities(world)) > 10
    ask_for_deletion(world)
    asked = {name: len(rows) for name, rows in world.rows_of().items()}
    assert world.hub.use(TenantDeleter).delete_requested() == 1
    assert remains(world) == {}
    assert entities(world) == []
    assert [
        name for name in world.secrets.values if world.integration_id.hex in name or TENANT.hex in name
    ] == []
    assert MARK not in repr(world.secrets.values)
    assert world.rows_of(OTHER_TENANT) == theirs
    certified = certificate(world)
    counted = {each["from"]: each["count"] for each in certified["deleted"]}
    for table, rows in before.items():
        if rows and table not in ("AuditLog", "TenantStandings"):
            assert counted[table] >= len(rows), table
    assert counted["AuditLog"] == asked["AuditLog"]
    assert {"Secrets", "OAuthGrants", "IdempotencyKeys", "EndpointPace"} <= counted.keys()
    assert certified["requestedBy"] == str(PLATFORM_USER)
    assert world.hub.use(TenantDeleter).delete_requested() == 0


def test_a_run_does_a_bounded_part_and_the_next_goes_on_with_it(world: OwnedWorld) -> None:
    """Each run has time for one step; whatever is killed on the way is done again, and counted."""
    ask_for_deletion(world)
    expected = {
        name: len(rows) for name, rows in world.rows_of().items() if rows and name != "TenantStandings"
    }
    places = outside_places(world.hub, world.hub.use(GrantStore), world.hub.use(SuppressionList))
    killings = itertools.count()

    def kill(operation: str, name: str) -> None:
        if operation == "delete" and next(killings) == 0:
            raise Killed

    world.secrets.fail = kill
    runs = killed = 0
    while runs < 1_000:
        runs += 1
        moments = itertools.count(step=15)
        deleter = TenantDeleter(
            world.hub.transactions,
            world.hub.use(KnownStandings),
            places,
            world.clock,
            platform_tenant=PLATFORM_TENANT,
            monotonic=lambda moments=moments: float(next(moments)),
        )
        try:
            if deleter.delete_requested():
                break
        except Killed:
            killed += 1
    assert killed == 1
    assert runs > 40
    assert remains(world) == {}
    counted = {each["from"]: each["count"] for each in certificate(world)["deleted"]}
    assert {table: counted[table] for table in expected} == expected


def test_what_comes_later_through_queues_is_dropped(world: OwnedWorld) -> None:
    ask_for_deletion(world)
    sent = list(world.queue.sent)
    world.hub.use(TenantDeleter).delete_requested()
    asyncio.run(world.settle())
    sibling = {"tenantId": str(TENANT), "type": "BookingConfirmed", "data": {"guest": MARK}}
    world.hub.use(FanOut).handle([(json.dumps(sibling), "m-1")])
    data = {"subject": world.ids["webhooks/id"], "webhookId": world.ids["webhooks/id"], "reason": "Gone."}
    late = occurrence("webhook-disabled", {**data, "url": MARK}, world.clock.now(), tenant_id=TENANT)
    world.hub.use(AlertIntake).receive([(message_of(late).body, "m-2")])
    world.hub.use(FanOut).handle(
        [(message.body, "m-3") for queue, message in sent if queue == "domain-events"]
    )
    assert remains(world) == {}


def test_a_deleted_tenant_is_refused_leaves_no_trace_and_may_begin_anew(world: OwnedWorld) -> None:
    person = world.token(PERMISSIONS.keys(), user=UUID(int=0xA9))
    key = {"x-api-key": world.plain_key}
    operator = world.token(PERMISSIONS.keys(), tenant=PLATFORM_TENANT, user=PLATFORM_USER)
    early = world.call("DELETE", AT, None, operator, **HIS)
    assert (early.status, early.body["code"]) == (409, "tenant-not-suspended")
    ask_for_deletion(world)
    assert world.call("DELETE", AT, None, operator, **HIS).status == 202
    late = world.call("POST", f"{AT}/resume", None, operator, **HIS)
    assert (late.status, late.body["code"]) == (409, "tenant-deleting")
    world.hub.use(TenantDeleter).delete_requested()
    refused = world.call("GET", "/api/webhooks", None, person)
    assert (refused.status, refused.body["code"]) == (403, "tenant-deleted")
    assert world.call("GET", "/api/webhooks", None, key).status == 401
    assert remains(world) == {}
    shown = world.call("GET", AT, None, operator, **HIS).body
    assert (shown["state"], shown["deletion"]["deletedAt"]) == (TenantState.Deleted, world.now_text())
    assert world.call("POST", f"{AT}/resume", None, operator, **HIS).body["state"] == "Active"
    assert world.call("GET", "/api/webhooks", None, person).body["total"] == 0
    # And once more: the second deletion does not take the first one's end for its own.
    ask_for_deletion(world)
    assert world.hub.use(TenantDeleter).delete_requested() == 1
    assert remains(world) == {}


def test_without_a_platform_tenant_nothing_is_certified_or_said_to_be_deleted(world: OwnedWorld) -> None:
    ask_for_deletion(world)
    deleter = TenantDeleter(
        world.hub.transactions, world.hub.use(KnownStandings), [], world.clock, platform_tenant=None
    )
    deleter.delete_requested()
    assert world.hub.use(KnownStandings).of(TENANT).state == TenantState.Deleting


def test_every_table_with_rows_of_tenants_is_in_the_plan() -> None:
    planned = {table.name for table in plan()}
    with_tenant = {table.name for table in metadata.sorted_tables if "TenantId" in table.c}
    assert with_tenant - planned == {table.name for table in KEPT}
    # The others belong to rows that have one.
    rest = {table.name for table in metadata.sorted_tables} - with_tenant
    assert rest == {table.name for table in REACHED_BY if "TenantId" not in table.c}


def test_what_refers_to_others_is_deleted_before_them() -> None:
    order = [table.name for table in plan()]
    for table in plan():
        owners = {key.column.table.name for key in table.foreign_keys} - {table.name}
        if table in REACHED_BY:
            owners.add(REACHED_BY[table][1].table.name)
        assert all(order.index(table.name) < order.index(owner) for owner in owners), table.name


def test_every_table_of_the_table_store_is_gone_through() -> None:
    """But for those of states, which live for ten minutes and name their tenant in sealed text alone."""
    modules = [name for _, name, _ in pkgutil.walk_packages(domain.__path__, "domain.")]
    named = {getattr(importlib.import_module(name), "TABLE", None) for name in modules} - {None}
    gone_through = {
        value for name, value in vars(deletion).items() if name.isupper() and isinstance(value, str)
    }
    assert named - gone_through == {"OAuthStates"}
