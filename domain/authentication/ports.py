"""Ports of authentication."""

from __future__ import annotations

from typing import Protocol

from domain.core.principal import Principal
from domain.core.transaction import Transaction
from domain.core.users import Users
from domain.journal.occurrences import OccurrenceTransaction
from domain.journal.ports import OutboxTransaction
from domain.monitoring.anomalies.ports import Anomalies, Sightings


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


class PrincipalTransaction(Transaction, Protocol):
    """Can remember who was seen."""

    @property
    def users(self) -> Users: ...


class KeyUseTransaction(OutboxTransaction, OccurrenceTransaction, Protocol):
    """What a new use of a key may touch."""

    @property
    def anomalies(self) -> Anomalies: ...
    @property
    def sightings(self) -> Sightings: ...
