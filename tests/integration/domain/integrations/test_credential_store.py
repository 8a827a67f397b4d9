"""Credentials survive a death at any step: no half-configured integration, no orphan secret after the sweep."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from domain.core.errors import Unavailable
from domain.integrations.commands import RotateCredentials
from domain.integrations.credential_store import CredentialStore
from domain.integrations.credentials import CredentialService
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import IntegrationStatus
from domain.integrations.service import IntegrationService
from infra.rotate_data_key import keys_in_use, rotate
from infra.sql.engine import DATABASE_FILE
from tests.worlds.integration_world import GOOD_KEY, OTHER_KEY, IntegrationWorld, Killed, down

S = IntegrationStatus


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntegrationWorld]:
    made = IntegrationWorld(tmp_path)
    yield made
    made.close()


class DyingDatabase:
    """Dies at the n-th write transaction, before or after its commit."""

    def __init__(self, world: IntegrationWorld, at: int, *, after_commit: bool) -> None:
        self._write, self._left, self._after = world.database.write, at, after_commit

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._write() as connection:
            self._left -= 1
            if self._left:
                yield connection
                return
            if not self._after:
                connection.commit = self._die  # type: ignore[method-assign]
            yield connection
        raise Killed

    def _die(self) -> None:
        raise Killed


def die_at(world: IntegrationWorld, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Arrange for the process to die at a step of storing credentials."""
    kind, _, number = step.partition(" ")
    if kind in ("set", "after-set", "delete"):

        def fail(operation: str, name: str) -> None:
            if operation == kind and name.startswith("integration-"):
                raise Killed

        world.secrets.fail = fail
    else:
        dying = DyingDatabase(world, int(number), after_commit=kind == "after-commit")
        monkeypatch.setattr(world.database, "write", dying.write)


def usable_or_recoverable(world: IntegrationWorld) -> None:
    """Every integration has all of its credentials, and every secret has its integration."""
    with world.transactions.read() as tx:
        ids = tx.integrations.all_ids(after=None, limit=100)
        stored = [found for id_ in ids if (found := tx.integrations.find(id_))]
    for integration in stored:
        if integration.status != S.Disconnected:
            assert world.hub.use(CredentialStore).load(integration).secrets["/apiKey"] in (
                GOOD_KEY,
                OTHER_KEY,
            )
    assert world.secrets.credentials() == sorted(
        integration.secret_name for integration in stored if integration.secret_name
    )


CREATE_STEPS = ["set", "after-set", "commit 1", "after-commit 1", "commit 2", "after-commit 2", "commit 3"]


