"""Bursts of unknown credentials (section 10.2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from domain.authentication.intruders import BURST, IntruderWatch
from domain.authentication.service import Authenticator, Credentials
from domain.core.errors import Unavailable
from domain.core.principal import RequestOrigin
from tests.worlds.apikey_world import ApiKeyWorld


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    return ApiKeyWorld(tmp_path)


def tried(world: ApiKeyWorld, times: int, *, ip: str | None = "203.0.113.7", key: str = "ihk_nobody") -> None:
    for _ in range(times):
        result = world.hub.use(Authenticator).authenticate(Credentials(None, None, key, RequestOrigin(ip)))
        assert result.error is not None


def alerts(world: ApiKeyWorld) -> Sequence[dict[str, Any]]:
    world.hub.use(IntruderWatch).flush()
    with world.hub.transactions.read() as tx:
        waiting = tx.occurrences.waiting(50)
    return [
        json.loads(occurrence.data) for occurrence in waiting if occurrence.source == "security-violation"
    ]


def test_a_burst_from_a_network_is_told_once(world: ApiKeyWorld) -> None:
    tried(world, BURST - 1)
    assert alerts(world) == []
    tried(world, BURST * 2, ip="203.0.113.99")
    [alert] = alerts(world)
    assert (alert["subject"], alert["count"]) == ("203.0.113.0/24", BURST)
    world.clock.advance(minutes=10)
    tried(world, BURST)
    assert len(alerts(world)) == 2


def test_it_is_an_alert_of_the_platform(world: ApiKeyWorld) -> None:
    tried(world, BURST)
    alerts(world)
    with world.hub.transactions.read() as tx:
        [occurrence] = tx.occurrences.waiting(1)
    assert (occurrence.source, occurrence.tenant_id.int) == ("security-violation", 0)


def test_as_many_in_a_longer_time_are_no_burst(world: ApiKeyWorld) -> None:
    for _ in range(4):
        tried(world, BURST // 2)
        world.clock.advance(seconds=60)
    assert alerts(world) == []


def test_known_keys_and_unknown_addresses_do_not_count(world: ApiKeyWorld) -> None:
    issued = world.issue(allowedIps=["192.0.2.1"])
    tried(world, BURST, key=issued.plain.text)
    tried(world, BURST, ip=None)
    assert alerts(world) == []


def test_a_database_that_is_away_is_no_matter_of_the_caller(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr("infra.sql.transaction.SqlTransaction.commit", away)
        tried(world, BURST)
        world.hub.use(IntruderWatch).flush()
    assert alerts(world) == []
