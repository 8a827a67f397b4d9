"""OAuth decisions, by table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.errors import Conflict, ValidationFailed
from domain.oauth.model import Grant, GrantStatus, Tokens
from domain.oauth.ports import TokenResponse
from domain.oauth.rules import (
    ASSUMED_LIFETIME,
    authorize_url,
    challenge,
    check_redirect_after,
    client_of,
    denial,
    due_at,
    failure_of,
    is_revoked,
    is_usable,
    refresh_failure,
    retry_at,
    tokens_of,
    wants_refresh,
)
from domain.providers.contract import Configuration, ProviderFailure
from domain.providers.oauth_profile import OAuthProfile
from infra.providers.registry import all_providers
from tests.worlds.builders import START, TENANT, USER


class AClient(Configuration):
    client_id: str | None = "client"
    client_secret: str | None = "secret"
    login_url: str = "https://login.example"


PROFILE = OAuthProfile(
    authorize_url="{login_url}/authorize",
    token_url="{login_url}/token",
    scopes=("read", "write"),
    extra_authorize_parameters={"prompt": "consent", "state": "not this one"},
    revoked_errors=frozenset(("invalid_grant", "BAD_REFRESH_TOKEN")),
)
GOOD: dict[str, Any] = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600}


def answer(status: int = 200, /, **body: Any) -> TokenResponse:
    return TokenResponse(status, body, f"The provider answered {status}.")


def tokens(before: Tokens | None = None, **body: Any) -> Tokens:
    return tokens_of(answer(**{**GOOD, **body}), PROFILE, asked_at=START, fence=7, before=before)


def test_the_challenge_is_that_of_rfc_7636_appendix_b() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_authorize_address_carries_pkce_and_the_state_and_the_profile_cannot_replace_them() -> None:
    url = authorize_url(
        PROFILE, AClient(), redirect_uri="https://hub.example/cb", state="the-state", verifier="v" * 43
    )
    query = parse_qs(urlsplit(url).query)
    assert url.startswith("https://login.example/authorize?")
    assert query["state"] == ["the-state"]
    assert query["scope"] == ["read write"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["code_challenge"] == [challenge("v" * 43)]
    assert query["prompt"] == ["consent"]
    assert "secret" not in url


@pytest.mark.parametrize("provider", ["Google", "Outlook", "HubSpot", "Salesforce"])
def test_every_provider_with_oauth_has_addresses_that_its_configuration_fills(provider: str) -> None:
    profile = all_providers()[provider].profile
    assert profile.oauth is not None
    fields = set(profile.configuration.model_fields)
    for template in (profile.oauth.authorize_url, profile.oauth.token_url, profile.oauth.revoke_url or ""):
        names = {part.partition("}")[0] for part in template.split("{")[1:]}
        assert names <= fields
    assert {"client_id", "client_secret"} <= fields


def test_a_configuration_without_a_client_cannot_authorise() -> None:
    with pytest.raises(Conflict) as raised:
        client_of(AClient(client_secret=None))
    assert raised.value.code == "oauth-not-configured"


@pytest.mark.parametrize("path", [None, "/", "/settings/calendars?tab=2#x"])
def test_a_path_of_this_site_is_taken(path: str | None) -> None:
    check_redirect_after(path)


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "settings",
        "/a b",
        "/a\r\nX: y",
        "/é",
        "\\/x",
    ],
)
def test_anything_a_browser_may_read_as_another_site_is_refused(path: str) -> None:
    with pytest.raises(ValidationFailed):
        check_redirect_after(path)


def test_an_answer_becomes_tokens_whose_life_counts_from_before_the_request() -> None:
    got = tokens(refresh_token="rt", scope="read")
    assert (got.access_token, got.refresh_token, got.scopes, got.fence) == ("at", "rt", ("read",), 7)
    assert got.expires_at == START + timedelta(hours=1)


def test_what_a_refresh_does_not_name_stays_as_it_was() -> None:
    before = tokens(refresh_token="old", scope="read")
    got = tokens(before, access_token="new")
    assert (got.access_token, got.refresh_token, got.scopes) == ("new", "old", ("read",))


def test_scopes_not_named_are_those_asked_for__RFC_6749_5_1() -> None:
    assert tokens().scopes == ("read", "write")


def missing_of(scope: str, refresh_token: str | None) -> tuple[str, ...]:
    """What a grant of Outlook lacks whose server named these scopes."""
    outlook = all_providers()["Outlook"].profile.oauth
    assert outlook is not None
    body = {**GOOD, "scope": scope, "refresh_token": refresh_token}
    got = tokens_of(answer(**body), outlook, asked_at=START, fence=7, before=None)
    grant = Grant(
        integration_id=uuid4(),
        tenant_id=TENANT,
        user_id=USER,
        status=GrantStatus.Active,
        authorized_at=START,
        expires_at=got.expires_at,
        due_at=got.expires_at,
        scopes=got.scopes,
        requested_scopes=tuple(outlook.scopes),
        renewable=got.refresh_token is not None,
    )
    return grant.missing_scopes


@pytest.mark.parametrize(
    "scope",
    [
        "Calendars.ReadWrite User.Read profile openid email",
        "https://graph.microsoft.com/Calendars.ReadWrite https://graph.microsoft.com/User.Read",
        "https://graph.microsoft.us/calendars.readwrite user.read",
        "openid offline_access User.Read Calendars.ReadWrite",
    ],
)
def test_outlooks_scopes_are_all_there_when_the_refresh_token_came(scope: str) -> None:
    assert missing_of(scope, "r") == ()


@pytest.mark.parametrize(
    ("scope", "refresh", "missing"),
    [
        ("User.Read", "r", ("Calendars.ReadWrite",)),
        ("https://graph.microsoft.com/Calendars.Read User.Read", "r", ("Calendars.ReadWrite",)),
        ("https://evil.example/Calendars.ReadWrite User.Read", "r", ("Calendars.ReadWrite",)),
        ("Calendars.ReadWrite User.Read", None, ("offline_access",)),
    ],
)
def test_a_scope_of_outlook_that_is_missing_is_named(
    scope: str, refresh: str | None, missing: tuple[str, ...]
) -> None:
    assert missing_of(scope, refresh) == missing


def test_other_servers_scopes_are_compared_as_they_are() -> None:
    assert tokens(scope="READ").scopes == ("READ",)


@pytest.mark.parametrize("expires_in", [None, "soon", 0, -5, float("nan"), float("inf"), [], True])
def test_a_missing_or_absurd_lifetime_is_assumed_to_be_short(expires_in: Any) -> None:
    assert tokens(expires_in=expires_in).expires_at == START + ASSUMED_LIFETIME


def test_a_lifetime_as_text_is_read() -> None:
    assert tokens(expires_in="1799").expires_at == START + timedelta(seconds=1799)


@pytest.mark.parametrize(
    "body",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a\nb"},
        {"access_token": 5},
        {"token_type": "mac"},
        {"refresh_token": 5},
    ],
)
def test_an_answer_without_a_bearer_token_is_malformed(body: dict[str, Any]) -> None:
    with pytest.raises(ProviderFailure) as raised:
        tokens(**body)
    assert raised.value.kind == "malformed"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": "invalid_grant"}, True),
        (401, {"error": "invalid_grant"}, True),
        (400, {"status": "BAD_REFRESH_TOKEN"}, True),
        (500, {"error": "invalid_grant"}, False),
        (429, {"error": "invalid_grant"}, False),
        (400, {"error": "invalid_request"}, False),
        (401, {"error": "invalid_client"}, False),
        (200, {"error": "invalid_grant"}, False),
        (400, {}, False),
        (400, {"error": ["invalid_grant"]}, False),
    ],
)
def test_only_the_profiles_errors_mean_that_the_grant_is_gone(
    status: int, body: dict[str, Any], expected: bool
) -> None:
    assert is_revoked(answer(status, **body), PROFILE) is expected


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, {}, "unavailable"),
        (503, {}, "unavailable"),
        (429, {}, "rate_limited"),
        (401, {"error": "invalid_client"}, "unauthorized"),
        (400, {"error": "invalid_client"}, "unauthorized"),
        (400, {"error": "invalid_request"}, "rejected"),
        (302, {}, "malformed"),
    ],
)
def test_an_answer_without_tokens_is_the_failure_it_means(
    status: int, body: dict[str, Any], kind: str
) -> None:
    assert failure_of(answer(status, **body)).kind == kind


@pytest.mark.parametrize(
    ("status", "body", "kind", "of_grant"),
    [
        (500, {}, "unavailable", False),
        (408, {}, "unavailable", False),
        (429, {"error": "slow_down"}, "unavailable", False),
        (400, {"error": "invalid_request"}, "unauthorized", True),
        (401, {"error": "invalid_client"}, "unauthorized", True),
        (403, {}, "unauthorized", True),
        (200, {}, "malformed", False),
        (302, {}, "malformed", False),
    ],
)
def test_a_refresh_without_tokens_is_an_outage_or_a_refusal(
    status: int, body: dict[str, Any], kind: str, of_grant: bool
) -> None:
    failure = refresh_failure(answer(status, **body))
    assert (failure.kind, failure.of_grant) == (kind, of_grant)


def test_an_hours_token_is_due_15_minutes_ahead_and_wanted_fresh_5_minutes_ahead() -> None:
    got = tokens()
    assert due_at(got.obtained_at, got.expires_at) == START + timedelta(minutes=45)
    assert not wants_refresh(got, START + timedelta(minutes=54, seconds=59))
    assert wants_refresh(got, START + timedelta(minutes=55))


def test_clocks_may_differ_by_a_minute() -> None:
    got = tokens()
    assert is_usable(got, START + timedelta(minutes=58, seconds=59))
    assert not is_usable(got, START + timedelta(minutes=59))


@given(st.integers(min_value=1, max_value=10_000_000))
def test_a_fresh_token_is_never_refreshed_at_once_and_always_before_it_is_unusable(seconds: int) -> None:
    got = tokens(expires_in=seconds)
    assert not wants_refresh(got, START)
    assert START < due_at(got.obtained_at, got.expires_at) < got.expires_at
    assert is_usable(got, START)
    assert not is_usable(got, got.expires_at)


def test_failures_are_spaced_out_from_15_seconds_to_15_minutes_or_as_long_as_asked() -> None:
    waits = [(retry_at(START, failures, None) - START).total_seconds() for failures in (1, 2, 3, 7, 500)]
    assert waits == [15, 30, 60, 900, 900]
    assert retry_at(START, 1, 120) == START + timedelta(seconds=120)
    assert retry_at(START, 1, 1e9) == START + timedelta(hours=1)


def test_a_denial_is_told_in_our_words() -> None:
    assert denial("access_denied") == "Access was not granted."
    assert "<" not in denial("<script>") and "script" not in denial("<script>")


def test_tokens_survive_the_secret_store_and_are_in_no_repr() -> None:
    got = tokens(refresh_token="rt-secret", access_token="at-secret")
    assert Tokens.of_text(got.to_text()) == got
    assert "at-secret" not in repr(got) and "rt-secret" not in repr(got)
