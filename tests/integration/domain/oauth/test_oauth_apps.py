"""The installation's own OAuth apps, for integrations that bring no client of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from domain.core.errors import Conflict, ValidationFailed
from domain.core.paging import PageRequest
from domain.integrations.commands import RotateCredentials, UpdateIntegration
from domain.integrations.configuration import Split
from domain.integrations.credentials import CredentialService
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.integrations.oauth_apps import OAuthApps
from domain.integrations.ports import LogFilter
from domain.integrations.service import IntegrationService
from domain.oauth.model import Authorize, CompletionStatus
from domain.oauth.service import OAuthService
from infra.app.build import build
from infra.app.settings import Settings
from tests.fixtures.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from tests.worlds.oauth_world import OWNER, STRANGER, OAuthWorld

SECRET_NAME = "oauth-app-google"
SCOPES = ["https://www.googleapis.com/auth/calendar"]


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    started = OAuthServer()
    yield started
    started.close()


@pytest.fixture
def world(tmp_path: Path, server: OAuthServer) -> Iterator[OAuthWorld]:
    made = OAuthWorld(
        tmp_path / "hub", server, oauth_apps={"Google": {**server.app(SECRET_NAME), "scopes": SCOPES}}
    )
    made.hub.secrets.set(SECRET_NAME, CLIENT_SECRET)
    yield made
    made.close()


def logged(world: OAuthWorld, found: Integration) -> list[str]:
    with world.hub.transactions.read() as tx:
        rows = tx.integration_logs.page(found.integration_id, LogFilter(), PageRequest(page_size=200)).items
    return [row.message for row in rows]


def test_a_calendar_without_a_client_is_authorised_refreshed_and_revoked_by_the_app(
    world: OAuthWorld,
) -> None:
    found = world.connected(configuration={})
    assert world.grant(found.integration_id).requested_scopes == tuple(SCOPES)
    world.clock.advance(minutes=50)
    assert world.refresh_ahead() == {"refreshed": 1}
    assert world.hub.use(OAuthService).revoke(OWNER, found.integration_id).revoked_at_provider is True
    forms = [form for _, form in world.server.requests]
    assert [form.get("grant_type") for form in forms] == ["authorization_code", "refresh_token", None]
    assert {(form["client_id"], form["client_secret"]) for form in forms} == {(CLIENT_ID, CLIENT_SECRET)}


def test_the_app_is_shown_nowhere_and_stored_with_no_integration(world: OAuthWorld, tmp_path: Path) -> None:
    found = world.connected(configuration={"calendarId": "primary"})
    shown = world.hub.use(IntegrationService).shown_configuration(OWNER, found)
    assert shown.configuration == {"calendarId": "primary"}
    assert found.secret_name is None and world.hub.secrets.names("integration-") == []
    assert CLIENT_SECRET not in repr(world.hub.use(OAuthApps)) + str(logged(world, found))
    for file in (tmp_path / "hub").rglob("*"):
        assert not file.is_file() or CLIENT_SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("name", ["tokenUrl", "authorizeUrl", "revokeUrl", "baseUrl"])
def test_without_a_client_no_address_may_be_chosen(world: OAuthWorld, name: str) -> None:
    mine = {name: "https://collector.example/token"}
    with pytest.raises(ValidationFailed) as refused:
        world.integration(configuration=mine)
    assert [error.pointer for error in refused.value.errors] == [f"/configuration/{name}"]
    id_ = world.integration(configuration={})
    with pytest.raises(ValidationFailed):
        command = UpdateIntegration.model_validate({"configuration": mine})
        world.run(world.hub.use(CredentialService).update(OWNER, id_, command, None))
    with pytest.raises(ValidationFailed):
        rotation = RotateCredentials.model_validate({"credentials": mine})
        world.run(world.hub.use(CredentialService).rotate(OWNER, id_, rotation))


def test_an_address_that_came_with_a_client_is_left_behind_with_it(world: OAuthWorld) -> None:
    elsewhere = {**world.server.configuration(), "tokenUrl": "https://collector.example/token"}
    id_ = world.integration(configuration=elsewhere)
    command = UpdateIntegration.model_validate({"configuration": {"calendarId": "primary"}})
    world.run(world.hub.use(CredentialService).update(OWNER, id_, command, None))
    assert world.callback(world.begin(id_)).status == CompletionStatus.Connected
    assert world.server.count("authorization_code") == 1
    assert world.now(id_).secret_name is None


def test_the_secret_never_leaves_with_an_address_that_was_stored(world: OAuthWorld) -> None:
    profile, apps = world.hub.catalogue.get("Google").profile, world.hub.use(OAuthApps)
    completed = apps.completed(profile, Split({"tokenUrl": "https://collector.example/token"}, {}))
    assert completed.plain["tokenUrl"] == world.server.configuration()["tokenUrl"]
    assert completed.secrets == {"/clientSecret": CLIENT_SECRET}


def test_a_client_of_ones_own_is_used_instead(world: OAuthWorld) -> None:
    id_ = world.integration(configuration={**world.server.configuration(), "clientId": "of-my-own"})
    begun = world.hub.use(OAuthService).authorize(OWNER, id_, Authorize())
    assert "client_id=of-my-own" in begun.authorize_url and CLIENT_ID not in begun.authorize_url
    assert SCOPES[0] not in parse_qs(urlsplit(begun.authorize_url).query)["scope"][0].split()


def test_half_a_client_is_refused(world: OAuthWorld) -> None:
    for half in ({"clientId": "of-my-own"}, {"clientSecret": "of-my-own-too"}):
        with pytest.raises(ValidationFailed):
            world.integration(configuration=half)


def test_without_an_app_a_client_is_needed(tmp_path: Path, server: OAuthServer, world: OAuthWorld) -> None:
    with pytest.raises(ValidationFailed) as refused:
        OAuthWorld(tmp_path / "plain", server).integration(configuration={})
    pointers = {error.pointer for error in refused.value.errors}
    assert pointers == {"/configuration/clientId", "/configuration/clientSecret"}
    id_ = world.integration(configuration={})
    for settings in ({}, {"oauth_apps": {"Google": server.app("no-such-secret")}}):
        later = build(Settings(home=world.home, **settings), clock=world.clock, queue=world.queue)
        with pytest.raises(Conflict) as gone:
            later.use(OAuthService).authorize(OWNER, id_, Authorize())
        assert gone.value.code == "oauth-not-configured"
        assert ("secret" if settings else "this installation has none") in gone.value.detail.partition(";")[0]
        later.database.close()


def test_the_forms_schema_says_that_the_client_is_optional_then(world: OAuthWorld, tmp_path: Path) -> None:
    google = world.hub.catalogue.get("Google").profile
    schema = world.hub.use(OAuthApps).schema_of(google)
    assert {"clientId", "clientSecret"} & set(schema["required"]) == set()
    assert schema["properties"]["clientId"]["description"].endswith("is used")
    assert CLIENT_ID not in json.dumps(schema)
    outlook = world.hub.catalogue.get("Outlook").profile
    assert {"clientId", "clientSecret"} <= set(world.hub.use(OAuthApps).schema_of(outlook)["required"])
    without = build(Settings(home=tmp_path / "plain")).use(OAuthApps)
    assert {"clientId", "clientSecret"} <= set(without.schema_of(google)["required"])


@pytest.mark.parametrize("provider", ["Gogle", "Stripe", "iCal"])
def test_an_app_of_a_provider_without_oauth_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    app = {"clientId": "id", "clientSecretName": "name"}
    monkeypatch.setenv("HUB_OAUTH_APPS", json.dumps({provider: app}))
    with pytest.raises(ValueError, match="no provider that is authorised by OAuth"):
        Settings()
    monkeypatch.setenv("HUB_OAUTH_APPS", json.dumps({"Google": app, "Outlook": {**app, "scopes": ["a"]}}))
    assert Settings().oauth_apps["Outlook"].scopes == ["a"]


def test_a_revocation_spares_whoever_else_uses_the_app_with_that_account(world: OAuthWorld) -> None:
    mine, theirs = world.connected(configuration={}), world.connected(STRANGER, configuration={})
    assert mine.client_hash == theirs.client_hash is not None
    assert mine.account_hash == theirs.account_hash
    world.hub.use(Lifecycle).disconnect(OWNER, mine.integration_id, "Not needed.")
    assert world.server.count("authorization_code") == 2
    assert [path for path, _ in world.server.requests if path == "/revoke"] == []
    assert any("another integration uses the same account" in said for said in logged(world, mine))
    world.server.account = "another@example.org"
    other = world.connected(configuration={})
    world.hub.use(Lifecycle).disconnect(OWNER, other.integration_id, "Not needed.")
    assert [path for path, _ in world.server.requests if path == "/revoke"] == ["/revoke"]
    assert world.current(theirs.integration_id) is not None
    world.hub.use(Lifecycle).disconnect(STRANGER, theirs.integration_id, "Not needed.")
    assert [path for path, _ in world.server.requests if path == "/revoke"] == ["/revoke"] * 2


def test_the_providers_own_addresses_may_be_sent_back_as_they_were_shown(world: OAuthWorld) -> None:
    google = world.hub.catalogue.get("Google").profile.configuration.model_fields
    defaults = {"tokenUrl": f"{google['token_url'].default}/", "baseUrl": google["base_url"].default}
    found = world.now(world.integration(configuration={**defaults, "calendarId": "team"}))
    shown = world.hub.use(IntegrationService).shown_configuration(OWNER, found)
    assert shown.configuration == {"calendarId": "team"}
    world.integration(configuration={"tokenUrl": world.server.configuration()["tokenUrl"]})


def test_an_address_without_a_default_is_the_customers_own(tmp_path: Path, server: OAuthServer) -> None:
    app = {"clientId": "id", "clientSecretName": "oauth-app-salesforce"}
    world = OAuthWorld(
        tmp_path / "crm",
        server,
        oauth_apps={"Salesforce": app, "Outlook": {**app, "configuration": {"tenant": "contoso.com"}}},
    )
    crm = {"integrationType": "CRM", "provider": "Salesforce"}
    own = {"instanceUrl": "https://acme.my.salesforce.com"}
    assert world.integration(configuration=own, **crm)
    for refused in (
        {"loginUrl": "https://collector.example"},
        {"loginUrl": "https://login.salesforce.com.example"},
    ):
        with pytest.raises(ValidationFailed):
            world.integration(configuration={**own, **refused}, **crm)
    assert world.integration(provider="Outlook", configuration={"tenant": "contoso.com"})
    with pytest.raises(ValidationFailed) as fixed:
        world.integration(provider="Outlook", configuration={"tenant": "another.example"})
    assert [error.pointer for error in fixed.value.errors] == ["/configuration/tenant"]
    world.close()
