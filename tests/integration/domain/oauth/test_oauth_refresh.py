"""Tokens are refreshed ahead of expiry, by one at a time, and what is stale does not count."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.core.errors import Unavailable
from domain.integrations.model import IntegrationStatus
from domain.oauth.clients import OAuthClients
from domain.oauth.grants import TABLE, GrantStore, StaleGrant
from domain.oauth.service import OAuthService
from domain.oauth.tokens import OAuthTokens
from domain.providers.contract import ProviderFailure
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.oauth_world import OWNER, OAuthWorld


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


def failing(times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    left = [times]

    def call(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise Unavailable("The secret store does not answer.")
        return then(*arguments)

    return call


def test_a_fresh_token_is_handed_out_without_asking_anyone(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.down = True
    world.clock.advance(minutes=54)
    assert world.current(id_) == world.server.issued[1]
    assert world.server.count("refresh_token") == 0


def test_the_timer_refreshes_what_expires_within_15_minutes_and_nothing_else(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(minutes=44)
    assert world.refresh_ahead() == {}
    world.clock.advance(minutes=1)
    assert world.refresh_ahead() == {"refreshed": 1}
    assert world.refresh_ahead() == {}
    assert world.grant(id_).expires_at > world.clock.now()


def test_a_caller_refreshes_when_the_timer_did_not(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(hours=3)
    token = world.current(id_)
    assert token == world.server.issued[3]
    assert world.current(id_) == token
    assert world.server.count("refresh_token") == 1


def test_the_rotated_refresh_token_is_the_one_used_next(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.strict_rotation = True
    for _ in range(3):
        world.clock.advance(hours=1)
        assert world.current(id_) is not None
    used = [form["refresh_token"] for _, form in world.server.requests if "refresh_token" in form]
    assert len(set(used)) == 3


def test_a_refresh_token_that_is_not_rotated_is_kept(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.issues_refresh_tokens = False
    for _ in range(2):
        world.clock.advance(hours=1)
        assert world.current(id_) is not None
    used = [form["refresh_token"] for _, form in world.server.requests if "refresh_token" in form]
    assert len(set(used)) == 1 and len(used) == 2


def test_tokens_without_a_refresh_token_end_with_an_explanation(world: OAuthWorld) -> None:
    world.server.issues_refresh_tokens = False
    id_ = world.connected().integration_id
    assert not world.grant(id_).renewable
    world.clock.advance(minutes=50)
    assert world.refresh_ahead() == {"kept": 1}
    assert world.refresh_ahead() == {}
    world.clock.advance(minutes=9)
    with pytest.raises(ProviderFailure, match="cannot be renewed") as raised:
        world.current(id_)
    assert raised.value.kind == "unauthorized"


def test_a_token_that_still_lives_is_handed_out_while_the_server_is_down(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.down = True
    world.clock.advance(minutes=57)
    assert world.current(id_) == world.server.issued[1]
    assert world.current(id_) == world.server.issued[1]
    assert world.server.count("refresh_token") == 1, "the second caller leaves the server in peace"


def test_within_a_minute_of_expiry_a_token_is_not_handed_out__clocks_differ(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.down = True
    world.clock.advance(minutes=59, seconds=1)
    for _ in range(3):
        with pytest.raises(ProviderFailure) as raised:
            world.current(id_)
        assert raised.value.kind == "unavailable"
    assert world.server.count("refresh_token") == 1
    assert world.now(id_).status == IntegrationStatus.Active


def test_after_an_outage_it_is_tried_again_ever_more_seldom_until_it_works(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.down = True
    world.clock.advance(hours=1)
    for expected in (15, 30, 60):
        with pytest.raises(ProviderFailure):
            world.current(id_)
        retry_at = world.grant(id_).retry_at
        assert retry_at is not None
        assert (retry_at - world.clock.now()).total_seconds() == expected
        world.clock.move_to(retry_at)
    world.server.down = False
    assert world.current(id_) is not None
    assert (world.grant(id_).failures, world.grant(id_).retry_at) == (0, None)


def test_a_wrong_client_secret_is_no_revocation_and_costs_no_token(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(hours=1)
    original = world.server.token
    world.server.token = lambda form: (401, {"error": "invalid_client"})  # type: ignore[method-assign]
    with pytest.raises(ProviderFailure) as raised:
        world.current(id_)
    assert raised.value.kind == "unauthorized"
    world.server.token = original  # type: ignore[method-assign]
    world.clock.advance(minutes=1)
    assert world.current(id_) is not None


def test_twenty_callers_of_one_process_make_one_refresh(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(hours=2)
    world.server.slow_seconds = 0.3
    with ThreadPoolExecutor(20) as pool:
        tokens = set(pool.map(lambda _: world.current(id_), range(20)))
    assert len(tokens) == 1
    assert world.server.count("refresh_token") == 1


class Paused:
    """A refresher that is stopped while it waits for the server's answer."""

    def __init__(self, world: OAuthWorld, integration_id: Any) -> None:
        self._server = world.server
        self._gate, self._inside = threading.Event(), threading.Event()
        self._answer = world.server.token
        world.server.token = self._wait  # type: ignore[method-assign]
        self.result: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(world, integration_id))
        self._thread.start()
        assert self._inside.wait(10)
        world.server.token = self._answer  # type: ignore[method-assign]

    def _wait(self, form: Any) -> Any:
        self._inside.set()
        assert self._gate.wait(10)
        return self._answer(form)

    def _run(self, world: OAuthWorld, integration_id: Any) -> None:
        try:
            self.result.append(
                world.hub.use(OAuthTokens).renew(world.now(integration_id), world.grant(integration_id))
            )
        except (StaleGrant, ProviderFailure) as error:
            self.result.append(error)

    def go_on(self) -> Any:
        self._gate.set()
        self._thread.join(10)
        return self.result[0]


