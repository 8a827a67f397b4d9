"""How a provider is authorised by OAuth; apart, because whoever refreshes tokens needs nothing else of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class OAuthProfile:
    """An OAuth 2 authorization server (RFC 6749, PKCE RFC 7636). URLs may hold `{name}` of configuration fields.

    `revoked_errors` are the error codes of the token endpoint that mean the grant was revoked."""

    authorize_url: str
    token_url: str
    scopes: Sequence[str]
    extra_authorize_parameters: Mapping[str, str] = field(default_factory=dict)
    client_authentication: Literal["body", "basic"] = "body"
    revoked_errors: frozenset[str] = frozenset({"invalid_grant"})
    #: What the server may put before a scope's name in an answer, such as the address of the API that it belongs to.
    scope_prefixes: Sequence[str] = ()
    #: Where a token is revoked (RFC 7009), with the same `{name}`s.
    revoke_url: str | None = None
    #: The configuration property (as in JSON) that, when set, makes the authorisation unnecessary, such as a private
    #: app's own token.
    stand_in_field: str | None = None