@pytest.mark.parametrize("step", CREATE_STEPS)
async def test_creating_may_die_at_any_step(
    world: IntegrationWorld, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with monkeypatch.context() as patched:
        die_at(world, patched, step)
        with pytest.raises(Killed):
            await world.create()
    world.secrets.fail = lambda operation, name: None
    world.clock.advance(minutes=20)
    world.sweep()
    usable_or_recoverable(world)
    with world.transactions.read() as tx:
        ids = tx.integrations.all_ids(after=None, limit=10)
    if ids:
        with world.transactions.read() as tx:
            left = tx.integrations.find(ids[0])
        assert left is not None and left.status in (S.Draft, S.PendingValidation) and left.reason
        assert (await world.activate(left)).integration.status == S.Active
    else:
        assert (await world.create()).integration.status == S.Active


@pytest.mark.parametrize("step", ["set", "after-set", "commit 1", "after-commit 1", "delete"])
async def test_rotating_credentials_may_die_at_any_step(
    world: IntegrationWorld, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    created = (await world.create()).integration
    with monkeypatch.context() as patched:
        die_at(world, patched, step)
        with pytest.raises(Killed):
            await world.hub.use(CredentialService).rotate(
                world.principal, created.integration_id, RotateCredentials(credentials={"apiKey": OTHER_KEY})
            )
    world.secrets.fail = lambda operation, name: None
    world.clock.advance(minutes=20)
    world.sweep()
    usable_or_recoverable(world)
    stored = world.now(created)
    assert stored.status == S.Active and len(world.secrets.credentials()) == 1
    is_new = step in ("after-commit 1", "delete")
    assert world.hub.use(CredentialStore).load(stored).secrets["/apiKey"] == (
        OTHER_KEY if is_new else GOOD_KEY
    )


async def test_disconnecting_may_die_before_the_secret_is_destroyed(
    world: IntegrationWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = (await world.create()).integration
    with monkeypatch.context() as patched:
        die_at(world, patched, "delete")
        with pytest.raises(Killed):
            world.hub.use(Lifecycle).disconnect(world.principal, created.integration_id, "x")
    world.secrets.fail = lambda operation, name: None
    assert world.now(created).status == S.Disconnected and len(world.secrets.credentials()) == 1
    world.clock.advance(minutes=20)
    assert world.sweep() == 1 and world.secrets.credentials() == []


async def test_the_sweep_leaves_what_is_used_what_is_young_and_what_is_not_its_own(
    world: IntegrationWorld,
) -> None:
    created = (await world.create()).integration
    other = {"integration-by-someone-else": "x", "data-key-0": "y"}
    world.secrets.values.update(other)
    split = world.hub.use(CredentialStore).load(created)
    young = world.hub.use(CredentialStore).put(created.integration_id, split)
    assert world.sweep() == 0
    world.clock.advance(minutes=16)
    assert world.sweep() == 1
    assert young not in world.secrets.values and created.secret_name in world.secrets.values
    assert other.keys() <= world.secrets.values.keys()


async def test_a_change_that_the_sweep_might_have_overtaken_is_refused(world: IntegrationWorld) -> None:
    created = (await world.create()).integration

    def slow(operation: str, name: str) -> None:
        if operation == "after-set":
            world.clock.advance(minutes=10)

    world.secrets.fail = slow
    with pytest.raises(Unavailable, match="too long"):
        await world.put(created, configuration={"apiKey": OTHER_KEY})
    assert world.hub.use(CredentialStore).load(world.now(created)).secrets["/apiKey"] == GOOD_KEY


async def test_a_secret_store_that_is_down_costs_nothing_but_the_request(world: IntegrationWorld) -> None:
    world.secrets.fail = down
    with pytest.raises(Unavailable):
        await world.create()
    assert world.rows("SELECT 1 FROM Integrations") == []


async def test_lost_credentials_are_told_and_can_be_set_again(world: IntegrationWorld) -> None:
    created = (await world.create("REST")).integration
    world.secrets.delete(created.secret_name or "")
    await world.check(3)
    log = world.logs(created)[0].message
    assert "not in the secret store" in log
    await world.hub.use(CredentialService).rotate(
        world.principal, created.integration_id, RotateCredentials(credentials={"apiKey": OTHER_KEY})
    )
    await world.check()
    assert world.hub.use(CredentialStore).load(world.now(created)).secrets == {"/apiKey": OTHER_KEY}


async def test_a_configuration_copied_to_another_row_does_not_open(world: IntegrationWorld) -> None:
    first = (await world.create("REST", name="a")).integration
    second = (await world.create("REST", name="b")).integration
    with world.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE Integrations SET Configuration = ? WHERE Name = 'b'", (first.sealed_configuration,)
        )
        connection.commit()
    with pytest.raises(ValueError, match="another context"):
        world.hub.use(CredentialStore).load(world.now(second))


# Rotating the data key


def rotated(world: IntegrationWorld, *, retires: bool = False) -> list[str]:
    told: list[str] = []
    assert rotate(
        world.database,
        world.secrets,
        wait_seconds=1,
        retires=retires,
        tell=told.append,
        sleep=lambda seconds: None,
    )
    return told


async def test_a_rotation_seals_every_column_anew_and_all_still_open(world: IntegrationWorld) -> None:
    created = [(await world.create("REST", name=f"a{n}")).integration for n in range(3)]
    before = keys_in_use(world.database)
    rotated(world)
    after = keys_in_use(world.database)
    assert len(before) == len(after) == 1 and before != after
    for integration in created:
        assert world.hub.use(CredentialStore).load(world.now(integration)).plain["currency"] == "USD"
        assert (
            world.hub.use(IntegrationService)
            .shown_configuration(world.principal, world.now(integration))
            .account
            is not None
        )
        assert world.now(integration).version == integration.version


async def test_old_keys_stay_until_they_are_retired(world: IntegrationWorld) -> None:
    created = (await world.create("REST")).integration
    rotated(world)
    assert len([name for name in world.secrets.values if name.startswith("data-key-")]) == 3
    told = rotated(world, retires=True)
    assert len([name for name in world.secrets.values if name.startswith("data-key-")]) == 2
    assert "Retired:" in told[-1] and world.hub.use(CredentialStore).load(world.now(created)).secrets


async def test_a_value_changed_during_the_rotation_is_not_overwritten(world: IntegrationWorld) -> None:
    created = (await world.create("REST")).integration
    told: list[str] = []

    def change(line: str) -> None:
        told.append(line)
        if len(told) == 1:
            sealed = world.cipher.seal(
                '{"plain":{"currency":"EUR"},"secrets":[]}', context=f"integration:{created.integration_id}"
            )
            with sqlite3.connect(world.home / DATABASE_FILE) as connection:
                connection.execute("UPDATE Integrations SET Configuration = ?", (sealed,))

    rotate(
        world.database, world.secrets, wait_seconds=0, retires=False, tell=change, sleep=lambda seconds: None
    )
    assert world.hub.use(CredentialStore).load(world.now(created)).plain == {"currency": "EUR"}
    assert len(keys_in_use(world.database)) == 1