def test_a_stale_refreshers_tokens_are_discarded(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(hours=1)
    stale = Paused(world, id_)
    world.clock.advance(seconds=61)
    token, grant = world.current(id_), world.grant(id_)
    assert isinstance(stale.go_on(), StaleGrant)
    assert world.grant(id_) == grant
    assert world.current(id_) == token


def test_a_stale_refreshers_verdict_that_the_grant_is_gone_is_discarded(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(hours=1)
    world.server.strict_rotation = True
    stale = Paused(world, id_)
    world.clock.advance(seconds=61)
    assert world.current(id_) is not None
    world.server.revoked = True
    assert isinstance(stale.go_on(), StaleGrant)
    assert world.now(id_).status == IntegrationStatus.Active
    assert world.alerts() == []


def test_a_refresh_that_ends_after_a_withdrawal_leaves_no_token_behind(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(minutes=50)
    late = Paused(world, id_)
    world.server.down = True
    world.hub.use(OAuthService).revoke(OWNER, id_)
    world.server.down = False
    assert isinstance(late.go_on(), StaleGrant)
    assert world.hub.secrets.names("oauth-") == []


def test_a_lease_that_nobody_gave_back_runs_out(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(minutes=50)
    world.hub.use(GrantStore).claim(world.grant(id_))
    assert world.refresh_ahead() == {"elsewhere": 1}
    world.clock.advance(seconds=61)
    assert world.refresh_ahead() == {"refreshed": 1}


def test_whoever_waits_in_vain_is_told_so(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(hours=1)
    world.hub.use(GrantStore).claim(world.grant(id_))
    waits: list[float] = []
    tokens = OAuthTokens(
        world.hub.use(OAuthClients),
        world.hub.use(GrantStore),
        world.clock,
        lambda *_: None,
        sleep=waits.append,
    )
    with pytest.raises(ProviderFailure, match="which took too long") as raised:
        tokens.current(world.now(id_))
    assert raised.value.kind == "unavailable"
    assert 15 < sum(waits) < 30


def test_tokens_stored_by_a_refresher_that_died_before_pointing_to_them_are_found(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.strict_rotation = True
    world.clock.advance(hours=1)
    claimed = world.hub.use(GrantStore).claim(world.grant(id_))
    old = world.hub.use(GrantStore).tokens(claimed)
    assert old is not None and old.refresh_token is not None
    status, body = world.server.token(
        {**_client(world), "grant_type": "refresh_token", "refresh_token": old.refresh_token}
    )
    assert status == 200
    now = world.clock.now()
    stored = replace(
        old,
        access_token=body["access_token"],
        refresh_token=body["refresh_token"],
        obtained_at=now,
        expires_at=now.replace(hour=now.hour + 1),
        fence=claimed.fence,
    )
    world.hub.use(GrantStore).put(claimed.secret_name, stored)
    world.clock.advance(seconds=61)
    assert world.current(id_) == body["access_token"]
    assert world.server.count("refresh_token") == 1
    world.clock.advance(hours=1)
    assert world.current(id_) not in (None, body["access_token"])


def test_a_secret_store_that_hiccups_costs_no_rotated_token(
    world: OAuthWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = world.connected().integration_id
    world.server.strict_rotation = True
    world.clock.advance(hours=1)
    waits: list[float] = []
    tokens = OAuthTokens(
        world.hub.use(OAuthClients),
        world.hub.use(GrantStore),
        world.clock,
        lambda *_: None,
        sleep=waits.append,
    )
    monkeypatch.setattr(GrantStore, "put", failing(3, GrantStore.put))
    assert tokens.current(world.now(id_)) is not None
    assert waits == [0.1, 0.3, 1.0]
    monkeypatch.undo()
    world.clock.advance(hours=1)
    assert world.current(id_) is not None


def test_stores_that_are_down_are_an_outage_to_the_caller(
    world: OAuthWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = world.connected().integration_id
    integration = world.now(id_)
    monkeypatch.setattr(GrantStore, "get", failing(1, lambda *_: None))
    with pytest.raises(ProviderFailure) as raised:
        world.hub.access_tokens.current(integration)
    assert raised.value.kind == "unavailable"


def test_an_integration_never_authorised_has_no_token(world: OAuthWorld) -> None:
    assert world.current(world.integration()) is None


def test_rows_and_index_hold_no_token(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.clock.advance(hours=1)
    world.current(id_)
    rows = world.hub.tables.query(TABLE)
    assert len(rows) == 2, "the grant and when it is due"
    assert not any(secret in repr(rows) for secret in world.server.issued)


def test_tokens_that_no_row_points_to_are_swept_once_they_are_old(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    grants = world.hub.use(GrantStore)
    tokens = grants.tokens(world.grant(id_))
    assert tokens is not None
    grants.put(grants._new_name(id_), tokens)
    assert grants.sweep() == 0
    world.clock.advance(minutes=16)
    assert grants.sweep() == 1
    assert world.hub.secrets.names("oauth-") == [world.grant(id_).secret_name]
    assert world.current(id_) is not None


def _client(world: OAuthWorld) -> dict[str, str]:
    configuration = world.server.configuration()
    return {"client_id": configuration["clientId"], "client_secret": configuration["clientSecret"]}
