"""The way messages go to clients that are connected now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from domain.errors import Unavailable
from domain.identity.model import Principal
from domain.realtime.model import Negotiated

Payload = Mapping[str, Any]


class Realtime(Protocol):
    """Messages are a convenience beside the API, not a record: one that is lost is not repeated, and nobody who
    was not connected gets it later."""

    def negotiate(self, principal: Principal) -> Negotiated:
        """Let the caller connect, into the groups its permissions allow. Raises Unavailable."""

    def publish(self, tenant_id: UUID, kind: str, payloads: Sequence[Payload]) -> None:
        """Send one message of `kind`, whose argument is the list of payloads, to the clients of the tenant that
        may hear it. Does not wait for them, and never raises: a failure is logged."""

    def listening(self, tenant_id: UUID, kind: str) -> bool:
        """Whether a message could be heard. Cheap, and in doubt True: it only saves work that nobody sees."""

    def close(self, user: str) -> bool:
        """Close the user's connections, and let none hear with what was negotiated before. Never raises: a failure
        is logged, and False says that some may be open still."""


class Nobody:
    """A Realtime for where nobody can be connected."""

    def negotiate(self, principal: Principal) -> Negotiated:
        """Always raises Unavailable."""
        raise Unavailable("There are no realtime messages here.")

    def publish(self, tenant_id: UUID, kind: str, payloads: Sequence[Payload]) -> None:
        """Nobody hears it."""

    def listening(self, tenant_id: UUID, kind: str) -> bool:
        return False

    def close(self, user: str) -> bool:
        """There is nothing to close."""
        return True


NOBODY = Nobody()
