"""Unknown credentials are counted by their network (section 10.2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.authentication.intruders import IntruderWatch
from domain.authentication.service import Authenticator, Credentials
from domain.core.errors import ExpiredToken, Unavailable
from domain.core.principal import RequestOrigin
from domain.journal.bursts import Burst
from domain.journal.occurrences import PLATFORM
from infra.authentication.factory import build_verifier
from tests.worlds.apikey_world import ApiKeyWorld


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    return ApiKeyWorld(tmp_path)


def tried(world: ApiKeyWorld, times: int, *, ip: str | None = "203.0.113.7", key: str = "ihk_nobody") -> None:
    refused(world, Credentials(None, None, key, RequestOrigin(ip)), times)


def refused(world: ApiKeyWorld, credentials: Credentials, times: int) -> None:
    for _ in range(times):
        result = world.hub.use(Authenticator).authenticate(credentials)
        assert result.error is not None


def bursts(world: ApiKeyWorld) -> list[Burst]:
    world.hub.use(IntruderWatch).flush()
    with world.hub.transactions.read() as tx:
        return tx.bursts.largest(50)


def test_unknown_credentials_are_counted_by_their_network(world: ApiKeyWorld) -> None:
    tried(world, 30)
    world.clock.advance(seconds=90)
    tried(world, 25, ip="203.0.113.99")
    tried(world, 3, ip="198.51.100.1")
    first, second = bursts(world)
    assert (first.subject, first.count, first.is_violation) == ("203.0.113.0/24", 55, True)
    assert (first.last_at - first.started_at).total_seconds() == 90
    assert (first.tenant_id, first.source_ip) == (PLATFORM, "203.0.113.99")
    assert (second.subject, second.count, second.is_violation) == ("198.51.100.0/24", 3, False)


def test_known_keys_and_unknown_addresses_do_not_count(world: ApiKeyWorld) -> None:
    issued = world.issue(allowedIps=["192.0.2.1"])
    tried(world, 50, key=issued.plain.text)
    tried(world, 50, ip=None)
    assert bursts(world) == []


def test_requests_without_a_credential_and_tokens_whose_time_is_over_tell_of_no_intruder(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = RequestOrigin("203.0.113.7")
    refused(world, Credentials(None, None, None, origin), 50)

    def over(*_: object) -> None:
        raise ExpiredToken("The token has expired.")

    verifier = build_verifier(world.hub.settings)
    monkeypatch.setattr(type(verifier), "verify", over)
    refused(world, Credentials("Bearer a.b.c", None, None, origin), 50)
    assert bursts(world) == []


def test_what_a_database_that_is_away_did_not_take_is_counted_later(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr("infra.sql.transaction.SqlTransaction.commit", away)
        tried(world, 20)
        world.hub.use(IntruderWatch).flush()
    tried(world, 1)
    assert [burst.count for burst in bursts(world)] == [21]
