"""An app asks for scopes, and any user who signs in to it would be an administrator; or the other way round."""

from __future__ import annotations

import base64
import json
import logging
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest

from domain.core.errors import Forbidden
from domain.core.principal import Principal
from infra.app.settings import Settings
from infra.authentication.app_service import principal_from_app_service
from infra.authentication.development import DEVELOPMENT_AUDIENCE, DEVELOPMENT_ISSUER, ensure_key
from infra.authentication.factory import build_verifier


def by_token(home: Path, claims: dict[str, Any], **settings: Any) -> Principal:
    key, now = ensure_key(home), int(time.time())
    times = {"iat": now, "nbf": now, "exp": now + 600}
    text = jwt.encode(
        {"iss": DEVELOPMENT_ISSUER, "aud": DEVELOPMENT_AUDIENCE, **times, **claims},
        jwt.PyJWK(key, "ES256"),
        algorithm="ES256",
        headers={"kid": key["kid"]},
    )
    return build_verifier(Settings(home=home, **settings)).verify(text)


def by_app_service(home: Path, claims: dict[str, Any], **settings: Any) -> Principal:
    long = {"scp": "http://schemas.microsoft.com/identity/claims/scope"}
    pairs = [
        {"typ": long.get(name, name), "val": word}
        for name, value in claims.items()
        for word in (value if isinstance(value, list) else [value])
    ]
    header = base64.b64encode(json.dumps({"claims": pairs}).encode()).decode()
    found = principal_from_app_service(header, Settings(home=home, auth_app_service=True, **settings))
    assert found is not None
    return found


@pytest.mark.parametrize("signed_in", [by_token, by_app_service])
@pytest.mark.parametrize("claim", ["scp", "scope"])
def test_scopes_of_an_app_give_its_users_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, signed_in: Any, claim: str
) -> None:
    claims = {"tid": str(uuid4()), "oid": str(uuid4()), "azp": "c1d2", claim: "integration:manage openid"}
    with caplog.at_level(logging.WARNING, "hub.auth"):
        for _ in range(2):
            anybody = signed_in(tmp_path, claims)
            with pytest.raises(Forbidden):
                anybody.require("integration:manage")
    [line] = [record for record in caplog.records if record.message == "scopes without a role"]
    told = (line.__dict__[name] for name in ("tenantId", "userId", "client", "scopes"))
    assert tuple(told) == (claims["tid"], claims["oid"], "c1d2", ["integration:manage"])
    assert signed_in(tmp_path, claims, auth_scp="grants").permissions == {"integration:manage"}


@pytest.mark.parametrize("signed_in", [by_token, by_app_service])
def test_an_app_uses_no_more_of_an_administrator_than_it_was_let(tmp_path: Path, signed_in: Any) -> None:
    administrator = {
        "tid": str(uuid4()),
        "oid": str(uuid4()),
        "roles": ["integration:manage", "events:write"],
    }
    assert signed_in(tmp_path, {**administrator, "scp": "events:write"}).permissions == {"events:write"}
    whole = {"integration:manage", "events:write"}
    assert signed_in(tmp_path, {**administrator, "scp": "access_as_user"}).permissions == whole
    assert signed_in(tmp_path, administrator).permissions == whole
