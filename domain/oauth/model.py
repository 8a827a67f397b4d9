"""OAuth 2 grants of integrations (RFC 6749 with PKCE, RFC 7636)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.core.text_length import TextConstraints
from domain.core.wire import Command, rfc3339
from domain.integrations.model import Integration


class Authorize(Command):
    """Body of `POST /api/integrations/{id}/oauth/authorize`; may be empty."""

    redirect_after: Annotated[str, TextConstraints(min_length=1, max_length=500)] | None = Field(
        None, description="Path of this site to go to once the account is connected, such as `/settings`"
    )


#: Scopes that only ask for a refresh token: OpenID Connect's name of it, and Salesforce's.
_RENEWING_SCOPES = ("offline_access", "refresh_token")


class GrantStatus(StrEnum):
    Active = "Active"
    Revoked = "Revoked"


@dataclass(frozen=True, slots=True)
class Tokens:
    """One answer of a token endpoint, as the secret store has it.

    `fence` is the number of the refresh (or authorization) that brought it; `expires_at` is assumed where not said."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    scopes: tuple[str, ...]
    obtained_at: datetime
    expires_at: datetime
    fence: int = 0

    def to_text(self) -> str:
        stored = {
            "accessToken": self.access_token,
            "refreshToken": self.refresh_token,
            "scopes": self.scopes,
            "obtainedAt": rfc3339(self.obtained_at),
            "expiresAt": rfc3339(self.expires_at),
            "fence": self.fence,
        }
        return json.dumps(stored, separators=(",", ":"))

    @classmethod
    def of_text(cls, text: str) -> Tokens:
        stored = json.loads(text)
        return cls(
            access_token=stored["accessToken"],
            refresh_token=stored["refreshToken"],
            scopes=tuple(stored["scopes"]),
            obtained_at=datetime.fromisoformat(stored["obtainedAt"]),
            expires_at=datetime.fromisoformat(stored["expiresAt"]),
            fence=stored["fence"],
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """An integration's grant without its tokens: those are in the secret store, in `version` of `secret_name`.

    - `fence` counts the claims of the lease; until `lease_until` only one refresher works on it.
    - `retry_at`: when to try again after `failures` failures in a row.
    - `finished`: what follows an authorization (validation, activation, the event) was done.
    - `destination`: digests of the addresses that its tokens may be sent to; None of one from before they were kept.
    - `withdrawn`: a person began to revoke it. `etag`: the version of the row as it was read."""

    integration_id: UUID
    tenant_id: UUID
    user_id: UUID
    status: GrantStatus
    authorized_at: datetime
    expires_at: datetime
    due_at: datetime
    scopes: tuple[str, ...] = ()
    requested_scopes: tuple[str, ...] = ()
    renewable: bool = True
    secret_name: str = ""
    version: str = ""
    token_fence: int = 0
    fence: int = 0
    lease_until: datetime | None = None
    refreshed_at: datetime | None = None
    retry_at: datetime | None = None
    failures: int = 0
    finished: bool = False
    withdrawn: bool = False
    destination: Mapping[str, str] | None = None
    etag: str = field(default="", compare=False)

    @property
    def missing_scopes(self) -> tuple[str, ...]:
        """Return the scopes asked for and not granted: some servers let people deselect them.

        Those that ask for a refresh token were granted where it came: Microsoft never names `offline_access`."""
        granted = {*self.scopes, *(_RENEWING_SCOPES if self.renewable else ())}
        return tuple(scope for scope in self.requested_scopes if scope not in granted)


@dataclass(frozen=True, slots=True)
class PendingState:
    """An authorization that was begun: by whom, for which integration, and with which PKCE verifier.

    `destination`: as of the integration at that time; what it brings goes nowhere else."""

    tenant_id: UUID
    user_id: UUID
    integration_id: UUID
    verifier: str = field(repr=False)
    browser_hash: str
    expires_at: datetime
    redirect_after: str | None = None
    destination: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Authorization:
    """Where to send the user, and the cookie that ties the callback to the browser that began it."""

    authorize_url: str = field(repr=False)
    expires_at: datetime
    browser_name: str
    browser_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Callback:
    """The parameters of the provider's redirect, with the browser's cookies by name."""

    state: str = field(repr=False)
    code: str = field(repr=False)
    error: str
    cookies: Sequence[tuple[str, str]] = field(default=(), repr=False)


class CompletionStatus(StrEnum):
    Connected = "connected"
    Denied = "denied"
    StateRefused = "state-refused"
    ExchangeFailed = "exchange-failed"
    NotActivated = "not-activated"


@dataclass(frozen=True, slots=True)
class Completion:
    """The result of an authorization, for people. `detail` is safe to show."""

    status: CompletionStatus
    detail: str
    integration: Integration | None = None
    scopes: Sequence[str] = ()
    redirect_after: str | None = None


@dataclass(frozen=True, slots=True)
class OAuthConnection:
    integration: Integration
    grant: Grant | None
    revoked_at_provider: bool | None = None
