"""Authorisation from beginning to end against a real authorization server on loopback."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import Conflict, Forbidden, NotFound, RuleViolation
from domain.core.paging import PageRequest
from domain.core.ports import TableEntity
from domain.integrations.model import IntegrationStatus
from domain.journal.audit import AuditFilter
from domain.oauth.completion import CallbackHandler
from domain.oauth.grants import GrantStore
from domain.oauth.model import Authorize, CompletionStatus
from domain.oauth.service import OAuthService
from domain.oauth.states import TABLE as STATES
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.builders import OTHER_TENANT
from tests.worlds.oauth_world import COLLEAGUE, OWNER, STRANGER, OAuthWorld


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


def test_a_calendar_is_connected__UC_IM_03(world: OAuthWorld) -> None:
    integration_id = world.integration()
    completion = world.callback(world.begin(integration_id))
    assert completion.status == CompletionStatus.Connected
    assert world.now(integration_id).status == IntegrationStatus.Active
    assert len(world.events("CalendarSyncEnabled")) == 1
    [authorized] = world.events("IntegrationAuthorized")
    assert str(integration_id) in authorized and "calendar.events" in authorized
    assert world.grant(integration_id).finished


def test_a_callback_replayed_is_refused_and_changes_nothing(world: OAuthWorld) -> None:
    integration_id = world.integration()
    begun = world.begin(integration_id)
    world.callback(begun)
    again = world.callback(begun)
    assert again.status == CompletionStatus.StateRefused
    assert world.server.count("authorization_code") == 1
    assert len(world.events("IntegrationAuthorized")) == 1


def test_of_two_callbacks_at_once_one_is_taken(world: OAuthWorld) -> None:
    begun = world.begin(world.integration())

    async def both() -> list[Any]:
        from domain.core.principal import RequestOrigin
        from domain.oauth.model import Callback

        callback = Callback(begun.state, begun.code, "", [begun.cookie])
        completions = world.hub.use(CallbackHandler)
        return await asyncio.gather(*(completions.complete(callback, RequestOrigin()) for _ in range(6)))

    statuses = [completion.status for completion in world.run(both())]
    assert sorted(statuses) == sorted([CompletionStatus.Connected] + [CompletionStatus.StateRefused] * 5)


def test_an_expired_state_is_refused_without_asking_the_provider(world: OAuthWorld) -> None:
    begun = world.begin(world.integration())
    world.clock.advance(minutes=10)
    assert world.callback(begun).status == CompletionStatus.StateRefused
    assert world.server.requests == []


def test_a_state_of_another_users_browser_is_refused(world: OAuthWorld) -> None:
    begun = world.begin(world.integration())
    completion = world.callback(begun, cookies=[(begun.cookie[0], "the cookie of someone else")])
    assert completion.status == CompletionStatus.StateRefused
    assert "another user" in completion.detail
    assert world.server.requests == []
    assert world.callback(begun).status == CompletionStatus.StateRefused, "it is spent all the same"


def test_without_the_cookie_it_is_refused_where_the_same_browser_is_demanded(
    tmp_path: Path, server: OAuthServer
) -> None:
    world = OAuthWorld(tmp_path / "strict", server, oauth_same_browser=True)
    integration_id = world.integration()
    assert world.callback(world.begin(integration_id), cookies=[]).status == CompletionStatus.StateRefused
    assert world.callback(world.begin(integration_id)).status == CompletionStatus.Connected
    world.close()


def test_production_demands_the_same_browser(tmp_path: Path) -> None:
    from infra.app.settings import Settings

    assert Settings(home=tmp_path, environment="production").needs_same_browser
    assert not Settings(home=tmp_path).needs_same_browser


def test_a_state_that_names_another_tenant_is_refused(world: OAuthWorld) -> None:
    begun = world.begin(world.integration())
    [row] = world.hub.tables.query(STATES)
    moved = TableEntity(
        row.partition_key, row.row_key, {**row.properties, "tenantId": str(OTHER_TENANT)}, row.etag
    )
    world.hub.tables.upsert(STATES, moved)
    assert world.callback(begun).status == CompletionStatus.StateRefused
    assert world.server.requests == []


def test_only_an_administrator_or_the_calendars_owner_may_begin(world: OAuthWorld) -> None:
    integration_id = world.integration()
    owner_without_admin = type(OWNER)(OWNER.tenant_id, OWNER.user_id, frozenset(("integration:manage",)))
    with pytest.raises(Forbidden):
        world.hub.use(OAuthService).authorize(COLLEAGUE, integration_id, Authorize())
    with pytest.raises(NotFound):
        world.hub.use(OAuthService).authorize(STRANGER, integration_id, Authorize())
    assert (
        world.callback(world.begin(integration_id, owner_without_admin)).status == CompletionStatus.Connected
    )


def test_a_user_who_declines_leaves_it_waiting_with_the_reason(world: OAuthWorld) -> None:
    integration_id = world.integration()
    world.server.denies = "access_denied"
    completion = world.callback(world.begin(integration_id))
    assert completion.status == CompletionStatus.Denied
    assert world.now(integration_id).reason == "Authorisation failed: Access was not granted."
    assert world.server.requests == []


@pytest.mark.parametrize("what", ["code", "server", "secret"])
def test_a_failed_exchange_leaves_it_pending_validation_with_the_reason(world: OAuthWorld, what: str) -> None:
    configuration = world.server.configuration()
    if what == "secret":
        configuration["clientSecret"] = "another-client-secret"
    integration_id = world.integration(configuration=configuration)
    begun = world.begin(integration_id)
    world.server.down = what == "server"
    completion = world.callback(begun, **({"code": "not-the-code"} if what == "code" else {}))
    found = world.now(integration_id)
    assert completion.status == CompletionStatus.ExchangeFailed
    assert found.status == IntegrationStatus.PendingValidation
    assert found.reason is not None and found.reason.startswith("Authorisation failed: ")
    assert {"code": "400", "server": "500", "secret": "401"}[what] in found.reason
    assert world.hub.use(GrantStore).get(integration_id) is None
    assert world.events("IntegrationAuthorized") == []
    world.server.down = False
    if what != "secret":
        assert world.callback(world.begin(integration_id)).status == CompletionStatus.Connected


def test_another_verifier_is_refused_by_the_server__PKCE(world: OAuthWorld) -> None:
    integration_id = world.integration()
    first, second = world.begin(integration_id), world.begin(integration_id)
    assert world.callback(first, code=second.code).status == CompletionStatus.ExchangeFailed


def test_scopes_that_were_not_granted_are_shown(world: OAuthWorld) -> None:
    world.server.grants_scopes = "https://www.googleapis.com/auth/calendar.events"
    integration = world.connected()
    grant = world.hub.use(OAuthService).get(OWNER, integration.integration_id).grant
    assert grant is not None
    assert grant.scopes == ("https://www.googleapis.com/auth/calendar.events",)
    assert grant.missing_scopes == ("https://www.googleapis.com/auth/calendar.calendarlist.readonly",)


def test_a_provider_that_is_down_after_the_exchange_is_asked_again_by_the_timer(world: OAuthWorld) -> None:
    integration_id = world.integration()
    begun = world.begin(integration_id)
    world.server.api_down = True
    assert world.callback(begun).status == CompletionStatus.NotActivated
    assert world.now(integration_id).status == IntegrationStatus.PendingValidation
    world.server.api_down = False
    world.clock.advance(minutes=3)
    assert world.refresh_ahead() == {"finished": 1}
    assert world.now(integration_id).status == IntegrationStatus.Active
    assert len(world.events("IntegrationAuthorized")) == 1


def test_a_crash_between_the_tokens_and_the_activation_is_made_good_by_the_timer(
    world: OAuthWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    integration_id = world.integration()
    begun = world.begin(integration_id)

    async def died(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(world.hub.use(CallbackHandler)), "finish", died)
        with pytest.raises(KeyboardInterrupt):
            world.callback(begun)
    assert world.now(integration_id).status == IntegrationStatus.Draft
    world.clock.advance(minutes=3)
    assert world.refresh_ahead() == {"finished": 1}
    assert world.refresh_ahead() == {}
    assert world.now(integration_id).status == IntegrationStatus.Active
    assert len(world.events("IntegrationAuthorized")) == 1


def test_no_grant_is_kept_that_the_audit_log_does_not_know(
    world: OAuthWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An active integration is authorised anew, perhaps for another account, and the process dies."""
    integration_id = world.connected().integration_id
    begun, establish = world.begin(integration_id), type(world.hub.use(GrantStore)).establish

    def died(*arguments: Any) -> None:
        establish(*arguments)
        raise KeyboardInterrupt

    world.clock.advance(minutes=1)
    with monkeypatch.context() as patched:
        patched.setattr(type(world.hub.use(GrantStore)), "establish", died)
        with pytest.raises(KeyboardInterrupt):
            world.callback(begun)
    assert world.grant(integration_id).authorized_at == world.clock.now()
    with world.hub.transactions.read() as tx:
        known = tx.audit.page(OWNER.tenant_id, AuditFilter(action="integration.authorized"), PageRequest())
    assert [record.actor_user_id for record in known.items] == [OWNER.user_id, OWNER.user_id]


