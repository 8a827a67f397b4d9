"""A tenant is suspended and resumed: nothing is done for it meanwhile, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.core.errors import Forbidden
from domain.core.permissions import PERMISSIONS, PLATFORM_ADMIN
from domain.core.principal import Principal
from domain.core.tenants import KEPT, KnownStandings, TenantStanding, TenantState
from domain.journal.usage import UsageMeter
from domain.sync.dispatch import Dispatcher
from domain.sync.model import SyncStatus
from domain.tenants.model import SetTenantLimits, SuspendTenant
from domain.tenants.service import TenantService
from domain.webhooks.model import DeliveryStatus
from infra.app.build import build
from infra.sql.journal.tables import audit_log
from tests.worlds.builders import OTHER_TENANT, OTHER_USER, TENANT, USER, answer, see_users, settings_at
from tests.worlds.owned_world import (
    PLATFORM_TENANT,
    PLATFORM_USER,
    SIGNED,
    OwnedWorld,
    operations,
    owned_world,
)
from tests.worlds.sync_world import SyncWorld
from tests.worlds.webhook_world import WebhookWorld

OPERATOR = Principal(PLATFORM_TENANT, PLATFORM_USER, frozenset(PERMISSIONS))
NOBODY = Principal(TENANT, USER, frozenset(PERMISSIONS) - {PLATFORM_ADMIN})
REASON = SuspendTenant(reason="The invoice is not paid.")


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[OwnedWorld]:
    with owned_world(tmp_path) as made:
        see_users(made.hub, OPERATOR)
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    see_users(made.hub, OPERATOR)
    yield made
    made.close()


def suspend(world: WebhookWorld | OwnedWorld | SyncWorld, tenant: UUID = TENANT) -> None:
    world.hub.use(TenantService).suspend(OPERATOR, tenant, REASON, None)


def resume(world: WebhookWorld | OwnedWorld | SyncWorld, tenant: UUID = TENANT) -> None:
    world.hub.use(TenantService).resume(OPERATOR, tenant, None)


def test_every_call_of_a_suspended_tenant_is_refused_by_a_problem_of_its_own(owned: OwnedWorld) -> None:
    person, key = owned.token(PERMISSIONS.keys()), {"x-api-key": owned.plain_key}
    other = owned.token(PERMISSIONS.keys(), tenant=OTHER_TENANT, user=OTHER_USER)
    integration = owned.ids["integrations/id"]
    suspend(owned)
    for credentials in (person, key):
        answered = owned.call("GET", "/api/webhooks", None, credentials)
        assert (answered.status, answered.body["code"]) == (403, "tenant-suspended")
    # A provider's webhooks are calls too, and a sibling service that asks for a key hears of it.
    for signed in ({SIGNED: "yes"}, {}):
        incoming = owned.call(
            "POST", "/api/webhooks/incoming/{integrationId}/{token}", {}, signed,
            integrationId=integration, token=owned.ids["webhooks/incoming/*/token"],
        )  # fmt: skip
        assert (incoming.status, incoming.body["code"]) == (403, "tenant-suspended")
    asked = {"key": owned.plain_key, "consume": False}
    told = owned.call("POST", "/api/apikeys/verify", asked, other).body
    assert told["valid"] is False
    assert owned.call("GET", "/api/webhooks", None, other).status == 200
    resume(owned)
    assert owned.call("GET", "/api/webhooks", None, person).status == 200
    assert owned.call("GET", "/api/apikeys/scopes", None, key).body["code"] == "insufficient-scope"


def test_another_process_knows_it_within_seconds(owned: OwnedWorld) -> None:
    there = build(settings_at(owned.home, platform_tenant=PLATFORM_TENANT), clock=owned.clock)
    standings = there.use(KnownStandings)
    assert standings.of(TENANT).state == TenantState.Active
    suspend(owned)
    assert standings.of(TENANT).state == TenantState.Active
    owned.clock.advance(seconds=KEPT.total_seconds())
    assert standings.of(TENANT).state == TenantState.Suspended
    there.database.close()


def test_deliveries_are_held_however_long_and_then_made(world: WebhookWorld) -> None:
    async def scenario() -> None:
        webhook = await world.webhook("*")
        theirs = await world.webhook("*", owner=world.other, url="https://other.example/hook")
        world.receivers.script(answer(500))
        world.raise_event()
        await world.settle()  # one that failed once, and waits for its retry
        world.raise_event()  # one whose message is in the queue
        suspend(world)
        await world.settle()
        world.raise_event()  # one that another module raises meanwhile
        world.raise_event(owner=world.other)
        await world.settle()
        for _ in range(6):  # longer than a delivery lasts
            await world.run_until(world.clock.now() + timedelta(hours=12))
            await world.sweep()
        assert len(world.receivers.posts_to()) == 1
        assert len(world.receivers.posts_to("https://other.example/hook")) == 1
        waiting = world.deliveries(webhook)
        assert {each.delivery_status for each in waiting} <= {DeliveryStatus.Pending, DeliveryStatus.Retrying}
        assert len(waiting) == 3
        assert [each.delivery_status for each in world.deliveries(theirs)] == [DeliveryStatus.Delivered]
        resume(world)
        await world.sweep()
        await world.run_until(world.clock.now() + timedelta(minutes=5))
        await world.sweep()
        assert {each.delivery_status for each in world.deliveries(webhook)} == {DeliveryStatus.Delivered}
        assert len(world.receivers.posts_to()) == 4

    asyncio.run(scenario())


def test_a_delivery_has_its_whole_time_again_and_no_more(world: WebhookWorld) -> None:
    async def scenario() -> None:
        webhook = await world.webhook("*")
        suspend(world)
        for _ in range(5):  # more than one step
            world.raise_event()
        await world.settle()
        world.clock.advance(days=20)
        await world.sweep()
        resume(world)
        resumed = world.clock.now()
        expiry = timedelta(hours=24)
        assert {each.expires_at for each in world.deliveries(webhook)} == {resumed + expiry}
        assert world.hub.use(TenantService).restore() == 0
        with world.transactions.read() as tx:
            assert tx.standings.of(TENANT).restoring_since is None

    asyncio.run(scenario())


def test_a_running_sync_stops_at_its_checkpoint_and_goes_on_from_there(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path, size=2)
    see_users(world.hub, OPERATOR)

    async def scenario() -> None:
        integration = await world.integration()
        for number in range(6):
            world.crm.put(f"c{number}")
        job = await world.run(world.start(integration), batches=1)
        assert job.status == SyncStatus.Running
        before = len(world.stored(integration))
        suspend(world)
        result = await world.carry_out(job, job.run_number)
        assert result.state.name == "Stopped"
        assert world.job(job).status == SyncStatus.Scheduled
        assert world.hub.use(Dispatcher).claim() == []
        assert len(world.stored(integration)) == before
        resume(world)
        (start,) = world.hub.use(Dispatcher).claim()
        await world.carry_out(world.job(job), start.run_number)
        assert len(world.stored(integration)) == 6

    asyncio.run(scenario())
    world.close()


def test_timers_leave_a_suspended_tenant_out(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path)
    see_users(world.hub, OPERATOR)

    async def scenario() -> None:
        integration = await world.integration()
        world.start(integration)
        suspend(world)
        asked = len(world.crm.calls)
        await world.check(rounds=3)
        assert len(world.crm.calls) == asked
        assert world.hub.use(Dispatcher).claim() == []
        resume(world)
        await world.check()
        assert len(world.crm.calls) > asked
        assert len(world.hub.use(Dispatcher).claim()) == 1

    asyncio.run(scenario())
    world.close()


def test_both_audit_logs_tell_of_it_and_the_tenants_not_by_whom(world: WebhookWorld) -> None:
    suspend(world)
    suspend(world)  # a second time changes nothing
    world.hub.use(TenantService).set_limits(OPERATOR, TENANT, SetTenantLimits(webhooks=3), None)
    resume(world)
    with world.database.read() as connection:
        rows = connection.execute(audit_log.select().where(audit_log.c.TargetType == "tenant")).all()
    told = {(str(row.TenantId), row.Action): (row.ActorUserId, row.After) for row in rows}
    assert len(rows) == 6
    for tenant in (TENANT, PLATFORM_TENANT):
        for action in ("tenant.suspended", "tenant.limited", "tenant.resumed"):
            actor, after = told[str(tenant), action]
            assert (actor is None) == (tenant == TENANT)
            assert after
    assert "The invoice" in told[str(TENANT), "tenant.suspended"][1]


def test_the_list_shows_states_limits_and_what_each_has(owned: OwnedWorld) -> None:
    person = owned.token(PERMISSIONS.keys(), tenant=PLATFORM_TENANT, user=PLATFORM_USER)
    at = "/api/platform/tenants/{tenantId}"
    named = {"tenantId": str(TENANT)}
    limited = owned.call("PUT", f"{at}/limits", {"webhooks": 7}, person, **named)
    assert limited.body["limits"] == {
        "webhooks": 7, "apiKeys": None, "integrations": None, "requestsPerHour": None, "eventsPerHour": None,
    }  # fmt: skip
    stale = owned.call("PUT", f"{at}/limits", {"webhooks": 8}, {**person, "if-match": '"0.1"'}, **named)
    assert (stale.status, stale.body["code"]) == (412, "precondition-failed")
    suspend(owned)
    owned.hub.use(UsageMeter).flush()
    page = owned.call("GET", "/api/platform/tenants", None, person).body
    found = {item["tenantId"]: item for item in page["items"]}
    assert found[str(TENANT)]["state"] == "Suspended"
    usage = found[str(TENANT)]["usage"]
    assert usage.pop("thisMonth")["calls"] > 5
    assert usage == {"users": 1, "webhooks": 1, "apiKeys": 1, "integrations": 1}
    assert found[str(PLATFORM_TENANT)]["state"] == "Active"
    listing = next(each for each in operations() if each.id == "listTenants")
    only = owned.send(listing, person, query={"state": "Suspended"}).body
    assert [item["tenantId"] for item in only["items"]] == [str(TENANT)]


def test_a_person_who_may_not_is_refused_by_each_use_case(world: WebhookWorld) -> None:
    service = world.hub.use(TenantService)
    for attempt in (
        lambda: service.suspend(NOBODY, OTHER_TENANT, REASON, None),
        lambda: service.resume(NOBODY, OTHER_TENANT, None),
        lambda: service.delete(NOBODY, OTHER_TENANT, None),
        lambda: service.set_limits(NOBODY, OTHER_TENANT, SetTenantLimits(), None),
    ):
        with pytest.raises(Forbidden):
            attempt()


def test_an_ordinary_tenant_has_a_standing_without_a_row(world: WebhookWorld) -> None:
    with world.transactions.read() as tx:
        assert tx.standings.of(TENANT) == TenantStanding(TENANT)
        assert tx.standings.all() == []
