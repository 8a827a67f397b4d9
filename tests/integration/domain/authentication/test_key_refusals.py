"""Each refusal of an API key has its code and text, and its line in the log says what it was about (11.2, 12.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.apikeys.expiry import KeyExpiry
from domain.apikeys.service import ApiKeyService, Issued
from domain.apikeys.verifier import KeyVerificationService, VerifyApiKey
from domain.authentication.service import Authenticator, Credentials
from domain.core.errors import DomainError
from domain.core.principal import RequestOrigin
from tests.worlds.apikey_world import START, ApiKeyWorld

_ORIGIN = RequestOrigin("192.0.2.1", "request-1", "ab" * 16)
_EXPIRES = {"expiresAt": START + timedelta(seconds=30)}
Act = Callable[[ApiKeyWorld, Issued], object]


def _refused(world: ApiKeyWorld, text: str) -> DomainError:
    credentials = Credentials(api_key=text, origin=_ORIGIN)
    error = world.hub.use(Authenticator).authenticate(credentials, "events:read").error
    assert error is not None
    return error


def _fields(caplog: pytest.LogCaptureFixture, message: str) -> dict[str, Any]:
    record = [record for record in caplog.records if record.message == message][-1]
    names = ("outcome", "reason", "keyPrefix", "apiKeyId", "tenantId", "ip")
    return {name: getattr(record, name) for name in names}


def _expire(world: ApiKeyWorld, issued: Issued) -> None:
    world.clock.advance(seconds=30)


def _expire_and_revoke(world: ApiKeyWorld, issued: Issued) -> None:
    world.clock.advance(hours=1)
    assert world.hub.use(KeyExpiry).revoke_expired() == 1


def _revoke(world: ApiKeyWorld, issued: Issued) -> None:
    world.hub.use(ApiKeyService).revoke(world.admin, issued.key.api_key_id, None, None)


def _use_up(world: ApiKeyWorld, issued: Issued) -> None:
    world.verify(issued.plain)


def _nothing(world: ApiKeyWorld, issued: Issued) -> None: ...


@pytest.mark.parametrize(
    ("fields", "act", "code", "reason", "told"),
    [
        (_EXPIRES, _expire, "expired-key", "EXPIRED", "2026-03-01T12:00:30"),
        (_EXPIRES, _expire_and_revoke, "expired-key", "EXPIRED", "2026-03-01T12:00:30"),
        (
            {"notBefore": START + timedelta(seconds=1)},
            _nothing,
            "key-not-yet-valid",
            "NOT_YET_VALID",
            "2026-03-01T12:00:01",
        ),
        ({}, _revoke, "invalid-key", "REVOKED", "API key"),
        ({"allowedIps": ["198.51.100.0/24"]}, _nothing, "ip-not-allowed", "IP_NOT_ALLOWED", "this address"),
        ({"scopes": ["bookings:read"]}, _nothing, "insufficient-scope", "INSUFFICIENT_SCOPES", "events:read"),
        ({"rateLimitPerHour": 1}, _use_up, "rate-limited", "RATE_LIMITED", "limit of 1 requests"),
    ],
)
def test_a_refused_key_is_told_why_and_logged_by_its_prefix__11_2(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fields: Any, act: Act, code: str, reason: str, told: str
) -> None:
    world = ApiKeyWorld(tmp_path)
    issued = world.issue(**fields)
    act(world, issued)
    with caplog.at_level(logging.INFO):
        error = _refused(world, issued.plain.text)
    assert error.code == code
    assert told in error.detail
    assert _fields(caplog, "authentication refused") == {
        "outcome": "refused",
        "reason": reason,
        "keyPrefix": issued.key.key_prefix,
        "apiKeyId": str(issued.key.api_key_id),
        "tenantId": str(world.admin.tenant_id),
        "ip": "192.0.2.1",
    }
    assert issued.plain.text not in caplog.text


@pytest.mark.parametrize("is_mistyped", [True, False])
def test_a_key_that_nobody_has_is_logged_without_an_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_mistyped: bool
) -> None:
    world, elsewhere = ApiKeyWorld(tmp_path / "here"), ApiKeyWorld(tmp_path / "elsewhere")
    issued = elsewhere.issue()
    text = issued.plain.text + ("x" if is_mistyped else "")
    with caplog.at_level(logging.INFO):
        error = _refused(world, text)
    reason = "invalid-key" if is_mistyped else "NOT_FOUND"
    expected = {"reason": reason, "keyPrefix": issued.key.key_prefix, "apiKeyId": None, "tenantId": None}
    assert error.code == "invalid-key"
    assert _fields(caplog, "authentication refused") == {"outcome": "refused", "ip": "192.0.2.1", **expected}


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_key_that_is_verified_for_somebody_is_logged_by_its_prefix(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_known: bool
) -> None:
    world, elsewhere = ApiKeyWorld(tmp_path / "here"), ApiKeyWorld(tmp_path / "elsewhere")
    issued = (world if is_known else elsewhere).issue()
    command = VerifyApiKey.model_validate({"key": issued.plain.text})
    with caplog.at_level(logging.INFO):
        await world.hub.use(KeyVerificationService).verify(world.admin, command)
    [record] = [record for record in caplog.records if record.message == "key verified"]
    kept = [getattr(record, name) for name in ("outcome", "reason", "keyPrefix", "apiKeyId", "tenantId")]
    ids = [str(issued.key.api_key_id), str(world.admin.tenant_id)] if is_known else [None, None]
    outcome = ["accepted", "VALID"] if is_known else ["refused", "NOT_FOUND"]
    assert kept == [*outcome, issued.key.key_prefix, *ids]


def test_an_accepted_key_is_logged_by_its_prefix_and_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = ApiKeyWorld(tmp_path)
    issued = world.issue()
    credentials = Credentials(api_key=issued.plain.text, origin=replace(_ORIGIN, ip="192.0.2.7"))
    with caplog.at_level(logging.INFO):
        assert world.hub.use(Authenticator).authenticate(credentials, "events:read").error is None
    [record] = [record for record in caplog.records if record.message == "authenticated"]
    kept = {name: getattr(record, name) for name in ("outcome", "keyPrefix", "apiKeyId", "tenantId", "ip")}
    assert kept == {
        "outcome": "accepted",
        "keyPrefix": issued.key.key_prefix,
        "apiKeyId": str(issued.key.api_key_id),
        "tenantId": str(world.admin.tenant_id),
        "ip": "192.0.2.7",
    }


def test_a_scope_may_stand_in_and_counts_as_the_one_that_was_used(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    subject = world.hub.use(Authenticator)

    def ask(scopes: list[str], instead: str) -> DomainError | None:
        credentials = Credentials(api_key=world.issue(scopes=scopes).plain.text, origin=_ORIGIN)
        result = subject.authenticate(credentials, "events:read", instead=instead)
        return result.error

    assert ask(["bookings:read"], "bookings:read") is None
    assert ask(["events:read"], "bookings:read") is None
    refused = ask(["tickets:read"], "bookings:read")
    assert refused is not None and refused.code == "insufficient-scope" and "events:read" in refused.detail
