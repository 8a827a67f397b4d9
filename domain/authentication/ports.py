"""Ports of authentication."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from domain.core.principal import Principal
from domain.journal.occurrences import OccurrenceTransaction
from domain.journal.ports import OutboxTransaction
from domain.monitoring.anomalies.ports import Anomalies, Sightings


class TokenVerifier(Protocol):
    """Turns a bearer token into its principal; checks neither permissions nor the issuer's revocations."""

    def known(self, token: str) -> Principal | None:
        """Return the principal of a token verified a moment ago, or None. Never waits."""

    def verify(self, token: str) -> Principal:
        """Return the principal of `token`, without the word `Bearer`.

        Raises Unauthenticated, or Unavailable without the issuer's keys; neither repeats the token."""


class KeyUseTransaction(OutboxTransaction, OccurrenceTransaction, Protocol):
    """The transaction that records a new use of a key, and the anomaly that it is."""

    @property
    def anomalies(self) -> Anomalies: ...
    @property
    def sightings(self) -> Sightings: ...


class RequestGate(Protocol):
    """What the platform lets a tenant do, over all of its people and keys."""

    def limits_requests_of(self, tenant_id: UUID) -> bool:
        """Return whether `admit_request` may block for the tenant."""

    def admit_request(self, tenant_id: UUID) -> None:
        """Count a request. Raises RateLimited when the tenant has had all it may have; Unavailable."""
