"""What the overview chooses to show where it cannot show everything, and what it says of each line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.apikeys.service import ApiKeyService
from domain.core.paging import PageRequest
from domain.journal.signals import Signal, SubjectKind, Tally, hour_of
from domain.monitoring import dashboard
from domain.monitoring.dashboard import Overview, OverviewService
from domain.webhooks.model import RetryPolicy, Webhook, WebhookState
from functions.http.insights.views import overview_view
from tests.worlds.apikey_world import ApiKeyWorld


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApiKeyWorld:
    monkeypatch.setattr(dashboard, "FIRST_PAGE", PageRequest(1, 2))
    return ApiKeyWorld(tmp_path)


def _webhook(world: ApiKeyWorld, name: str, failures: int = 0) -> UUID:
    admin, now = world.admin, world.clock.now()
    webhook = Webhook(
        webhook_id=world.hub.ids.new(),
        tenant_id=admin.tenant_id,
        url="https://receiver.example/hook",
        description=name,
        event_types=["*"],
        sealed_secret="sealed",
        state=WebhookState.Active,
        retry_policy=RetryPolicy(),
        timeout_seconds=30,
        created_at=now,
        created_by=admin.user_id,
    )
    tally = Tally(failures, 0, failures, failures, 0, {"5xx": failures})
    with world.hub.transactions.write() as tx:
        tx.webhooks.add(admin.tenant_id, webhook)
        if failures:
            kind, id_ = SubjectKind.Webhook, webhook.webhook_id
            tx.signals.append([Signal(admin.tenant_id, kind, id_, hour_of(now), tally)])
        tx.commit()
    world.clock.advance(seconds=1)
    return webhook.webhook_id


def _read(world: ApiKeyWorld) -> Overview:
    return world.hub.use(OverviewService).read(world.admin, 24)


def test_keys_that_can_no_longer_be_used_take_no_place_from_those_that_can(world: ApiKeyWorld) -> None:
    for name in ("Gone", "Gone too"):
        world.hub.use(ApiKeyService).revoke(
            world.admin, world.issue(keyName=name).key.api_key_id, "over", None
        )
    world.issue(keyName="Expired", expiresAt=world.clock.now() + timedelta(hours=1))
    world.clock.advance(hours=2)
    world.issue(keyName="In use")
    keys = _read(world).api_keys
    assert keys is not None
    assert [line.key.key_name for line in keys] == ["In use"]


def test_webhooks_that_fail_most_are_shown_before_older_ones(world: ApiKeyWorld) -> None:
    for name, failures in (("oldest", 0), ("old", 0), ("failing", 3), ("failing more", 5)):
        _webhook(world, name, failures)
    lines = overview_view(_read(world)).webhooks
    assert lines is not None
    assert [(line.description, line.failed) for line in lines] == [("failing more", 5), ("failing", 3)]


def test_it_says_what_the_caller_may_do(world: ApiKeyWorld) -> None:
    watcher = world.user("insights:read", "alerts:read", tenant=world.admin.tenant_id)
    shown = overview_view(world.hub.use(OverviewService).read(watcher, 24))
    assert (shown.permissions, shown.webhooks) == (["alerts:read", "insights:read"], None)
