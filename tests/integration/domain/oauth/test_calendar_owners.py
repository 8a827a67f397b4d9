"""Calendars of their users: who reaches which, one account once for each owner, and the accounts behind grants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.core.errors import Forbidden, NotFound, RuleViolation, ValidationFailed
from domain.core.paging import PageRequest
from domain.core.permissions import CALENDAR_CONNECT, INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.core.principal import Principal
from domain.integrations.commands import ActivateIntegration, SuspendIntegration, UpdateIntegration
from domain.integrations.credentials import CredentialService
from domain.integrations.health_history import IntegrationHistory
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration, IntegrationStatus, SuspensionCause
from domain.integrations.ports import IntegrationFilter, LogFilter
from domain.integrations.service import IntegrationService
from domain.journal.audit import AuditFilter
from domain.oauth.model import Authorize, CompletionStatus
from domain.oauth.service import OAuthService
from domain.sync.model import SyncDirection
from domain.sync.ports import JobFilter, RecordFilter
from domain.sync.record_service import PutRecords, RecordService
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from domain.sync.service import StartSync, SyncService
from domain.sync.standing import Connected, StandingSyncs
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.builders import OTHER_USER, TENANT, USER
from tests.worlds.oauth_world import OWNER, OAuthWorld

ALICE = Principal(TENANT, OTHER_USER, frozenset((CALENDAR_CONNECT,)))
EVERY_STATUS = IntegrationFilter(statuses=list(IntegrationStatus))


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    started = OAuthServer()
    yield started
    started.close()


@pytest.fixture
def world(tmp_path: Path, server: OAuthServer) -> Iterator[OAuthWorld]:
    made = OAuthWorld(tmp_path / "hub", server)
    yield made
    made.close()


# BR-IM-01


def test_the_same_account_is_connected_once_and_the_second_says_so__BR_IM_01(world: OAuthWorld) -> None:
    world.connected()
    second = world.integration(name="Again")
    completion = world.callback(world.begin(second))
    assert completion.status == CompletionStatus.NotActivated
    assert completion.detail.endswith("suspend or disconnect it first. (BR-IM-01)")
    found = world.now(second)
    assert found.status == IntegrationStatus.PendingValidation
    assert found.reason is not None and "same account at the provider" in found.reason
    with pytest.raises(RuleViolation) as refused:
        world.run(world.hub.use(Lifecycle).activate(OWNER, second, ActivateIntegration()))
    assert refused.value.code == "BR-IM-01"


def test_another_account_or_another_owner_has_a_slot_of_its_own__BR_IM_01(world: OAuthWorld) -> None:
    first, of_alice = world.connected(), world.connected(ALICE)
    world.server.account = "somebody-else@example.org"
    third = world.connected(name="Second account")
    assert len({first.account_hash, third.account_hash}) == 2
    assert first.account_hash == of_alice.account_hash and len(str(first.account_hash)) == 64
    assert all(found.status == IntegrationStatus.Active for found in (first, of_alice, third))
    assert world.server.account not in str(third.account_hash)


def test_a_disconnected_or_suspended_calendar_leaves_its_account_free__BR_IM_01(world: OAuthWorld) -> None:
    first = world.connected()
    lifecycle = world.hub.use(Lifecycle)
    lifecycle.suspend(OWNER, first.integration_id, SuspendIntegration())
    second = world.connected(name="Second")
    with pytest.raises(RuleViolation):
        world.run(lifecycle.activate(OWNER, first.integration_id, ActivateIntegration()))
    assert "same account" in str(world.now(first.integration_id).reason)
    lifecycle.disconnect(OWNER, second.integration_id, "Not needed.")
    world.run(lifecycle.activate(OWNER, first.integration_id, ActivateIntegration()))
    assert world.now(first.integration_id).status == IntegrationStatus.Active


def test_an_active_one_that_is_authorised_with_a_taken_account_is_suspended__BR_IM_01(
    world: OAuthWorld,
) -> None:
    world.connected()
    world.server.account = "second@example.org"
    second = world.connected(name="Second")
    world.server.account = "someone@example.org"
    completion = world.callback(world.begin(second.integration_id))
    assert completion.status == CompletionStatus.NotActivated and "BR-IM-01" in completion.detail
    found = world.now(second.integration_id)
    assert (found.status, found.suspension) == (IntegrationStatus.Suspended, SuspensionCause.Grant)
    world.server.account = "second@example.org"
    assert world.callback(world.begin(second.integration_id)).status == CompletionStatus.Connected
    assert world.now(second.integration_id).account_hash == second.account_hash


def test_an_active_one_moves_to_the_account_that_it_is_authorised_with(world: OAuthWorld) -> None:
    first = world.connected()
    world.server.account = "new@example.org"
    assert world.callback(world.begin(first.integration_id)).status == CompletionStatus.Connected
    moved = world.now(first.integration_id)
    assert moved.status == IntegrationStatus.Active and moved.account_hash != first.account_hash
    world.server.account = "someone@example.org"
    assert world.connected(name="The old account").status == IntegrationStatus.Active


# Who has only calendar:connect


def test_a_user_connects_reads_synchronises_and_disconnects_their_own_calendar(world: OAuthWorld) -> None:
    hub, own = world.hub, world.connected(ALICE)
    id_ = own.integration_id
    assert (own.owner, own.created_by) == (ALICE.user_id, ALICE.user_id)
    assert hub.use(IntegrationService).get(ALICE, id_).integration_id == id_
    assert hub.use(OAuthService).get(ALICE, id_).grant is not None
    assert hub.use(IntegrationHistory).health(ALICE, id_).integration.integration_id == id_
    assert hub.use(IntegrationHistory).logs(ALICE, id_, LogFilter(), PageRequest()).items
    assert hub.use(RecordService).page(ALICE, id_, RecordFilter()) == []
    assert hub.use(RecordService).mapping(ALICE, id_).version == 0
    schedules = hub.use(ScheduleService)
    schedules.put(ALICE, id_, PutSchedule(interval_minutes=90), None)
    assert schedules.get(ALICE, id_).interval_minutes == 90
    syncs = hub.use(SyncService)
    job = syncs.start(ALICE, StartSync(integration_id=id_))
    assert syncs.get(ALICE, job.data_sync_job_id)[0].created_by == ALICE.user_id
    syncs.cancel(ALICE, job.data_sync_job_id)
    assert syncs.log(ALICE, job.data_sync_job_id, (), PageRequest()).items
    syncs.resume(ALICE, job.data_sync_job_id)
    hub.use(OAuthService).revoke(ALICE, id_)
    assert world.callback(world.begin(id_, ALICE)).status == CompletionStatus.Connected
    hub.use(Lifecycle).disconnect(ALICE, id_, "Not needed.")
    gone = world.now(id_)
    assert (gone.status, gone.account_hash) == (IntegrationStatus.Disconnected, None)


#: What asks for one integration, or one job of it, by its id.
READS: dict[str, Callable[[OAuthWorld, Principal, UUID, UUID], object]] = {
    "get": lambda world, who, id_, job: world.hub.use(IntegrationService).get(who, id_),
    "health": lambda world, who, id_, job: world.hub.use(IntegrationHistory).health(who, id_),
    "logs": lambda world, who, id_, job: world.hub.use(IntegrationHistory).logs(
        who, id_, LogFilter(), PageRequest()
    ),
    "grant": lambda world, who, id_, job: world.hub.use(OAuthService).get(who, id_),
    "authorize": lambda world, who, id_, job: world.hub.use(OAuthService).authorize(who, id_, Authorize()),
    "revoke": lambda world, who, id_, job: world.hub.use(OAuthService).revoke(who, id_),
    "disconnect": lambda world, who, id_, job: world.hub.use(Lifecycle).disconnect(who, id_, "Mine now."),
    "records": lambda world, who, id_, job: world.hub.use(RecordService).page(who, id_, RecordFilter()),
    "mapping": lambda world, who, id_, job: world.hub.use(RecordService).mapping(who, id_),
    "schedule": lambda world, who, id_, job: world.hub.use(ScheduleService).get(who, id_),
    "set schedule": lambda world, who, id_, job: world.hub.use(ScheduleService).put(
        who, id_, PutSchedule(interval_minutes=60), None
    ),
    "start": lambda world, who, id_, job: world.hub.use(SyncService).start(
        who, StartSync(integration_id=id_, sync_type="Differential")
    ),
    "job": lambda world, who, id_, job: world.hub.use(SyncService).get(who, job),
    "job log": lambda world, who, id_, job: world.hub.use(SyncService).log(who, job, (), PageRequest()),
    "job's records": lambda world, who, id_, job: world.hub.use(SyncService).written(who, job, PageRequest()),
    "cancel": lambda world, who, id_, job: world.hub.use(SyncService).cancel(who, job),
    "resume": lambda world, who, id_, job: world.hub.use(SyncService).resume(who, job),
}


def test_what_is_not_ones_own_does_not_exist_for_who_may_only_connect_calendars(world: OAuthWorld) -> None:
    calendar = world.connected().integration_id
    job = world.hub.use(SyncService).start(OWNER, StartSync(integration_id=calendar)).data_sync_job_id
    crm = world.integration(
        integrationType="PaymentGateway", provider="Stripe", configuration={"apiKey": "sk_test_" + "a" * 24}
    )
    # One that she made as an administrator is no calendar of hers either.
    made = world.integration(
        Principal(TENANT, ALICE.user_id, frozenset((INTEGRATION_ADMIN,))),
        integrationType="PaymentGateway",
        provider="Stripe",
        configuration={"apiKey": "sk_test_" + "b" * 24},
    )
    for name, read in READS.items():
        for id_ in (calendar, crm, made, uuid4()):
            with pytest.raises(NotFound):
                read(world, ALICE, id_, job)
                pytest.fail(f"{name} of another's {id_}")
    assert world.now(calendar).status == IntegrationStatus.Active
    assert world.hub.use(IntegrationService).page(ALICE, EVERY_STATUS, PageRequest()).items == []
    assert world.hub.use(SyncService).page(ALICE, JobFilter(), PageRequest()).items == []


def test_lists_show_only_ones_own(world: OAuthWorld) -> None:
    ids = [world.connected(who).integration_id for who in (OWNER, ALICE)]
    syncs = world.hub.use(SyncService)
    jobs = [
        syncs.start(who, StartSync(integration_id=id_)) for who, id_ in zip((OWNER, ALICE), ids, strict=True)
    ]
    shown = world.hub.use(IntegrationService).page(ALICE, IntegrationFilter(), PageRequest())
    assert ([found.integration_id for found in shown.items], shown.total) == ([ids[1]], 1)
    seen = syncs.page(ALICE, JobFilter(), PageRequest())
    assert ([job.data_sync_job_id for job in seen.items], seen.total) == ([jobs[1].data_sync_job_id], 1)
    assert syncs.page(ALICE, JobFilter(integration_id=ids[0]), PageRequest()).items == []
    assert len(syncs.page(OWNER, JobFilter(), PageRequest()).items) == 2


def test_nothing_else_is_allowed_by_it(world: OAuthWorld) -> None:
    id_ = world.connected(ALICE).integration_id
    lifecycle, run = world.hub.use(Lifecycle), world.run
    update = UpdateIntegration(name="Mine")
    changes = PutRecords.model_validate({"records": [{"externalId": "e", "data": None}]})
    for refused in (
        lambda: run(world.hub.use(CredentialService).update(ALICE, id_, update, None)),
        lambda: lifecycle.suspend(ALICE, id_, SuspendIntegration()),
        lambda: run(lifecycle.activate(ALICE, id_, ActivateIntegration())),
        lambda: world.hub.use(RecordService).change(ALICE, id_, changes),
        lambda: world.integration(
            ALICE, integrationType="PaymentGateway", provider="Stripe", configuration={"apiKey": "sk_test_1"}
        ),
    ):
        with pytest.raises(Forbidden):
            refused()


@pytest.mark.parametrize("permission", [INTEGRATION_ADMIN, INTEGRATION_MANAGE])
def test_an_administrator_names_the_owner(world: OAuthWorld, permission: str) -> None:
    admin = Principal(TENANT, USER, frozenset((permission, CALENDAR_CONNECT)))
    newcomer = Principal(TENANT, uuid4(), frozenset((CALENDAR_CONNECT,)))
    id_ = world.integration(admin, ownerId=newcomer.user_id)
    made = world.now(id_)
    assert (made.owner, made.created_by) == (newcomer.user_id, USER)
    assert world.callback(world.begin(id_, newcomer)).status == CompletionStatus.Connected
    with pytest.raises(NotFound):
        world.hub.use(IntegrationService).get(ALICE, id_)
    # The administrator is not its owner, and has a calendar of the same account.
    assert world.connected(admin).status == IntegrationStatus.Active
    job = world.hub.use(SyncService).start(newcomer, StartSync(integration_id=id_))
    assert job.created_by == newcomer.user_id
    for name in ("Carol", "Somebody"):
        with world.hub.transactions.write() as tx:
            tx.users.see(TENANT, newcomer.user_id, name, world.clock.now())
            tx.commit()
    with world.hub.database.read() as connection:
        names = connection.exec_driver_sql("SELECT DisplayName FROM Users").scalars().all()
    assert "Carol" in names and "Somebody" not in names


def test_nobody_else_names_another_owner(world: OAuthWorld) -> None:
    assert world.now(world.integration(ALICE, ownerId=ALICE.user_id)).owner == ALICE.user_id
    with pytest.raises(Forbidden):
        world.integration(ALICE, ownerId=OWNER.user_id)
    stripe: dict[str, Any] = {"integrationType": "PaymentGateway", "provider": "Stripe"}
    with pytest.raises(ValidationFailed) as refused:
        world.integration(ownerId=OWNER.user_id, configuration={"apiKey": "sk_test_" + "a" * 24}, **stripe)
    assert [error.pointer for error in refused.value.errors] == ["/ownerId"]


def test_a_key_of_a_user_reaches_that_users_calendars(world: OAuthWorld) -> None:
    key = Principal(TENANT, ALICE.user_id, frozenset((CALENDAR_CONNECT,)), api_key_id=uuid4())
    id_ = world.integration(key)
    assert world.now(id_).owner == ALICE.user_id
    own: list[Integration] = list(
        world.hub.use(IntegrationService).page(ALICE, EVERY_STATUS, PageRequest()).items
    )
    assert [found.integration_id for found in own] == [id_]


def test_a_grant_from_before_accounts_were_stored_is_recognised_at_its_next_refresh(
    world: OAuthWorld,
) -> None:
    found = world.connected()
    with world.hub.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE Integrations SET OwnerId = NULL, AccountHash = NULL, ClientHash = NULL, "
            f"ActiveSlot = 'CalendarSync/{USER}'"
        )
        connection.commit()
    old = world.now(found.integration_id)
    assert (old.owner, old.account_hash, old.client_hash) == (USER, None, None)
    world.clock.advance(minutes=50)
    assert world.refresh_ahead() == {"refreshed": 1}
    known = world.now(found.integration_id)
    assert (known.account_hash, known.client_hash) == (found.account_hash, found.client_hash)
    second = world.callback(world.begin(world.integration(name="Again")))
    assert second.status == CompletionStatus.NotActivated and "BR-IM-01" in second.detail


def test_the_same_account_authorised_again_changes_nothing_of_the_integration(world: OAuthWorld) -> None:
    found = world.connected()
    world.clock.advance(minutes=5)
    assert world.callback(world.begin(found.integration_id)).status == CompletionStatus.Connected
    again = world.now(found.integration_id)
    assert (again.version, again.validated_at) == (found.version, found.validated_at)


def test_a_calendar_with_oauth_begins_by_its_authorisation_alone(world: OAuthWorld) -> None:
    found, standing = world.connected(ALICE), world.hub.use(StandingSyncs)
    enabled = Connected(TENANT, found.integration_id, "e1", "CalendarSyncEnabled")
    assert standing.begin(enabled) is None
    with pytest.raises(NotFound):
        world.hub.use(ScheduleService).get(ALICE, found.integration_id)
    job = standing.begin(Connected(TENANT, found.integration_id, "e2"))
    assert job is not None and job.created_by == ALICE.user_id
    schedule = world.hub.use(ScheduleService).get(ALICE, found.integration_id)
    assert schedule.direction == SyncDirection.Bidirectional and schedule.modified_by == ALICE.user_id
    with world.hub.transactions.read() as tx:
        entries = tx.audit.page(TENANT, AuditFilter(action="datasync.scheduled"), PageRequest()).items
    assert [(entry.actor_user_id, entry.target_id) for entry in entries] == [
        (None, str(found.integration_id))
    ]


def test_until_an_authorisation_is_finished_its_account_may_be_any(world: OAuthWorld) -> None:
    world.connected()
    world.server.account = "second@example.org"
    second = world.connected(name="Second")
    world.server.account, world.server.api_down = "someone@example.org", True
    world.callback(world.begin(second.integration_id))
    assert not world.grant(second.integration_id).finished
    assert world.now(second.integration_id).account_hash == second.account_hash, "that of before"
    world.server.api_down = False
    world.hub.use(Lifecycle).disconnect(OWNER, second.integration_id, "Not needed.")
    assert [path for path, _ in world.server.requests if path == "/revoke"] == []
