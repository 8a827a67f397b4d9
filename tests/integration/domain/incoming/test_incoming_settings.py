"""What an integration says of its own incoming webhooks is what a provider meets there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import NotFound, Unauthenticated
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.incoming.model import RotateIncomingUrl, UpdateIncoming
from domain.incoming.receive import Caller, IncomingReceiver
from domain.incoming.service import IncomingService
from domain.integrations.model import IntegrationStatus
from domain.providers.contract import IncomingRequest
from functions.http.incoming.views import settings_view
from infra.app.build import build
from infra.app.hub import Hub
from infra.app.settings import Settings
from tests.worlds.builders import TENANT, USER, FakeClock, new_database
from tests.worlds.incoming_world import STRIPE, seed

OWNER = Principal(TENANT, USER, frozenset(PERMISSIONS))
BARE_STRIPE = {"apiKey": STRIPE["apiKey"]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    new_database(tmp_path)
    return tmp_path


@pytest.fixture
def hub(home: Path) -> Iterator[Hub]:
    made = build(Settings(home=home), clock=FakeClock())
    yield made
    made.database.close()


def refusal(hub: Hub, integration_id: UUID) -> str:
    request = IncomingRequest("POST", "https://hub.example/", {}, {}, b"{}", hub.clock.now())
    with pytest.raises((NotFound, Unauthenticated)) as caught:
        asyncio.run(hub.use(IncomingReceiver).receive(integration_id, request, Caller()))
    return str(caught.value)


def test_with_its_secret_an_integration_receives(hub: Hub) -> None:
    settings = hub.use(IncomingService).settings(OWNER, seed(hub, tenant=TENANT, user=USER).integration_id)
    assert settings.closed is None
    view = settings_view(settings, "https://hub.example/")
    assert (view.is_receiving, view.reason, view.url) == (True, None, "https://hub.example/")


def test_without_its_secret_the_address_is_shown_with_what_to_set(hub: Hub) -> None:
    bare = seed(hub, tenant=TENANT, user=USER, configuration=BARE_STRIPE)
    view = settings_view(
        hub.use(IncomingService).settings(OWNER, bare.integration_id), "https://hub.example/"
    )
    assert (view.is_receiving, view.url) == (False, "https://hub.example/")
    assert view.reason is not None
    assert "`webhookSecret`" in view.reason
    assert f"/api/integrations/{bare.integration_id}/credentials" in view.reason
    assert "No webhook secret" in refusal(hub, bare.integration_id)


def test_all_that_keeps_webhooks_away_is_told_at_once(hub: Hub) -> None:
    draft = seed(hub, tenant=TENANT, user=USER, configuration=BARE_STRIPE, status=IntegrationStatus.Draft)
    closed = hub.use(IncomingService).settings(OWNER, draft.integration_id).closed
    assert closed is not None
    assert "Draft" in closed
    assert "`webhookSecret`" in closed


def test_an_empty_secret_is_none(hub: Hub) -> None:
    bare = seed(hub, tenant=TENANT, user=USER, configuration={**BARE_STRIPE, "webhookSecret": ""})
    assert hub.use(IncomingService).settings(OWNER, bare.integration_id).closed is not None


def test_changing_and_rotating_tell_it_too(hub: Hub) -> None:
    bare, service = seed(hub, tenant=TENANT, user=USER, configuration=BARE_STRIPE), hub.use(IncomingService)
    updated = service.update(OWNER, bare.integration_id, UpdateIncoming(allowed_ips=[]), None)
    rotated, _ = service.rotate(OWNER, bare.integration_id, RotateIncomingUrl())
    assert rotated.endpoint.version == service.settings(OWNER, bare.integration_id).endpoint.version
    assert updated.closed == rotated.closed == service.settings(OWNER, bare.integration_id).closed
    assert updated.closed is not None


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"status": status}, status.name) for status in IntegrationStatus if status != IntegrationStatus.Active]
    + [({"is_enabled": False}, "isEnabled")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_integration_that_is_not_in_use_says_why_nothing_is_taken(
    hub: Hub, changes: dict[str, Any], told: str
) -> None:
    asleep = seed(hub, tenant=TENANT, user=USER, **changes)
    closed = hub.use(IncomingService).settings(OWNER, asleep.integration_id).closed
    assert closed is not None
    assert told in closed
    assert "No webhooks are accepted" in refusal(hub, asleep.integration_id)


def test_a_type_that_is_switched_off_says_so(home: Path) -> None:
    off = build(Settings(home=home, disabled_integration_types="PaymentGateway"), clock=FakeClock())
    closed = (
        off.use(IncomingService).settings(OWNER, seed(off, tenant=TENANT, user=USER).integration_id).closed
    )
    off.database.close()
    assert closed is not None
    assert "switched off" in closed
