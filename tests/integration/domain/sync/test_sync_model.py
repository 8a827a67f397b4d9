"""Random edits, deletions, runs and failures on both sides: they converge, and BR-DS-07 says what is left."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worlds.both_ways import PEERS, BothWays, Sequence
from tests.worlds.sync_world import SyncWorld

#: `make soak` plays more.
SEQUENCES = int(os.environ.get("HUB_TEST_SEQUENCES", "25"))
FIRST_SEED = int(os.environ.get("HUB_TEST_SEED", "0"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("name", PEERS)
async def test_both_sides_converge_and_no_later_edit_is_lost__BR_DS_07(world: SyncWorld, name: str) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + SEQUENCES):
        both = await BothWays.between(world, PEERS[name](world.clock))
        try:
            rng = random.Random(f"{name} {seed}")
            await Sequence(both, rng).play(steps=rng.randrange(4, 10))
        except BaseException as error:
            error.add_note(
                f"Sequence {seed} of {name}: HUB_TEST_SEED={seed} HUB_TEST_SEQUENCES=1 repeats it."
            )
            raise
