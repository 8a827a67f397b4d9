"""Ports of authentication."""

from __future__ import annotations

from typing import Protocol

from domain.core.principal import Principal
from domain.journal.occurrences import OccurrenceTransaction
from domain.journal.ports import OutboxTransaction
from domain.monitoring.anomalies.ports import Anomalies, Sightings


class TokenVerifier(Protocol):
    """Turns a bearer token into its principal.

    It does not check permissions, nor whether the issuer revoked the token before it expires."""

    def known(self, token: str) -> Principal | None:
        """Return the principal of a token verified a moment ago; None for any other.

        Never waits, so that an event loop may call it."""

    def verify(self, token: str) -> Principal:
        """Return the principal of `token`, which is the credential alone, without the word `Bearer`.

        Raises Unauthenticated when it does not hold, and Unavailable when the issuer's keys are needed and cannot be
        fetched. Neither error repeats any part of the token."""


class KeyUseTransaction(OutboxTransaction, OccurrenceTransaction, Protocol):
    """The transaction that records a new use of a key, and the anomaly that it is."""

    @property
    def anomalies(self) -> Anomalies: ...
    @property
    def sightings(self) -> Sightings: ...
