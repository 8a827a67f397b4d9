"""The platform's limits of a tenant are kept, over people, keys and processes, and are nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.authentication.service import Authenticator, Credentials
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.tenants.model import SetTenantLimits
from domain.tenants.service import TenantService
from infra.app.build import build, serving
from tests.worlds.builders import OTHER_TENANT, OTHER_USER, TENANT, see_users, settings_at
from tests.worlds.owned_world import PLATFORM_TENANT, PLATFORM_USER, Answer, OwnedWorld

OPERATOR = Principal(PLATFORM_TENANT, PLATFORM_USER, frozenset(PERMISSIONS))
NEIGHBOUR = Principal(OTHER_TENANT, OTHER_USER, frozenset(PERMISSIONS))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OwnedWorld]:
    made = OwnedWorld(tmp_path)
    see_users(made.hub, made.owner, NEIGHBOUR, OPERATOR)
    with serving(made.hub):
        yield made
    made.close()


def limit(world: OwnedWorld, **limits: int | None) -> None:
    world.hub.use(TenantService).set_limits(OPERATOR, TENANT, SetTenantLimits(**limits), None)


def neighbour(world: OwnedWorld) -> dict[str, str]:
    return world.token(PERMISSIONS.keys(), tenant=OTHER_TENANT, user=OTHER_USER)


def webhook(number: int) -> dict[str, Any]:
    return {"url": f"https://receiver.example/{number}", "eventTypes": ["*"]}


def key(number: int) -> dict[str, Any]:
    return {"keyName": f"Key {number}", "scopes": ["events:write"]}


def integration(number: int) -> dict[str, Any]:
    return {
        "name": f"Guests {number}",
        "integrationType": "CustomAPI",
        "provider": "Crm",
        "configuration": {"apiKey": "sk_test_good_0123456789"},
        "activate": False,
    }


@pytest.mark.parametrize(
    ("limited", "path", "body", "code"),
    [
        ("webhooks", "/api/webhooks", webhook, "BR-WH-07"),
        ("api_keys", "/api/apikeys", key, "BR-AK-03"),
        ("integrations", "/api/integrations", integration, "integration-limit"),
    ],
)
def test_a_tenant_gets_as_many_as_the_platform_says_whatever_the_setting(
    world: OwnedWorld, limited: str, path: str, body: Any, code: str
) -> None:
    limit(world, **{limited: 2})
    answers = [world.call("POST", path, body(number)) for number in range(3)]
    assert [answer.status for answer in answers] == [201, 201, 409]
    assert answers[2].body["code"] == code
    assert [world.call("POST", path, body(n), neighbour(world)).status for n in range(3)] == [201] * 3
    limit(world, **{limited: 3})
    assert world.call("POST", path, body(3)).status == 201
    limit(world, **{limited: 0})  # what there is stays
    assert world.call("POST", path, body(4)).status == 409
    assert world.call("GET", path).body["total"] == 3
    limit(world)
    assert world.call("POST", path, body(5)).status == 201


def test_requests_of_people_and_keys_are_counted_together_and_over_processes(world: OwnedWorld) -> None:
    issued = world.call("POST", "/api/apikeys", {**key(1), "scopes": ["webhook:manage"]}).body["key"]
    limit(world, requests_per_hour=4)
    person, by_key = world.token(PERMISSIONS.keys()), {"x-api-key": issued}
    callers = [person, by_key, person, by_key]
    assert [list_webhooks(world, caller).status for caller in callers] == [200] * 4
    for caller in (person, by_key):
        refused = list_webhooks(world, caller)
        assert (refused.status, refused.body["code"]) == (429, "rate-limited")
        assert 0 < int(refused.headers["Retry-After"]) <= 3600
    there = build(settings_at(world.home, platform_tenant=PLATFORM_TENANT), clock=world.clock)
    elsewhere = there.use(Authenticator)
    result = asyncio.run(elsewhere.authenticate_soon(Credentials(person["authorization"])))
    assert result.error is not None and result.error.code == "rate-limited"
    there.database.close()
    assert list_webhooks(world, neighbour(world)).status == 200
    world.clock.advance(minutes=61)
    assert list_webhooks(world, person).status == 200


def test_a_request_that_is_refused_anyway_takes_nothing(world: OwnedWorld) -> None:
    limit(world, requests_per_hour=1)
    nobody = world.token(["audit:read"])
    assert [list_webhooks(world, nobody).status for _ in range(3)] == [403] * 3
    assert list_webhooks(world, world.token(PERMISSIONS.keys())).status == 200


def test_a_batch_of_events_is_taken_whole_or_not_at_all(world: OwnedWorld) -> None:
    limit(world, events_per_hour=5)
    assert raised(world, 3).status == 202
    refused = raised(world, 3)
    assert (refused.status, refused.body["code"]) == (429, "rate-limited")
    assert int(refused.headers["Retry-After"]) > 0
    assert raised(world, 2).status == 202  # the refused batch took nothing of what was left
    assert raised(world, 1).status == 429
    assert raised(world, 9, neighbour(world)).status == 202
    world.clock.advance(minutes=61)
    assert raised(world, 5).status == 202


def test_a_tenant_without_a_limit_costs_no_write(world: OwnedWorld) -> None:
    assert list_webhooks(world, world.token(PERMISSIONS.keys())).status == 200
    assert raised(world, 3).status == 202
    assert world.hub.tables.query("ApiKeyUsage") == []


def list_webhooks(world: OwnedWorld, credentials: dict[str, str]) -> Answer:
    return world.call("GET", "/api/webhooks", None, credentials)


def raised(world: OwnedWorld, count: int, credentials: dict[str, str] | None = None) -> Answer:
    events = [{"type": "BookingConfirmed", "data": {}} for _ in range(count)]
    return world.call("POST", "/api/events", {"events": events}, credentials)
