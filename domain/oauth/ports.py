"""How a token endpoint is reached, and what happens when a grant was revoked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from domain.integrations.model import Integration


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A form to post to a token or revocation endpoint; `secrets` appear in no text that comes back.

    `basic`: client id and secret where they go into the Authorization header (RFC 6749 section 2.3.1)."""

    url: str
    form: Mapping[str, str] = field(repr=False)
    account: str
    tenant: str
    basic: tuple[str, str] | None = field(default=None, repr=False)
    secrets: Sequence[str] = field(default=(), repr=False)
    allow_tls_1_2: bool = False


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """The server's answer: its JSON object (empty when it sent none), and one sentence that is safe to show."""

    status: int
    body: Mapping[str, Any] = field(repr=False)
    detail: str
    retry_after_seconds: float | None = None


class TokenEndpoint(Protocol):
    def post(self, request: TokenRequest) -> TokenResponse:
        """Post the form; block for at most 30 s: not for an event loop.

        Repeats the request only when nothing was sent or the server answered 429: a second refresh with a rotated
        token would cost the grant. Raises ProviderFailure (`unavailable`, `rate_limited`) when no answer came."""


#: Suspends the integration and alerts, because the provider revoked the grant; the text says why.
GrantLost = Callable[[Integration, str], object]
