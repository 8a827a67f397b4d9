"""Rotating the data key while synchronisation keeps sealed places to go on from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.rotate_data_key import keys_in_use, rotate
from infra.sealing import SecretStoreCipher
from tests.worlds.sync_world import SyncWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    yield made
    made.close()


def run(world: SyncWorld, *, retires: bool) -> list[str]:
    """What it told."""
    told: list[str] = []
    assert rotate(
        world.database,
        world.secrets,
        wait_seconds=0,
        retires=retires,
        tell=told.append,
        sleep=lambda seconds: None,
    )
    return told


def rotated(world: SyncWorld) -> None:
    """As the page says, the old key destroyed: whatever is still sealed under it is lost."""
    for retires in (False, True):
        run(world, retires=retires)
    assert len(keys_in_use(world.database)) == 1
    assert len(world.secrets.names("data-key-")) == 2, "the key, and the name of the current one"


def test_retiring_a_day_later_keeps_the_key_of_the_day_between(world: SyncWorld) -> None:
    """Answers remembered for an Idempotency-Key are sealed in no column that could be sealed anew."""
    cipher = SecretStoreCipher(world.secrets)
    before = cipher.seal("an answer", context="repeats")
    run(world, retires=False)
    between = SecretStoreCipher(world.secrets).seal("an answer", context="repeats")
    rotated_key = world.secrets.get("data-key-current")
    told = run(world, retires=True)
    assert world.secrets.get("data-key-current") == rotated_key, "retiring makes no new key"
    fresh = SecretStoreCipher(world.secrets)
    assert fresh.open(between, context="repeats") == "an answer"
    with pytest.raises(ValueError, match="not in the secret store"):
        fresh.open(before, context="repeats")
    assert told[-1] == f"Retired: {cipher.key_id(before)}"


async def test_an_incremental_sync_goes_on_from_its_token_after_the_old_key_is_gone(world: SyncWorld) -> None:
    world.crm.incremental, world.crm.next_state = "token", "token-1"
    world.crm.put("c1")
    integration_id = await world.integration()
    await world.synced(integration_id)
    rotated(world)
    world.clock.advance(days=2)
    job = await world.synced(integration_id, "Incremental")
    assert job.status.name == "Completed"
    assert world.crm.requests[-1].state == "token-1"


async def test_a_job_under_way_goes_on_from_its_checkpoint_after_the_old_key_is_gone(
    world: SyncWorld,
) -> None:
    for index in range(20):
        world.crm.put(f"c{index:02}")
    integration_id = await world.integration()
    job = await world.run(world.start(integration_id), batches=1)
    rotated(world)
    first = len(world.crm.requests)
    ended = await world.run(job)
    assert ended.status.name == "Completed"
    assert world.crm.requests[first].cursor is not None, "it did not begin anew"
    assert len(world.live(integration_id)) == 20