def test_an_active_integration_may_be_authorised_again_and_its_old_tokens_are_destroyed(
    world: OAuthWorld,
) -> None:
    integration = world.connected()
    old = world.grant(integration.integration_id)
    world.clock.advance(minutes=1)
    assert world.callback(world.begin(integration.integration_id)).status == CompletionStatus.Connected
    assert world.hub.secrets.get(old.secret_name) is None
    assert world.now(integration.integration_id).status == IntegrationStatus.Active
    assert len(world.events("IntegrationAuthorized")) == 2


def test_what_is_in_error_needs_a_review_first__BR_IM_05(world: OAuthWorld) -> None:
    from dataclasses import replace

    id_ = world.integration()
    with world.hub.transactions.write() as tx:
        failed = replace(tx.integrations.get(OWNER.tenant_id, id_), status=IntegrationStatus.Error)
        tx.integrations.update(OWNER.tenant_id, failed)
        tx.commit()
    with pytest.raises(RuleViolation) as raised:
        world.hub.use(OAuthService).authorize(OWNER, id_, Authorize())
    assert raised.value.code == "BR-IM-05"


def test_a_provider_without_oauth_says_so(world: OAuthWorld) -> None:
    id_ = world.integration(
        integrationType="PaymentGateway", provider="Stripe", configuration={"apiKey": "sk_test_" + "a" * 24}
    )
    with pytest.raises(Conflict) as raised:
        world.hub.use(OAuthService).authorize(OWNER, id_, Authorize())
    assert raised.value.code == "no-oauth"


