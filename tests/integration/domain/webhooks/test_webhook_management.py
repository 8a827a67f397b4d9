"""Creating, changing and deleting webhooks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import ValidationError

from domain.core.errors import Forbidden, NotFound, PreconditionFailed, RuleViolation, ValidationFailed
from domain.core.paging import PageRequest
from domain.core.principal import Principal
from domain.webhooks.model import CreateWebhook, RotateSecret, UpdateWebhook, WebhookState
from domain.webhooks.ports import WebhookFilter
from tests.worlds.builders import RECEIVER
from tests.worlds.webhook_world import WebhookWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


def change(**fields: object) -> UpdateWebhook:
    return UpdateWebhook.model_validate_json(json.dumps(fields))


async def test_a_tenant_has_at_most_50_webhooks__BR_WH_07(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path)
    for _ in range(50):
        await world.webhook("*")
    with pytest.raises(RuleViolation) as refused:
        await world.webhook("*")
    assert refused.value.code == "BR-WH-07"
    assert (await world.webhook("*", owner=world.other)).webhook.state == WebhookState.Active
    oldest = world.service.page(world.principal, WebhookFilter(), PageRequest()).items[0]
    world.service.delete(world.principal, oldest.webhook_id, None)
    await world.webhook("*")
    world.close()


async def test_the_limit_holds_when_many_are_created_at_once__BR_WH_07(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path, webhooks_per_tenant=5)
    results = await asyncio.gather(*[world.webhook("*") for _ in range(12)], return_exceptions=True)
    assert sum(isinstance(result, RuleViolation) for result in results) == 7
    assert world.service.page(world.principal, WebhookFilter(), PageRequest()).total == 5
    world.close()


async def test_the_secret_is_sealed_at_rest_for_its_own_webhook(world: WebhookWorld) -> None:
    created = await world.webhook("*")
    stored = world.webhook_now(created)
    assert world.cipher.open(stored.sealed_secret, context=f"webhook:{stored.webhook_id}") == created.secret
    with pytest.raises(ValueError, match="another context"):
        world.cipher.open(stored.sealed_secret, context=f"webhook:{UUID(int=5)}")


# -- changing ---------------------------------------------------------------------------------------------


async def test_only_the_fields_sent_are_replaced(world: WebhookWorld) -> None:
    created = (await world.webhook("A", description="first", timeoutSeconds=10, rateLimitPerSecond=5)).webhook
    changed, verification, _ = await world.service.update(
        world.principal, created.webhook_id, change(eventTypes=["B", "C"], description=None), None
    )
    assert verification is None
    assert (changed.event_types, changed.description) == (["B", "C"], None)
    assert (changed.timeout_seconds, changed.rate_limit_per_second, changed.url) == (10, 5, RECEIVER)
    assert changed.version == created.version + 1
    assert world.webhook_now(changed) == changed
    world.raise_event("A")
    world.raise_event("C")
    await world.settle()
    assert len(world.receivers.posts) == 1


@pytest.mark.parametrize(
    "field", ["url", "eventTypes", "retryPolicy", "timeoutSeconds", "ordering", "isActive"]
)
async def test_null_is_refused_where_a_value_is_needed(world: WebhookWorld, field: str) -> None:
    created = (await world.webhook("*")).webhook
    with pytest.raises(ValidationFailed) as refused:
        await world.service.update(world.principal, created.webhook_id, change(**{field: None}), None)
    assert [error.pointer for error in refused.value.errors] == [f"/{field}"]
    assert world.webhook_now(created) == created


@pytest.mark.parametrize("field", ["description", "integrationId", "rateLimitPerSecond"])
async def test_null_clears_what_may_be_empty(world: WebhookWorld, field: str) -> None:
    created = (await world.webhook("*", description="text", rateLimitPerSecond=5)).webhook
    changed, _, _ = await world.service.update(
        world.principal, created.webhook_id, change(**{field: None}), None
    )
    name = {"integrationId": "integration_id", "rateLimitPerSecond": "rate_limit_per_second"}.get(
        field, field
    )
    assert getattr(changed, name) is None


async def test_an_integration_that_does_not_exist_is_refused(world: WebhookWorld) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await world.webhook("*", integrationId=str(UUID(int=99)))
    assert [error.pointer for error in refused.value.errors] == ["/integrationId"]
    created = (await world.webhook("*")).webhook
    with pytest.raises(ValidationFailed) as refused:
        await world.service.update(
            world.principal, created.webhook_id, change(integrationId=str(UUID(int=99))), None
        )
    assert [error.pointer for error in refused.value.errors] == ["/integrationId"]


async def test_if_match_refuses_a_change_to_a_version_that_is_past(world: WebhookWorld) -> None:
    created = (await world.webhook("*")).webhook
    changed, _, _ = await world.service.update(
        world.principal, created.webhook_id, change(description="1"), created.version
    )
    for version in (created.version, changed.version + 1):
        with pytest.raises(PreconditionFailed):
            await world.service.update(world.principal, created.webhook_id, change(description="2"), version)
        with pytest.raises(PreconditionFailed):
            world.service.delete(world.principal, created.webhook_id, version)
    world.service.delete(world.principal, created.webhook_id, changed.version)


async def test_changes_at_the_same_moment_all_count_or_are_refused(world: WebhookWorld) -> None:
    created = (await world.webhook("*")).webhook
    changes = [
        world.service.update(world.principal, created.webhook_id, change(description=str(n)), created.version)
        for n in range(8)
    ]
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sum(isinstance(result, PreconditionFailed) for result in results) == 7
    assert world.webhook_now(created).version == created.version + 1


async def test_rotating_keeps_the_old_secret_for_24_hours_unless_asked_otherwise(world: WebhookWorld) -> None:
    created = await world.webhook("*")
    webhook_id = created.webhook.webhook_id
    rotated = world.service.rotate_secret(world.principal, webhook_id, RotateSecret())
    assert rotated.secret != created.secret
    assert rotated.webhook.previous_secret_expires_at == world.clock.now() + timedelta(hours=24)
    at_once = world.service.rotate_secret(world.principal, webhook_id, RotateSecret(overlap_seconds=0))
    assert (at_once.webhook.previous_sealed_secret, at_once.webhook.previous_secret_expires_at) == (
        None,
        None,
    )
    with pytest.raises(ValidationError):
        RotateSecret(overlap_seconds=-1)


# -- who may ----------------------------------------------------------------------------------------------


async def test_everything_needs_the_permission_and_another_tenants_id_is_unknown(world: WebhookWorld) -> None:
    created = (await world.webhook("*")).webhook
    one = created.webhook_id
    powerless = replace(world.principal, permissions=frozenset({"events:write"}))

    async def every_use(who: Principal) -> list[BaseException]:
        service = world.service
        raised: list[BaseException] = []
        for use in (
            lambda: asyncio.to_thread(service.get, who, one),
            lambda: service.update(who, one, change(description="x"), None),
            lambda: service.verify(who, one),
            lambda: asyncio.to_thread(service.rotate_secret, who, one, RotateSecret()),
            lambda: asyncio.to_thread(service.delete, who, one, None),
        ):
            with pytest.raises((Forbidden, NotFound)) as refused:
                await use()
            raised.append(refused.value)
        return raised

    assert {type(error) for error in await every_use(powerless)} == {Forbidden}
    assert {type(error) for error in await every_use(world.other)} == {NotFound}
    with pytest.raises(Forbidden):
        await world.service.create(powerless, CreateWebhook(url=RECEIVER, event_types=["*"]))
    with pytest.raises(Forbidden):
        world.service.page(powerless, WebhookFilter(), PageRequest())
    assert world.service.page(world.other, WebhookFilter(), PageRequest()).items == []
    assert world.webhook_now(created) == created


async def test_a_page_can_be_narrowed_to_a_state_or_a_subscription(world: WebhookWorld) -> None:
    await world.webhook("A", "B")
    paused = (await world.webhook("B")).webhook
    await world.service.update(world.principal, paused.webhook_id, change(isActive=False), None)

    def total(**chosen: object) -> int:
        filter_ = WebhookFilter(**chosen)  # type: ignore[arg-type]
        return world.service.page(world.principal, filter_, PageRequest()).total

    assert (total(), total(event_type="B"), total(event_type="A"), total(event_type="C")) == (2, 2, 1, 0)
    assert (total(state=WebhookState.Paused), total(state=WebhookState.Active)) == (1, 1)
