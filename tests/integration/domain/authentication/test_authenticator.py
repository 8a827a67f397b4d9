"""From a request's credentials to a principal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import pytest

from domain.authentication.service import AuthenticationResult, Authenticator, Credentials
from domain.core.errors import Forbidden, Unauthenticated, Unavailable
from domain.core.principal import Principal
from domain.core.tenants import KnownStandings
from domain.tenants.quotas import TenantQuotas
from tests.worlds.builders import TENANT, USER
from tests.worlds.webhook_world import WebhookWorld

ALICE = Principal(TENANT, UUID(int=0xA11CE), frozenset({"webhook:manage"}), "Alice")


class OneToken:
    """A verifier that knows one token."""

    def __init__(self) -> None:
        self.principal = ALICE

    def known(self, token: str) -> Principal | None:
        return self.principal if token == "good" else None

    def verify(self, token: str) -> Principal:
        if token != "good":
            raise Unauthenticated("The token does not hold.")
        return self.principal


class NoKeys:
    """A key verifier that must not be called: none of these requests carries an API key."""

    def verify(self, request: object) -> NoReturn:
        raise AssertionError("a bearer token is no API key")

    verify_soon = verify


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


def authenticator(
    world: WebhookWorld,
    *,
    trusted: bool = False,
    verifier: OneToken | None = None,
    listener: Callable[[AuthenticationResult], None] | None = None,
) -> Authenticator:
    def vouched(header: str | None) -> Principal | None:
        return replace(ALICE, name="vouched") if trusted and header else None

    return Authenticator(
        verifier or OneToken(),
        NoKeys(),  # type: ignore[arg-type]
        world.transactions,
        world.clock,
        from_client_principal=vouched,
        standings=world.hub.use(KnownStandings),
        gate=world.hub.use(TenantQuotas),
        listeners=[listener] if listener else [],
    )


def known_users(world: WebhookWorld) -> list[str]:
    with world.database.read() as connection:
        return list(
            connection.exec_driver_sql("SELECT DisplayName FROM Users ORDER BY DisplayName").scalars()
        )


@pytest.mark.parametrize("header", ["Bearer good", "bearer good", "BEARER   good  "])
def test_a_bearer_token_names_its_principal(world: WebhookWorld, header: str) -> None:
    assert authenticator(world).authenticate(Credentials(authorization=header)).require() == ALICE


@pytest.mark.parametrize(
    "header", ["", "good", "Bearer", "Bearer ", "Basic good", "Bearergood", "Bearer bad", "Bearer good good"]
)
def test_anything_else_is_refused_without_repeating_it(world: WebhookWorld, header: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        authenticator(world).authenticate(Credentials(authorization=header)).require()
    assert "good" not in refused.value.detail
    assert "bad" not in refused.value.detail


def test_no_credentials_are_refused(world: WebhookWorld) -> None:
    with pytest.raises(Unauthenticated):
        authenticator(world).authenticate(Credentials()).require()


def test_the_platforms_header_counts_only_where_it_is_trusted(world: WebhookWorld) -> None:
    credentials = Credentials(client_principal="eyJ9")
    assert authenticator(world, trusted=True).authenticate(credentials).require().name == "vouched"
    with pytest.raises(Unauthenticated):
        authenticator(world).authenticate(credentials).require()


def test_a_bad_token_is_not_saved_by_the_platforms_header(world: WebhookWorld) -> None:
    with pytest.raises(Unauthenticated):
        authenticator(world, trusted=True).authenticate(Credentials("Bearer bad", "eyJ9")).require()


def test_credentials_show_nothing_of_themselves() -> None:
    assert "good" not in repr(Credentials("Bearer good", "good"))


def test_a_user_met_for_the_first_time_is_remembered_once(world: WebhookWorld) -> None:
    subject = authenticator(world)
    for _ in range(3):
        subject.authenticate(Credentials("Bearer good")).require()
    assert known_users(world) == ["A User", "A User", "Alice"]


def test_a_user_met_before_costs_no_database_access(world: WebhookWorld) -> None:
    subject = authenticator(world)
    subject.authenticate(Credentials("Bearer good")).require()
    world.database.down = True
    assert subject.authenticate(Credentials("Bearer good")).require() == ALICE


def test_a_first_meeting_while_the_database_is_down_is_tried_again(world: WebhookWorld) -> None:
    subject = authenticator(world)
    world.database.down = True
    with pytest.raises(Unavailable):
        subject.authenticate(Credentials("Bearer good")).require()
    world.database.down = False
    subject.authenticate(Credentials("Bearer good")).require()
    assert "Alice" in known_users(world)


def test_the_memory_of_users_is_bounded(world: WebhookWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.authentication.service.USERS_REMEMBERED", 2)
    verifier = OneToken()
    subject = authenticator(world, verifier=verifier)
    for number in range(4):
        verifier.principal = replace(ALICE, user_id=UUID(int=number + 1), name=f"User {number}")
        subject.authenticate(Credentials("Bearer good")).require()
    assert len(subject._seen) == 2
    assert len(known_users(world)) == 6
    assert USER not in {user for _, user in subject._seen}


async def test_an_event_loop_gets_the_same_principal_whether_met_before_or_not(world: WebhookWorld) -> None:
    subject = authenticator(world)
    for _ in range(2):
        assert (await subject.authenticate_soon(Credentials("Bearer good"))).require() == ALICE
    assert known_users(world) == ["A User", "A User", "Alice"]


async def test_what_is_refused_is_refused_on_an_event_loop_too(world: WebhookWorld) -> None:
    with pytest.raises(Unauthenticated):
        (await authenticator(world).authenticate_soon(Credentials("Bearer bad"))).require()


async def test_listeners_are_called_with_every_result(world: WebhookWorld) -> None:
    results: list[AuthenticationResult] = []
    subject = authenticator(world, listener=results.append)
    returned = [
        subject.authenticate(Credentials("Bearer good"), "webhook:manage"),
        await subject.authenticate_soon(Credentials("Bearer good"), "privacy:manage"),
        await subject.authenticate_soon(Credentials(api_key="ihk_nobody-has-this-key")),
        await subject.authenticate_soon(Credentials("Bearer good", api_key="ihk_nobody-has-this-key")),
    ]
    assert results == returned
    assert [result.error and result.error.code for result in results] == [
        None,
        "forbidden",
        "invalid-key",
        "unauthenticated",
    ]
    assert [result.principal is None for result in results] == [False, False, True, True]


def test_no_log_line_repeats_a_credential(world: WebhookWorld, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        authenticator(world).authenticate(Credentials("Bearer good")).require()
        authenticator(world).authenticate(Credentials("Bearer wrong-token"))
    assert len(caplog.records) >= 2
    lines = [str(vars(record)) for record in caplog.records]
    assert not any("Bearer" in line or "wrong-token" in line for line in lines)


async def test_another_permission_may_stand_in_for_the_one_that_is_needed(world: WebhookWorld) -> None:
    held, subject = sorted(ALICE.permissions)[0], authenticator(world)
    good = Credentials("Bearer good")
    assert subject.authenticate(good, "privacy:manage", instead=held).error is None
    assert (await subject.authenticate_soon(good, "privacy:manage", instead=held)).error is None
    for refused in (
        subject.authenticate(good, "privacy:manage", instead="audit:read"),
        await subject.authenticate_soon(good, "privacy:manage", instead="audit:read"),
    ):
        assert isinstance(refused.error, Forbidden) and refused.error.scopes == ("privacy:manage",)