# -- against a server that others wrote ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def mock_server() -> Iterator[str]:
    """npm's oauth2-mock-server; the executable is `HUB_OAUTH2_MOCK_SERVER`, or on PATH."""
    executable = os.environ.get("HUB_OAUTH2_MOCK_SERVER") or shutil.which("oauth2-mock-server")
    if executable is None:
        pytest.skip("oauth2-mock-server is neither on PATH nor named by HUB_OAUTH2_MOCK_SERVER")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [executable, "-a", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            pytest.skip("oauth2-mock-server did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_it_works_with_an_openid_connect_server_of_others(
    world: OAuthWorld, mock_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = world.server.configuration() | {
        "authorizeUrl": f"{mock_server}/authorize",
        "tokenUrl": f"{mock_server}/token",
    }
    # The API takes only tokens of its own server; this one's are JWTs of another.
    monkeypatch.setattr(
        world.server, "api", lambda path, authorization: (200, {"id": "x", "accessRole": "owner"})
    )
    id_: UUID = world.integration(configuration=configuration)
    assert world.callback(world.begin(id_)).status == CompletionStatus.Connected
    first = world.current(id_)
    assert first is not None and first.count(".") == 2
    world.clock.advance(minutes=70)
    assert world.current(id_) is not None
    assert world.grant(id_).refreshed_at == world.clock.now()
    assert world.now(id_).status == IntegrationStatus.Active
