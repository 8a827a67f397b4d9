"""Recommendations from stored signals to who may see them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.apikeys.model import KeyStatus
from domain.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    Unavailable,
    ValidationFailed,
)
from domain.core.paging import PageRequest
from domain.core.permissions import PERMISSIONS
from domain.integrations.model import IntegrationStatus
from domain.journal.audit import AuditFilter
from domain.journal.signals import SubjectKind, hour_of
from domain.monitoring.anomalies.ports import Sighting, Trait
from domain.providers.contract import IntegrationType
from domain.recommendations.ai import ModelUnavailable
from domain.recommendations.decisions import (
    DecisionCleaner,
    DismissRecommendation,
    ListedRecommendation,
    RecommendationFilter,
    snapshot_of,
)
from domain.recommendations.model import (
    Decision,
    RecommendationKind,
    RecommendationStatus,
    RecommendationSubject,
    SubjectType,
)
from domain.recommendations.ports import Attempts
from domain.webhooks.model import UpdateWebhook, Webhook, WebhookState
from functions.http.recommendations.views import REQUESTS, KindName, recommendation_view
from tests.worlds.recommendation_facts import tally
from tests.worlds.recommendation_world import GONE, UNAUTHORIZED, RecommendationWorld, ScriptedModel

_K, _S = RecommendationKind, RecommendationStatus


def _kinds(listed: Sequence[ListedRecommendation]) -> list[RecommendationKind]:
    return [entry.recommendation.advice.kind for entry in listed]


def _states(listed: Sequence[ListedRecommendation]) -> list[str]:
    return [entry.status.name for entry in listed]


def _dismiss(until: datetime | None = None) -> DismissRecommendation:
    return DismissRecommendation(reason="We know.", until=until)


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
    [first] = await world.listed()
    assert (first.recommendation.advice.kind, first.recommendation.subject.id) == (
        _K.WebhookUnauthorized,
        webhook.webhook_id,
    )
    assert (first.recommendation.subject.type, first.recommendation.subject.name) == (
        SubjectType.Webhook,
        "Orders",
    )
    world.clock.advance(hours=1)
    [again] = await world.listed()
    assert again.recommendation.recommendation_id == first.recommendation.recommendation_id
    assert again.recommendation.created_at > first.recommendation.created_at
    assert await world.recommendations.get(world.principal, first.recommendation.recommendation_id) == again


async def test_a_change_of_the_webhook_begins_the_evidence_anew(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, GONE)
    assert _kinds(await world.listed()) == [_K.WebhookPause]
    await world.service.update(world.principal, webhook.webhook_id, UpdateWebhook(timeout_seconds=20), None)
    assert await world.listed() == []


async def test_deliveries_are_looked_at_where_attempts_failed(world: RecommendationWorld) -> None:
    made = await world.webhook("order.*", "user.deleted")
    for n in range(40):
        world.raise_event("order.created" if n % 2 else "user.deleted")
    webhook = made.webhook
    with world.transactions.read() as tx:
        assert (
            tx.outcomes.newest(webhook.tenant_id, webhook.webhook_id, since=webhook.created_at, limit=9) == []
        )
    await world.settle()
    with world.transactions.read() as tx:
        found = tx.outcomes.newest(webhook.tenant_id, webhook.webhook_id, since=webhook.created_at, limit=9)
    assert len(found) == 9


async def test_attempts_are_counted_from_their_first_hour(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, [tally(3), tally(2, {"timeout": 1})])
    hour = hour_of(world.clock.now())
    with world.transactions.write() as tx:
        tx.signals.compact(1)
        tx.commit()
    with world.transactions.read() as tx:
        found = tx.outcomes.attempts(webhook.tenant_id, hour - timedelta(days=14))
    assert found == {webhook.webhook_id: Attempts(6, 1, hour - timedelta(hours=2))}


async def test_a_key_that_is_refused_again_and_again_is_recommended_a_higher_limit(
    world: RecommendationWorld,
) -> None:
    key = world.key(rateLimitPerHour=100)
    world.clock.advance(days=15)
    for n in range(1, 4):
        world.used(key, days_ago=n, accepted=100, limited=50)
    [entry] = await world.listed()
    assert (entry.recommendation.advice.kind, entry.recommendation.subject.id) == (
        _K.KeyHigherLimit,
        key.api_key_id,
    )


async def test_without_the_table_store_the_rest_is_said(world: RecommendationWorld) -> None:
    world.key()
    world.clock.advance(days=90)

    class Down:
        def hours(self, *arguments: object, **options: object) -> list[object]:
            raise Unavailable("The table store does not answer.")

    world.adviser._usage = Down()  # type: ignore[assignment]
    assert _kinds(await world.listed()) == [_K.KeyUnused]


# -- who sees what ----------------------------------------------------------------------------------------


async def test_only_what_the_caller_may_manage_is_shown(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.key()
    world.clock.advance(days=90)
    world.count(webhook.webhook_id, GONE)
    assert _kinds(await world.listed()) == [_K.WebhookPause, _K.KeyUnused]
    only = {
        permission: replace(world.principal, permissions=frozenset({"insights:read", permission}))
        for permission in ("webhook:manage", "integration:manage")
    }
    assert _kinds(await world.listed(only["webhook:manage"])) == [_K.WebhookPause]
    assert _kinds(await world.listed(only["integration:manage"])) == [_K.KeyUnused]
    [key] = await world.listed(only["integration:manage"])
    with pytest.raises(NotFound):
        await world.recommendations.get(only["webhook:manage"], key.recommendation.recommendation_id)
    blind = replace(world.principal, permissions=frozenset(PERMISSIONS) - {"insights:read"})
    with pytest.raises(Forbidden, match="insights:read"):
        await world.listed(blind)
    with pytest.raises(Forbidden, match="insights:read"):
        await world.recommendations.get(blind, key.recommendation.recommendation_id)


async def test_another_tenant_sees_nothing(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, GONE)
    [entry] = await world.listed()
    assert await world.listed(world.other) == []
    with pytest.raises(NotFound):
        await world.recommendations.get(world.other, entry.recommendation.recommendation_id)


async def test_filters_and_pages(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    key = world.key()
    world.clock.advance(days=90)
    world.count(webhook.webhook_id, GONE + UNAUTHORIZED + [tally(0, {"unauthorized": 10})] * 30)
    assert _kinds(await world.listed()) == [
        _K.WebhookUnauthorized,
        _K.WebhookPause,
        _K.KeyUnused,
    ]
    assert [
        entry.recommendation.subject.id for entry in await world.listed(subject_types=[SubjectType.ApiKey])
    ] == [key.api_key_id]
    assert len(await world.listed(subject_id=webhook.webhook_id)) == 2
    assert _kinds(await world.listed(kinds=[_K.WebhookPause])) == [_K.WebhookPause]
    assert await world.listed(kinds=[_K.WebhookPause], subject_id=key.api_key_id) == []
    page = await world.recommendations.page(world.principal, RecommendationFilter(), PageRequest(2, 2))
    assert (page.total, _kinds(page.items)) == (3, [_K.KeyUnused])


# -- decisions --------------------------------------------------------------------------------------------


async def _gone(world: RecommendationWorld) -> tuple[Webhook, UUID]:
    """Add a webhook to be paused, and return it with the recommendation's id."""
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, GONE)
    [entry] = await world.listed()
    return webhook, entry.recommendation.recommendation_id


