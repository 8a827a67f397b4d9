"""Realtime messages: their kinds, and who may hear which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.permissions import ALERTS_READ, INTEGRATION_MANAGE, WEBHOOK_MANAGE
from domain.core.principal import Principal

HUB: Final = "integration-hub"

SYNC_PROGRESS: Final = "syncProgress"
INTEGRATION_HEALTH: Final = "integrationHealth"
DELIVERY_UPDATED: Final = "deliveryUpdated"
ALERT_CHANGED: Final = "alertChanged"

#: Each kind of message, and the permission that hearing it takes.
KINDS: Mapping[str, str] = {
    SYNC_PROGRESS: INTEGRATION_MANAGE,
    INTEGRATION_HEALTH: INTEGRATION_MANAGE,
    DELIVERY_UPDATED: WEBHOOK_MANAGE,
    ALERT_CHANGED: ALERTS_READ,
}

#: How long a negotiated connection lasts at most. Permissions are looked at when it is negotiated, so this is also
#: how long a permission that was taken away may still be heard with.
LIFETIME: Final = timedelta(hours=1)
_SHORTEST: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Negotiated:
    """Where a client connects, and the token that lets it in. It is to negotiate again before `expires_at`."""

    url: str
    access_token: str = field(repr=False)
    expires_at: datetime


def group_of(tenant_id: UUID, kind: str) -> str:
    return f"{tenant_id}.{kind}"


def groups_of(principal: Principal) -> list[str]:
    """Return the groups that the caller's permissions let it into, all of its own tenant."""
    heard = [kind for kind, permission in KINDS.items() if permission in principal.permissions]
    return [group_of(principal.tenant_id, kind) for kind in heard]


def lifetime_of(principal: Principal, now: datetime) -> timedelta:
    """Return how long a connection negotiated now lasts, in whole seconds; no longer than its token or key."""
    if principal.expires_at is None:
        return LIFETIME
    left = timedelta(seconds=int((principal.expires_at - now).total_seconds()))
    return max(_SHORTEST, min(LIFETIME, left))


def user_of(principal: Principal) -> str:
    """Return the name of the caller's connections, which all end together.

    A user's has the tenant in it, where the same person is someone else, and the moment its token ends."""
    if principal.api_key_id is not None:
        return key_user(principal.api_key_id)
    name = f"user:{principal.tenant_id}:{principal.user_id}"
    return name if principal.expires_at is None else f"{name}:{principal.expires_at.timestamp():.0f}"


def key_user(api_key_id: UUID) -> str:
    return f"key:{api_key_id}"


Payload = Mapping[str, Any]


class Realtime(Protocol):
    """Sends messages, which are a convenience and no record: one that is lost or not heard is not repeated."""

    def negotiate(self, principal: Principal) -> Negotiated:
        """Let the caller connect, into the groups its permissions allow. Raises Unavailable."""

    def publish(self, tenant_id: UUID, kind: str, payloads: Sequence[Payload]) -> None:
        """Send the payloads as one message of `kind` to the tenant's clients that may hear it.

        Does not wait for them, and never raises: a failure is logged."""

    def listening(self, tenant_id: UUID, kind: str) -> bool:
        """Tell whether a client could hear a message. Cheap, and in doubt True: it only saves work that nobody sees."""

    def close(self, user: str) -> bool:
        """Close the user's connections for good. Never raises: a failure is logged, and False says some may be open."""


class Nobody:
    """The Realtime of a process to which nobody can connect."""

    def negotiate(self, principal: Principal) -> Negotiated:
        raise Unavailable("There are no realtime messages here.")

    def publish(self, tenant_id: UUID, kind: str, payloads: Sequence[Payload]) -> None:
        pass

    def listening(self, tenant_id: UUID, kind: str) -> bool:
        return False

    def close(self, user: str) -> bool:
        return True


NOBODY = Nobody()
