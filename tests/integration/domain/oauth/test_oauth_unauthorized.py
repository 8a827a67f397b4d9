"""A 401 from a provider with OAuth: what a refresh mends, what it does not, and which cause a suspension then has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.integrations.commands import TestIntegration
from domain.integrations.connection import Connector
from domain.integrations.health import HealthMonitor
from domain.integrations.model import Integration, IntegrationStatus, SuspensionCause
from domain.integrations.service import IntegrationTester
from domain.oauth.model import GrantStatus
from domain.providers.contract import ProviderFailure, ProviderRequest
from domain.sync.sources import Sources
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.oauth_world import OWNER, OAuthWorld

S = IntegrationStatus


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    made = OAuthServer()
    yield made
    made.close()


@pytest.fixture
def world(tmp_path: Path, server: OAuthServer) -> Iterator[OAuthWorld]:
    made = OAuthWorld(tmp_path / "hub", server)
    yield made
    made.close()


def kill_token(world: OAuthWorld, integration: Integration) -> None:
    token = world.current(integration.integration_id)
    assert token is not None
    world.server.dead.add(token)


def check(world: OAuthWorld) -> None:
    world.clock.advance(minutes=5)
    world.run(world.hub.use(HealthMonitor).check_due())


def refusal(world: OAuthWorld, integration: Integration) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as raised:
        world.run(read(world, integration))
    return raised.value


async def read(world: OAuthWorld, integration: Integration, times: int = 1) -> list[int]:
    """One connection, and `times` requests at once."""
    provider, connection = await asyncio.to_thread(world.hub.use(Connector).connect, integration)
    assert provider.profile.oauth is not None
    url = f"{connection.configuration.base_url}/users/me/calendarList/primary"
    headers = {"authorization": f"Bearer {connection.access_token}"}
    request = ProviderRequest("GET", url, headers=headers)
    answers = await asyncio.gather(*(connection.http.expect(request) for _ in range(times)))
    return [answer.status for answer in answers]


def state(world: OAuthWorld, integration: Integration) -> tuple[S, SuspensionCause | None]:
    found = world.now(integration.integration_id)
    return found.status, found.suspension


def test_a_token_that_died_early_is_refreshed_and_the_call_repeated(world: OAuthWorld) -> None:
    integration = world.connected()
    kill_token(world, integration)
    check(world)
    assert state(world, integration) == (S.Active, None)
    assert world.server.count("refresh_token") == 1
    assert world.now(integration.integration_id).consecutive_failures == 0
    assert world.alerts() == []
    check(world)
    assert world.server.count("refresh_token") == 1, "the new token is the one that is used from now on"


def test_many_calls_that_are_refused_at_once_make_one_refresh(world: OAuthWorld) -> None:
    integration = world.connected()
    kill_token(world, integration)

    async def three_connections() -> list[list[int]]:
        return await asyncio.gather(*(read(world, integration, times=4) for _ in range(3)))

    assert world.run(three_connections()) == [[200] * 4] * 3
    assert world.server.count("refresh_token") == 1


def test_a_connection_that_is_kept_goes_on_with_the_new_token(world: OAuthWorld) -> None:
    integration = world.connected()
    source = world.hub.use(Sources).open(integration)
    kill_token(world, integration)
    url = f"{source.connection.configuration.base_url}/users/me/calendarList/primary"
    headers = {"authorization": f"Bearer {source.connection.access_token}"}
    world.server.api_requests.clear()

    async def twice() -> list[int]:
        sent = [await source.connection.http.send(ProviderRequest("GET", url, headers=headers)) for _ in "ab"]
        return [answer.status for answer in sent]

    assert world.run(twice()) == [200, 200]
    assert len(world.server.api_requests) == 3, "only the first request was refused"


def test_a_401_after_a_refresh_suspends_for_authentication_and_is_probed__11_1(world: OAuthWorld) -> None:
    integration = world.connected()
    world.server.api_refuses = True
    check(world)
    assert state(world, integration) == (S.Suspended, SuspensionCause.Authentication)
    assert world.server.count("refresh_token") == 1
    assert [alert["kind"] for alert in world.alerts()] == ["integration-suspended"]
    assert world.grant(integration.integration_id).status == GrantStatus.Active
    world.server.api_refuses = False
    check(world)
    assert state(world, integration) == (S.Active, None)


def test_one_connection_refreshes_once_however_often_it_is_refused(world: OAuthWorld) -> None:
    integration = world.connected()
    world.server.api_refuses = True
    source = world.hub.use(Sources).open(integration)
    headers = {"authorization": f"Bearer {source.connection.access_token}"}
    request = ProviderRequest("GET", source.connection.configuration.base_url, headers=headers)

    async def thrice() -> list[int]:
        return [(await source.connection.http.send(request)).status for _ in "abc"]

    assert world.run(thrice()) == [401, 401, 401]
    assert world.server.count("refresh_token") == 1


def test_a_grant_that_is_gone_suspends_as_such(world: OAuthWorld) -> None:
    integration = world.connected()
    kill_token(world, integration)
    world.server.revoked = True
    check(world)
    assert state(world, integration) == (S.Suspended, SuspensionCause.Grant)
    assert world.grant(integration.integration_id).status == GrantStatus.Revoked
    assert [alert["kind"] for alert in world.alerts()] == ["integration-suspended"]


@pytest.mark.parametrize(
    "answer", [(401, {"error": "invalid_client"}), (400, {"error": "unauthorized_client"}), (403, {})]
)
def test_a_refused_refresh_suspends_for_the_grant_and_costs_no_token(
    world: OAuthWorld, answer: tuple[int, dict[str, Any]]
) -> None:
    integration = world.connected()
    kill_token(world, integration)
    world.server.token = lambda form: answer  # type: ignore[method-assign]
    check(world)
    assert state(world, integration) == (S.Suspended, SuspensionCause.Grant)
    assert world.grant(integration.integration_id).status == GrantStatus.Active


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_refresh_that_the_server_could_not_answer_is_an_outage(world: OAuthWorld, status: int) -> None:
    integration = world.connected()
    kill_token(world, integration)
    original = world.server.token
    world.server.token = lambda form: (status, {})  # type: ignore[method-assign]
    assert refusal(world, integration).kind == "unavailable"
    world.clock.advance(minutes=5)
    check(world)
    assert state(world, integration) == (S.Active, None)
    assert world.now(integration.integration_id).consecutive_failures == 1
    world.server.token = original  # type: ignore[method-assign]
    world.clock.advance(minutes=15)
    assert world.run(read(world, integration)) == [200]


def test_a_grant_without_a_refresh_token_is_no_proof_of_a_revocation(world: OAuthWorld) -> None:
    world.server.issues_refresh_tokens = False
    integration = world.connected()
    kill_token(world, integration)
    failure = refusal(world, integration)
    assert (failure.kind, failure.of_grant) == ("unauthorized", False)
    check(world)
    assert state(world, integration) == (S.Suspended, SuspensionCause.Authentication)
    world.server.dead.clear()
    check(world)
    assert state(world, integration) == (S.Active, None)


def test_a_test_of_the_integration_follows_the_same_rule(world: OAuthWorld) -> None:
    integration = world.connected()
    kill_token(world, integration)
    test = TestIntegration.model_validate({})
    tester = world.hub.use(IntegrationTester)
    world.run(tester.test(OWNER, integration.integration_id, test))
    assert state(world, integration) == (S.Active, None)
    assert world.server.count("refresh_token") == 1
    world.server.api_refuses = True
    world.run(tester.test(OWNER, integration.integration_id, test))
    assert state(world, integration) == (S.Suspended, SuspensionCause.Authentication)


def test_no_text_repeats_the_new_token(world: OAuthWorld) -> None:
    integration = world.connected()
    world.server.api_refuses = True
    failure = refusal(world, integration)
    assert failure.kind == "unauthorized"
    assert not any(issued in failure.detail for issued in world.server.issued)