def _audited(world: RecommendationWorld) -> list[str]:
    with world.transactions.read() as tx:
        rows = tx.audit.page(world.principal.tenant_id, AuditFilter(), PageRequest()).items
    return [row.action for row in reversed(rows) if row.action != "webhook.created"][1:]


async def test_applying_makes_the_change_through_its_use_case(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    applied = await world.recommendations.apply(world.principal, id_, None)
    assert applied.status == _S.Applied
    assert world.webhook_now(webhook).state == WebhookState.Paused
    assert _audited(world) == ["webhook.updated", "recommendation.applied"]
    [shown] = await world.listed()
    assert (shown.status, shown.recommendation.advice.kind) == (_S.Applied, _K.WebhookPause)
    assert shown.decision is not None and shown.decision.decided_by == world.principal.user_id
    assert await world.listed(statuses=[_S.Open]) == []
    with pytest.raises(Conflict, match="Applied"):
        await world.recommendations.apply(world.principal, id_, None)


async def test_what_was_applied_and_holds_again_is_open_again(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    await world.recommendations.apply(world.principal, id_, None)
    await world.service.update(world.principal, webhook.webhook_id, UpdateWebhook(is_active=True), None)
    world.clock.advance(days=3)
    world.count(webhook.webhook_id, GONE)
    assert _states(await world.listed()) == ["Open"]


async def test_applying_revokes_a_key_too(world: RecommendationWorld) -> None:
    key = world.key()
    world.clock.advance(days=90)
    [entry] = await world.listed()
    await world.recommendations.apply(world.principal, entry.recommendation.recommendation_id, None)
    now = world.keys.get(world.principal, key.api_key_id)
    assert (now.status(world.clock.now()), now.revoke_reason) == (KeyStatus.Revoked, "Not used for 90 days.")


async def test_applying_raises_a_keys_limit(world: RecommendationWorld) -> None:
    key = world.key(rateLimitPerHour=100)
    world.clock.advance(days=15)
    for n in range(1, 4):
        world.used(key, days_ago=n, accepted=100, limited=50)
    [entry] = await world.listed()
    await world.recommendations.apply(world.principal, entry.recommendation.recommendation_id, None)
    assert world.keys.get(world.principal, key.api_key_id).rate_limit_per_hour == 200


async def test_applying_takes_unused_scopes_away__10_1(world: RecommendationWorld) -> None:
    key = world.key(scopes=["events:read", "events:write"])
    with world.transactions.write() as tx:
        sighting = Sighting(key.tenant_id, key.api_key_id, Trait.Scope, "events:write")
        tx.sightings.see([sighting], world.clock.now())
        tx.commit()
    world.clock.advance(days=90)
    with world.transactions.write() as tx:
        tx.sightings.see([sighting], world.clock.now())
        tx.commit()
    [entry] = await world.listed(kinds=[_K.KeyUnusedScopes])
    await world.recommendations.apply(world.principal, entry.recommendation.recommendation_id, None)
    assert world.keys.get(world.principal, key.api_key_id).scopes == ["events:write"]
    assert await world.listed(kinds=[_K.KeyUnusedScopes], statuses=[_S.Open]) == []


async def test_applying_moves_a_schedule(world: RecommendationWorld) -> None:
    integration = world.scheduled("0 0 2 * * 1-5")
    slow, quick = tally(12, latencies=[900] * 12), tally(12, latencies=[200] * 12)
    # the clock stands at 9: the last hour counted is that from 8
    hours = [quick if (n + 9) % 24 == 5 else slow for n in range(24 * 30)]
    world.count(integration.integration_id, hours, kind=SubjectKind.Integration)
    [entry] = await world.listed()
    assert entry.recommendation.advice.kind == _K.SyncBetterTime
    id_, version = entry.recommendation.recommendation_id, entry.recommendation.subject.version
    with pytest.raises(PreconditionFailed):
        await world.recommendations.apply(world.principal, id_, version + 1)
    await world.recommendations.apply(world.principal, id_, version)
    schedule = world.schedules.get(world.principal, integration.integration_id)
    assert (schedule.expression, schedule.version) == ("0 0 5 * * 1-5", version + 1)
    assert _states(await world.listed()) == ["Applied"]


async def test_a_subject_that_was_changed_since_is_not_changed(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    version = world.webhook_now(webhook).version
    with pytest.raises(PreconditionFailed):
        await world.recommendations.apply(world.principal, id_, version + 1)
    assert world.webhook_now(webhook).version == version
    assert (await world.recommendations.apply(world.principal, id_, version)).status == _S.Applied


async def test_what_holds_no_more_is_not_applied(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    await world.service.update(world.principal, webhook.webhook_id, UpdateWebhook(timeout_seconds=20), None)
    with pytest.raises(Conflict) as refused:
        await world.recommendations.apply(world.principal, id_, None)
    assert refused.value.code == "recommendation-gone"
    with pytest.raises(NotFound):
        await world.recommendations.apply(world.principal, UUID(int=5), None)


async def test_what_only_a_person_can_do_is_not_applied(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, UNAUTHORIZED)
    [entry] = await world.listed()
    with pytest.raises(Conflict) as refused:
        await world.recommendations.apply(world.principal, entry.recommendation.recommendation_id, None)
    assert refused.value.code == "nothing-to-apply"


async def test_a_dismissal_holds_until_its_moment(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    until = world.clock.now() + timedelta(hours=2)
    world.recommendations.dismiss(world.principal, id_, _dismiss(until))
    [shown] = await world.listed()
    assert shown.status == _S.Dismissed
    assert shown.decision is not None and (shown.decision.reason, shown.decision.until) == ("We know.", until)
    with pytest.raises(Conflict):
        await world.recommendations.apply(world.principal, id_, None)
    world.clock.advance(hours=1, minutes=59)
    world.count(webhook.webhook_id, GONE[:1])
    assert _states(await world.listed()) == ["Dismissed"]
    world.clock.advance(minutes=1)
    assert _states(await world.listed()) == ["Open"]


async def test_a_dismissal_can_be_taken_back(world: RecommendationWorld) -> None:
    _, id_ = await _gone(world)
    with pytest.raises(Conflict):
        world.recommendations.reopen(world.principal, id_)
    world.recommendations.dismiss(world.principal, id_, _dismiss())
    assert world.recommendations.reopen(world.principal, id_).status == _S.Open
    assert _states(await world.listed()) == ["Open"]
    assert _audited(world) == ["recommendation.dismissed", "recommendation.reopened"]


async def test_what_was_dismissed_and_is_over_is_gone(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    world.recommendations.dismiss(world.principal, id_, _dismiss())
    world.service.delete(world.principal, webhook.webhook_id, None)
    [shown] = await world.listed()
    assert (shown.status, shown.recommendation.advice.kind) == (_S.Gone, _K.WebhookPause)
    assert (await world.recommendations.get(world.principal, id_)).status == _S.Gone
    for refused in (
        lambda: world.recommendations.reopen(world.principal, id_),
        lambda: world.recommendations.dismiss(world.principal, id_, _dismiss()),
    ):
        with pytest.raises(Conflict) as error:
            refused()
        assert error.value.code == "recommendation-gone"


async def test_a_dismissal_into_the_past_is_refused(world: RecommendationWorld) -> None:
    _, id_ = await _gone(world)
    with pytest.raises(ValidationFailed):
        world.recommendations.dismiss(world.principal, id_, _dismiss(world.clock.now()))


async def test_deciding_needs_the_permission_for_the_subject(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    reader = replace(world.principal, permissions=frozenset({"insights:read", "integration:manage"}))
    with pytest.raises(Forbidden, match="webhook:manage"):
        await world.recommendations.apply(reader, id_, None)
    with pytest.raises(Forbidden, match="webhook:manage"):
        world.recommendations.dismiss(reader, id_, _dismiss())
    with pytest.raises(Forbidden, match="webhook:manage"):
        world.recommendations.reopen(reader, id_)
    blind = replace(world.principal, permissions=frozenset({"webhook:manage"}))
    with pytest.raises(Forbidden, match="insights:read"):
        await world.recommendations.apply(blind, id_, None)
    with pytest.raises(NotFound):
        await world.recommendations.apply(world.other, id_, None)
    assert world.webhook_now(webhook).state == WebhookState.Active


def _forgotten(world: RecommendationWorld, **bounds: int) -> int:
    return DecisionCleaner(world.transactions, world.clock).forget_old(**bounds)


async def test_a_decision_on_what_was_deleted_is_forgotten_after_90_days(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    world.recommendations.dismiss(world.principal, id_, _dismiss())
    world.clock.advance(days=91)
    assert _forgotten(world) == 0, "its webhook is there"
    world.service.delete(world.principal, webhook.webhook_id, None)
    assert _forgotten(world) == 1
    assert await world.listed() == []


async def test_a_decision_on_what_was_deleted_is_shown_for_90_days(world: RecommendationWorld) -> None:
    webhook, id_ = await _gone(world)
    world.recommendations.dismiss(world.principal, id_, _dismiss())
    world.service.delete(world.principal, webhook.webhook_id, None)
    world.clock.advance(days=90)
    assert _forgotten(world) == 0
    assert _states(await world.listed()) == ["Gone"]


async def test_a_decision_on_a_revoked_key_or_a_disconnected_integration_is_forgotten(
    world: RecommendationWorld,
) -> None:
    world.key()
    world.clock.advance(days=90)
    [entry] = await world.listed()
    await world.recommendations.apply(world.principal, entry.recommendation.recommendation_id, None)
    integration = world.integration(IntegrationType.EmailService, "SendGrid")
    subject = RecommendationSubject(SubjectType.Integration, integration.integration_id, "Mail")
    advised = replace(entry.recommendation, recommendation_id=UUID(int=9), subject=subject)
    decision = Decision(
        UUID(int=9), _S.Dismissed, world.clock.now(), world.principal.user_id, snapshot_of(advised)
    )
    with world.transactions.write() as tx:
        tx.decisions.put(world.principal.tenant_id, decision)
        tx.commit()
    world.clock.advance(days=91)
    assert _forgotten(world) == 1, "the integration is there"
    with world.transactions.write() as tx:
        tx.integrations.update(
            integration.tenant_id, replace(integration, status=IntegrationStatus.Disconnected)
        )
        tx.commit()
    assert _forgotten(world) == 1
    assert await world.listed() == []


@pytest.mark.parametrize("day", range(5))
async def test_whatever_the_day_all_tenants_have_their_turn(world: RecommendationWorld, day: int) -> None:
    _, id_ = await _gone(world)
    [entry] = await world.listed()
    absent = replace(entry.recommendation.subject, id=UUID(int=5))
    snapshot = snapshot_of(replace(entry.recommendation, subject=absent))
    decision = Decision(id_, _S.Dismissed, world.clock.now(), world.principal.user_id, snapshot)
    with world.transactions.write() as tx:
        for n in range(1, 16):
            tx.decisions.put(UUID(int=n << 124), decision)
        tx.commit()
    world.clock.advance(days=91 + day)
    first = _forgotten(world, tenants=2, transactions=3)
    assert 0 < first <= 6, "a run is bounded"
    assert _forgotten(world, tenants=2) == 15 - first


# -- in a model's words -----------------------------------------------------------------------------------


async def test_a_model_words_what_is_open_and_is_asked_once(tmp_path: Path) -> None:
    model = ScriptedModel(title="Pause it", explanation="Nothing succeeded.")
    world = RecommendationWorld(tmp_path, model=model)
    _, id_ = await _gone(world)
    [entry] = await world.listed()
    advice = entry.recommendation.advice
    assert (entry.worded_by_model, advice.title, advice.explanation) == (
        True,
        "Pause it",
        "Nothing succeeded.",
    )
    assert advice.change is not None and advice.change.body == {"isActive": False}
    world.clock.advance(minutes=30)
    assert [entry.worded_by_model for entry in await world.listed()] == [True]
    assert len(model.questions) == 1
    world.recommendations.dismiss(world.principal, id_, _dismiss())
    [dismissed] = await world.listed()
    assert dismissed.recommendation.advice.title == "Pause the webhook until its receiver is back"
    world.close()


async def test_a_model_that_fails_leaves_the_rules_words(tmp_path: Path) -> None:
    model = ScriptedModel()
    model.failure = ModelUnavailable("timeout", "No answer.", tokens=None)
    world = RecommendationWorld(tmp_path, model=model)
    await _gone(world)
    [entry] = await world.listed()
    assert not entry.worded_by_model
    assert entry.recommendation.advice.title == "Pause the webhook until its receiver is back"
    world.close()


# -- on the wire ------------------------------------------------------------------------------------------


def test_every_kind_has_its_name_on_the_wire_and_its_place_in_the_documentation() -> None:
    assert [kind.value for kind in _K] == list(KindName.__args__)  # type: ignore[attr-defined]
    text = Path("docs/recommendations.md").read_text()
    missing = [kind.value for kind in _K if f"`{kind.value}`" not in text and f"### {kind.value}" not in text]
    assert missing == []


async def test_apply_shows_the_request_a_person_would_send(world: RecommendationWorld) -> None:
    webhook = await world.old_webhook()
    world.count(webhook.webhook_id, GONE)
    [entry] = await world.listed()
    view = recommendation_view(entry).model_dump(mode="json", by_alias=True)
    assert view["apply"] == {
        "method": "PUT",
        "path": f"/api/webhooks/{webhook.webhook_id}",
        "body": {"isActive": False},
        "permission": "webhook:manage",
        "isFinal": False,
    }
    assert view["subject"]["version"] == world.webhook_now(webhook).version
    assert view["documentation"] == "docs/recommendations.md#webhooks"
    assert [figure["name"] for figure in view["expectedEffect"]] == ["attemptsSavedPerDay"]
    assert all(figure["from"].endswith("Z") for figure in view["evidence"])
    assert UUID(view["recommendationId"]) == entry.recommendation.recommendation_id
    assert set(REQUESTS) == set(type(entry.recommendation.advice.change.operation))  # type: ignore[union-attr]
