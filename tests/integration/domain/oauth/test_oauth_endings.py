"""How grants end: revoked by the provider, withdrawn by a person, or with their integration.

Their tokens are nowhere but in the secret store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from domain.core.errors import Conflict, Forbidden, NotFound, Unavailable
from domain.core.paging import PageRequest
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import IntegrationStatus, SuspensionCause
from domain.integrations.ports import LogFilter
from domain.oauth.grants import GrantStore
from domain.oauth.model import Authorize, CompletionStatus, GrantStatus
from domain.oauth.service import OAuthService
from tests.fixtures.oauth_server import CLIENT_SECRET, OAuthServer
from tests.worlds.builders import OTHER_USER, TENANT
from tests.worlds.oauth_world import COLLEAGUE, OWNER, STRANGER, OAuthWorld

COUSIN = Principal(TENANT, OTHER_USER, frozenset(PERMISSIONS))


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


def test_a_grant_revoked_by_the_provider_suspends_with_an_alert_until_authorised_again(
    world: OAuthWorld,
) -> None:
    from domain.providers.contract import ProviderFailure

    id_ = world.connected().integration_id
    world.server.revoked = True
    world.clock.advance(minutes=50)
    assert world.refresh_ahead() == {"revoked": 1}
    found = world.now(id_)
    assert (found.status, found.suspension) == (IntegrationStatus.Suspended, SuspensionCause.Grant)
    [alert] = world.alerts()
    assert (alert["kind"], alert["data"]["integrationId"]) == ("integration-suspended", str(id_))
    with pytest.raises(ProviderFailure) as raised:
        world.current(id_)
    assert raised.value.kind == "unauthorized"
    world.server.revoked = False
    assert world.callback(world.begin(id_)).status == CompletionStatus.Connected
    assert world.now(id_).status == IntegrationStatus.Active


def test_an_outage_of_the_server_is_not_a_revocation(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.down = True
    world.clock.advance(minutes=50)
    assert world.refresh_ahead() == {"failed": 1}
    assert world.now(id_).status == IntegrationStatus.Active
    assert world.alerts() == []
    world.server.down = False
    world.clock.advance(minutes=1)
    assert world.refresh_ahead() == {"refreshed": 1}


def test_withdrawing_suspends_revokes_at_the_provider_and_destroys_the_tokens(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    name = world.grant(id_).secret_name
    token = world.current(id_)
    withdrawn = world.hub.use(OAuthService).revoke(OWNER, id_)
    assert withdrawn.revoked_at_provider is True
    assert withdrawn.integration.status == IntegrationStatus.Suspended
    assert world.hub.secrets.get(name) is None
    assert world.server.api("/", f"Bearer {token}")[0] == 401
    assert world.alerts() == []
    again = world.hub.use(OAuthService).revoke(OWNER, id_)
    assert again.revoked_at_provider is None
    assert sum(path == "/revoke" for path, _ in world.server.requests) == 1


def test_withdrawing_works_while_the_provider_is_down(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    name = world.grant(id_).secret_name
    world.server.down = True
    assert world.hub.use(OAuthService).revoke(OWNER, id_).revoked_at_provider is False
    assert world.hub.secrets.get(name) is None


@pytest.mark.parametrize("step", ["_suspend", "_revoke_at_provider"])
def test_a_withdrawal_that_a_crash_cut_off_is_finished_by_the_timer(
    world: OAuthWorld, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    id_ = world.connected().integration_id

    def crash(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(OAuthService, step, crash)
        world.hub.use(OAuthService).revoke(OWNER, id_)
    world.clock.advance(minutes=2)
    assert world.refresh_ahead() == {"withdrawn": 1}
    assert world.refresh_ahead() == {}
    found = world.now(id_)
    assert (found.status, found.suspension) == (IntegrationStatus.Suspended, SuspensionCause.Grant)
    assert world.grant(id_).status == GrantStatus.Revoked
    assert world.hub.secrets.names("oauth-") == []
    assert sum(path == "/revoke" for path, _ in world.server.requests) == 1
    assert world.callback(world.begin(id_)).status == CompletionStatus.Connected


def test_a_colleague_may_not_withdraw(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    with pytest.raises(Forbidden):
        world.hub.use(OAuthService).revoke(COLLEAGUE, id_)
    with pytest.raises(NotFound):
        world.hub.use(OAuthService).revoke(STRANGER, id_)


def test_disconnecting_destroys_the_tokens(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    name = world.grant(id_).secret_name
    world.hub.use(Lifecycle).disconnect(OWNER, id_, "No longer used.")
    assert world.hub.secrets.get(name) is None
    assert world.hub.use(GrantStore).get(id_) is None
    with pytest.raises(Conflict):
        world.hub.use(OAuthService).authorize(OWNER, id_, Authorize())


def revocations(world: OAuthWorld) -> int:
    return sum(path == "/revoke" for path, _ in world.server.requests)


def last_log(world: OAuthWorld, id_: UUID) -> str:
    with world.hub.transactions.read() as tx:
        return tx.integration_logs.page(id_, LogFilter(), PageRequest(1, 1)).items[0].message


def test_disconnecting_revokes_at_the_provider_and_says_so(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    token = world.current(id_)
    world.hub.use(Lifecycle).disconnect(OWNER, id_, "No longer used.")
    assert world.server.api("/", f"Bearer {token}")[0] == 401
    assert last_log(world, id_) == "The access was revoked at the provider."
    assert world.hub.secrets.names("oauth-") == []


def test_disconnecting_says_when_the_provider_could_not_be_told(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.down = True
    world.hub.use(Lifecycle).disconnect(OWNER, id_, "No longer used.")
    assert "did not confirm" in last_log(world, id_)
    assert world.hub.use(GrantStore).get(id_) is None and world.hub.secrets.names("oauth-") == []


@pytest.mark.parametrize("other", [COUSIN, STRANGER], ids=["tenant", "another-tenant"])
def test_a_grant_is_only_forgotten_while_another_of_the_same_account_and_client_lives(
    world: OAuthWorld, other: Principal
) -> None:
    id_ = world.connected().integration_id
    second = world.connected(other).integration_id
    world.hub.use(Lifecycle).disconnect(OWNER, id_, "No longer used.")
    assert revocations(world) == 0
    assert "another integration uses the same account" in last_log(world, id_)
    assert world.hub.use(GrantStore).get(id_) is None
    token = world.current(second)
    assert world.server.api("/", f"Bearer {token}")[0] == 200
    world.hub.use(Lifecycle).disconnect(other, second, "No longer used.")
    assert revocations(world) == 1
    assert world.server.api("/", f"Bearer {token}")[0] == 401


def test_withdrawing_spares_another_grant_of_the_account_too(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    second = world.connected(COUSIN).integration_id
    assert world.hub.use(OAuthService).revoke(OWNER, id_).revoked_at_provider is False
    assert revocations(world) == 0
    assert world.hub.use(OAuthService).revoke(COUSIN, second).revoked_at_provider is True, "no other lives"


def test_a_server_of_a_strangers_own_keeps_nothing_from_being_revoked(world: OAuthWorld) -> None:
    """The id of a client can be read in every authorize address."""
    id_, real, own = world.connected().integration_id, world.server, OAuthServer()
    world.server = own
    world.connected(STRANGER)
    world.server = real
    assert world.hub.use(OAuthService).revoke(OWNER, id_).revoked_at_provider is True
    own.close()


def test_another_account_keeps_nothing_from_being_revoked(world: OAuthWorld) -> None:
    id_ = world.connected().integration_id
    world.server.account = "else@example.org"
    second = world.connected(COUSIN).integration_id
    world.hub.use(Lifecycle).disconnect(OWNER, id_, "No longer used.")
    assert revocations(world) == 1
    assert world.server.api("/", f"Bearer {world.current(second)}")[0] == 200


def test_a_disconnect_whose_tokens_stayed_is_made_good_by_the_timer(
    world: OAuthWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = world.connected().integration_id
    name = world.grant(id_).secret_name

    def down(*arguments: object) -> None:
        raise Unavailable("The secret store does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(type(world.hub.tables), "transact", down)
        world.hub.use(Lifecycle).disconnect(OWNER, id_, "No longer used.")
    assert world.hub.secrets.get(name) is not None
    world.clock.advance(minutes=46)
    assert world.refresh_ahead() == {"removed": 1}
    assert "did not confirm" in last_log(world, id_)
    assert world.hub.secrets.get(name) is None
    assert world.hub.use(GrantStore).get(id_) is None


def test_no_secret_is_anywhere_but_in_the_secret_store(
    world: OAuthWorld, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """BR-IM-07: every file of the state but the secret store's, every log record, every text that comes back."""
    from domain.providers.contract import ProviderFailure
    from infra.observability.logs import JsonFormatter

    caplog.set_level("DEBUG")
    said: list[str] = []
    id_ = world.integration()
    begun = world.begin(id_)
    said += [repr(begun), repr(world.callback(begun, code="wrong-code"))]
    said.append(repr(world.callback(world.begin(id_))))
    world.clock.advance(minutes=56)
    world.current(id_)
    world.server.revoked = True
    world.clock.advance(minutes=66)
    with pytest.raises(ProviderFailure) as raised:
        world.current(id_)
    said += [repr(raised.value), repr(world.grant(id_)), repr(world.now(id_))]
    world.server.revoked = False
    world.callback(world.begin(id_))
    said.append(repr(world.hub.use(OAuthService).revoke(OWNER, id_)))
    said += [JsonFormatter().format(record) for record in caplog.records] + list(capfd.readouterr())
    secrets = [secret for secret in world.server.issued if not secret.startswith("code")] + [CLIENT_SECRET]
    assert len(secrets) > 5
    files = {file: file.read_bytes() for file in world.home.iterdir() if file.is_file()}
    assert any(b"OAuthGrants" in content for content in files.values())
    for secret in secrets:
        for file, content in files.items():
            assert secret.encode() not in content, file.name
        assert not any(secret in text for text in said)
