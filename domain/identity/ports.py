"""Ports of authentication."""

from __future__ import annotations

from typing import Protocol

from domain.identity.model import Principal


class TokenVerifier(Protocol):
    """Turns a bearer token into the principal it stands for.

    It does not check permissions, nor whether the token was revoked by its issuer before it expires.
    """

    def known(self, token: str) -> Principal | None:
        """The principal of a token verified a moment ago; None for any other. Never waits for anything, so that
        an event loop may ask."""

    def verify(self, token: str) -> Principal:
        """`token` is the credential alone, without the word `Bearer`.

        Raises Unauthenticated when it does not hold, and Unavailable when the issuer's keys are needed
        and cannot be fetched. Neither error repeats any part of the token."""
