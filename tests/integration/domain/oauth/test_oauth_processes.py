"""Refreshing from several processes, and from one that is killed in the middle of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from infra.clock import AdjustableClock
from tests import ROOT
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.oauth_world import OAuthWorld

_CALLER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID
from domain.oauth.tokens import OAuthTokens
from infra.app.build import build
from infra.app.settings import Settings
home, integration_id, callers = Path(sys.argv[1]), UUID(sys.argv[2]), int(sys.argv[3])
hub = build(Settings(home=home))
with hub.transactions.read() as unit:
    integration = unit.integrations.find(integration_id)
hub.use(OAuthTokens)
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(callers) as pool:
    for token in pool.map(lambda _: hub.use(OAuthTokens).current(integration), range(callers)):
        print(token)
"""

#: Dies when the new tokens are stored and the row does not point to them yet.
_DIES_AFTER_STORING = (
    """
import os, signal
from domain.oauth.grants import GrantStore
put = GrantStore.put
def put_and_die(self, name, tokens):
    put(self, name, tokens)
    os.kill(os.getpid(), signal.SIGKILL)
GrantStore.put = put_and_die
"""
    + _CALLER
)


class Caller:
    def __init__(self, world: OAuthWorld, integration_id: UUID, callers: int, script: str = _CALLER) -> None:
        command = [sys.executable, "-c", script, str(world.home), str(integration_id), str(callers)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def tokens(self) -> list[str]:
        printed, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0
        return printed.split()


def advance(world: OAuthWorld, seconds: float) -> None:
    """For every process over the same state."""
    AdjustableClock(world.home / "clock").advance(seconds)


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    started = OAuthServer()
    yield started
    started.close()


@pytest.fixture
def world(tmp_path: Path, server: OAuthServer) -> Iterator[OAuthWorld]:
    home = tmp_path / "hub"
    home.mkdir()
    made = OAuthWorld(home, server, clock=AdjustableClock(home / "clock"))
    yield made
    made.close()


def test_twenty_callers_of_two_processes_make_exactly_one_refresh(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    advance(world, 7200)
    world.server.slow_seconds = 0.5
    callers = [Caller(world, id_, 10) for _ in range(2)]
    for caller in callers:
        caller.go()
    tokens = [token for caller in callers for token in caller.tokens()]
    assert len(tokens) == 20
    assert set(tokens) == {world.server.issued[3]}
    assert world.server.count("refresh_token") == 1


def test_a_refresher_killed_while_it_waits_loses_nothing_and_locks_nothing_forever(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    advance(world, 7200)
    world.server.entered.clear()
    world.server.slow_seconds = 1.0
    caller = Caller(world, id_, 1)
    caller.go()
    assert world.server.entered.wait(10)
    caller.process.send_signal(signal.SIGKILL)
    caller.process.wait(10)
    world.server.slow_seconds = 0.0
    assert world.grant(id_).lease_until is not None
    advance(world, 61)
    token = world.current(id_)
    assert token is not None and token in world.server.issued
    assert world.grant(id_).lease_until is None
    assert world.server.api("/", f"Bearer {token}")[0] == 200


def test_a_refresher_killed_after_storing_loses_no_rotated_token(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.strict_rotation = True
    advance(world, 7200)
    caller = Caller(world, id_, 1, _DIES_AFTER_STORING)
    caller.go()
    assert caller.process.wait(10) == -signal.SIGKILL
    advance(world, 61)
    assert world.current(id_) == world.server.issued[3]
    assert world.server.count("refresh_token") == 1, "what was stored is used, not asked for again"
    advance(world, 7200)
    assert world.current(id_) == world.server.issued[5], "and so is its refresh token"
