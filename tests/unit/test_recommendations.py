"""Recommendations from stored signals to who may see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from domain.errors import Forbidden, NotFound, Unavailable
from domain.identity.model import PERMISSIONS
from domain.paging import PageRequest
from domain.recommendations.model import RecommendationKind, SubjectType
from domain.recommendations.service import RecommendationFilter
from domain.webhooks.model import UpdateWebhook
from functions.http.recommendation_views import REQUESTS, KindName, recommendation_view
from tests.recommendation_facts import tally
from tests.recommendation_world import GONE, UNAUTHORIZED, RecommendationWorld

_K = RecommendationKind


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecommendationWorld]:
    made = RecommendationWorld(tmp_path)
    yield made
    made.close()


async def test_what_signals_show_is_recommended_with_the_same_id_each_time(
    world: RecommendationWorld,
) -> None:
    webhook = await world.old_webhook(description="Orders")
    world.count(webhook.webhook_id, UNAUTHORIZED)
    [first] = world.listed()
    assert (first.advice.kind, first.subject.id) == (_K.WebhookUnauthorized, webhook.webhook_id)
    assert (first.subject.type, first.subject.name) == (SubjectType.Webhook, "Orders")
    world.clock.advance(hours=1)
    [again] = world.listed()
    assert again.recommendation_id == first.recommendation_id
    assert again.created_at > first.created_at
    assert world.recommendations.get(world.principal, first.recommendation_id) == again


async def test_a_change_of_the_webhook_begins_the_evidence_anew(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, GONE)
    assert [one.advice.kind for one in world.listed()] == [_K.WebhookPause]
    await world.service.update(world.principal, webhook.webhook_id, UpdateWebhook(timeout_seconds=20), None)
    assert world.listed() == []


async def test_deliveries_are_looked_at_where_attempts_failed(world: RecommendationWorld) -> None:
    made = await world.webhook("order.*", "user.deleted")
    for n in range(40):
        world.raise_event("order.created" if n % 2 else "user.deleted")
    webhook = made.webhook
    with world.units.read() as unit:
        assert (
            unit.outcomes.newest(webhook.tenant_id, webhook.webhook_id, since=webhook.created_at, limit=9)
            == []
        )
    await world.settle()
    with world.units.read() as unit:
        found = unit.outcomes.newest(webhook.tenant_id, webhook.webhook_id, since=webhook.created_at, limit=9)
    assert len(found) == 9


def test_a_key_that_is_refused_again_and_again_is_recommended_a_higher_limit(
    world: RecommendationWorld,
) -> None:
    key = world.key(rateLimitPerHour=100)
    world.clock.advance(days=15)
    for n in range(1, 4):
        world.used(key, days_ago=n, accepted=100, limited=50)
    [one] = world.listed()
    assert (one.advice.kind, one.subject.id) == (_K.KeyHigherLimit, key.api_key_id)


def test_without_the_table_store_the_rest_is_said(world: RecommendationWorld) -> None:
    world.key()
    world.clock.advance(days=90)

    class Down:
        def hours(self, *arguments: object, **options: object) -> list[object]:
            raise Unavailable("The table store does not answer.")

    world.adviser._usage = Down()  # type: ignore[assignment]
    assert [one.advice.kind for one in world.listed()] == [_K.KeyUnused]


# -- who sees what ----------------------------------------------------------------------------------------


async def test_only_what_the_caller_may_manage_is_shown(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.key()
    world.clock.advance(days=90)
    world.count(webhook.webhook_id, GONE)
    assert [one.advice.kind for one in world.listed()] == [_K.WebhookPause, _K.KeyUnused]
    only = {
        permission: replace(world.principal, permissions=frozenset({"insights:read", permission}))
        for permission in ("webhook:manage", "integration:manage")
    }
    assert [one.advice.kind for one in world.listed(only["webhook:manage"])] == [_K.WebhookPause]
    assert [one.advice.kind for one in world.listed(only["integration:manage"])] == [_K.KeyUnused]
    [key] = world.listed(only["integration:manage"])
    with pytest.raises(NotFound):
        world.recommendations.get(only["webhook:manage"], key.recommendation_id)
    blind = replace(world.principal, permissions=frozenset(PERMISSIONS) - {"insights:read"})
    with pytest.raises(Forbidden, match="insights:read"):
        world.listed(blind)
    with pytest.raises(Forbidden, match="insights:read"):
        world.recommendations.get(blind, key.recommendation_id)


async def test_another_tenant_sees_nothing(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, GONE)
    [one] = world.listed()
    assert world.listed(world.other) == []
    with pytest.raises(NotFound):
        world.recommendations.get(world.other, one.recommendation_id)


async def test_filters_and_pages(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    key = world.key()
    world.clock.advance(days=90)
    world.count(webhook.webhook_id, GONE + UNAUTHORIZED + [tally(0, {"unauthorized": 10})] * 30)
    assert [one.advice.kind for one in world.listed()] == [
        _K.WebhookUnauthorized,
        _K.WebhookPause,
        _K.KeyUnused,
    ]
    assert [one.subject.id for one in world.listed(subject_types=[SubjectType.ApiKey])] == [key.api_key_id]
    assert len(world.listed(subject_id=webhook.webhook_id)) == 2
    assert [one.advice.kind for one in world.listed(kinds=[_K.WebhookPause])] == [_K.WebhookPause]
    assert world.listed(kinds=[_K.WebhookPause], subject_id=key.api_key_id) == []
    page = world.recommendations.page(world.principal, RecommendationFilter(), PageRequest(2, 2))
    assert (page.total, [one.advice.kind for one in page.items]) == (3, [_K.KeyUnused])


# -- on the wire ------------------------------------------------------------------------------------------


def test_every_kind_has_its_name_on_the_wire_and_its_place_in_the_documentation() -> None:
    assert [one.value for one in _K] == list(KindName.__args__)  # type: ignore[attr-defined]
    text = Path("docs/recommendations.md").read_text()
    missing = [one.value for one in _K if f"`{one.value}`" not in text and f"### {one.value}" not in text]
    assert missing == []


async def test_apply_shows_the_request_a_person_would_send(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, GONE)
    [one] = world.listed()
    view = recommendation_view(one).model_dump(mode="json", by_alias=True)
    assert view["apply"] == {
        "method": "PUT",
        "path": f"/api/webhooks/{webhook.webhook_id}",
        "body": {"isActive": False},
        "permission": "webhook:manage",
    }
    assert view["subject"]["version"] == world.webhook_now(webhook).version
    assert view["documentation"] == "docs/recommendations.md#webhook-pause"
    assert [figure["name"] for figure in view["expectedEffect"]] == ["attemptsSavedPerDay"]
    assert all(figure["from"].endswith("Z") for figure in view["evidence"])
    assert UUID(view["recommendationId"]) == one.recommendation_id
    assert set(REQUESTS) == set(type(one.advice.change.operation))  # type: ignore[union-attr]
