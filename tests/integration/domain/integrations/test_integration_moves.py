"""Changing the address of an integration: who is told, what is written down, and what stays as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from domain.core.errors import ProviderUnavailable, RuleViolation, ValidationFailed
from domain.integrations.commands import ReviewIntegration, SuspendIntegration
from domain.integrations.credential_store import CredentialStore
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import IntegrationStatus
from domain.providers.contract import ProviderFailure
from tests.worlds.builders import USER
from tests.worlds.integration_world import GOOD_KEY, OTHER_KEY, IntegrationWorld

S = IntegrationStatus
MOVED = {"apiKey": GOOD_KEY, "baseUrl": "https://elsewhere.example"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IntegrationWorld]:
    made = IntegrationWorld(tmp_path)
    yield made
    made.close()


def _moves(world: IntegrationWorld) -> list[str]:
    return [alert["data"]["detail"] for alert in world.alerts() if alert["kind"] == "integration-moved"]


async def test_a_move_of_an_active_integration_raises_an_alert_without_the_address(
    world: IntegrationWorld,
) -> None:
    created = (await world.create()).integration
    await world.put(created, configuration={"apiKey": OTHER_KEY})
    assert _moves(world) == []
    await world.put(world.now(created), configuration=MOVED)
    (detail,) = _moves(world)
    assert "baseUrl" in detail and str(USER) in detail
    assert "elsewhere" not in json.dumps(world.alerts())
    assert world.logs(created)[0].message == detail


@pytest.mark.parametrize("detour", ["suspended", "reviewed", "not activated"])
async def test_a_detour_over_another_status_hides_no_move(world: IntegrationWorld, detour: str) -> None:
    if detour == "reviewed":
        world.stripe.test_failure = ProviderFailure("unavailable", "The refund was not answered.")
    created = (await world.create(activate=detour != "not activated")).integration
    lifecycle = world.hub.use(Lifecycle)
    if detour == "suspended":
        lifecycle.suspend(world.principal, created.integration_id, SuspendIntegration())
    await world.put(world.now(created), configuration=MOVED)
    assert len(_moves(world)) == (0 if detour == "not activated" else 1)
    if detour == "reviewed":
        review = ReviewIntegration(note="Looked.", resolution="Suspend")
        await lifecycle.review(world.principal, created.integration_id, review)
        again = {**MOVED, "baseUrl": "https://once-more.example"}
        await world.put(world.now(created), configuration=again)
        assert len(_moves(world)) == 2


async def test_a_lower_tls_floor_is_such_a_move(world: IntegrationWorld) -> None:
    created = (await world.create()).integration
    await world.put(created, allowTls12=True, configuration={"apiKey": GOOD_KEY})
    (detail,) = _moves(world)
    assert "allowTls12" in detail


async def test_what_was_refused_or_failed_is_in_the_audit_log_and_changed_nothing(
    world: IntegrationWorld,
) -> None:
    created = (await world.create()).integration
    attempts = [
        ({"baseUrl": "https://elsewhere.example"}, ValidationFailed, "secrets-needed"),
        ({"apiKey": "sk_wrong"}, RuleViolation, "BR-IM-02"),
        ({"apiKey": OTHER_KEY}, ProviderUnavailable, "provider-unavailable"),
        ({"apiKey": OTHER_KEY, "unknown": "sk_pasted_here"}, ValidationFailed, "validation-failed"),
    ]
    for configuration, kind, code in attempts:
        if kind is ProviderUnavailable:
            world.stripe.failure = ProviderFailure("unavailable", "Down.")
        with pytest.raises(kind) as refused:
            await world.put(created, configuration=configuration)
        assert refused.value.code == code
        action, _, after = world.audited()[-1]
        known = sorted(configuration.keys() - {"unknown"})
        assert (action, after["refused"], sorted(after["configuration"])) == (
            "integration.change-refused",
            code,
            known,
        )
    assert world.now(created) == created and _moves(world) == []
    assert not any("sk_" in json.dumps(entry) for entry in world.audited())


async def test_a_row_that_names_the_secret_of_another_integration_gets_none(world: IntegrationWorld) -> None:
    own = (await world.create(configuration={"baseUrl": "https://attacker.example"})).integration
    theirs = (await world.create(owner=world.other)).integration
    stolen = replace(own, secret_name=theirs.secret_name)
    with pytest.raises(ValueError, match="another integration"):
        world.hub.use(CredentialStore).load(stolen)
