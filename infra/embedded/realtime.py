"""Realtime messages without Azure SignalR Service: between the processes that share one state directory."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import jwt

from domain.core.errors import Unavailable
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.realtime import HUB, Negotiated, Payload, group_of, groups_of, lifetime_of, user_of
from infra.embedded.realtime_store import RealtimeStore, Watch

logger = logging.getLogger("hub.realtime")

REALTIME_FILE: Final = "realtime.db"
CLIENT_PATH: Final = "/client/"
GROUPS_KEPT_SECONDS = 0.02
#: A negotiation that was under way when its user was closed may end this much later.
_CLOSING_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Admitted:
    """What a valid access token says."""

    user: str
    groups: Set[str]
    expires_at: datetime


class EmbeddedRealtime:
    """Implements Realtime, and what the host that holds the connections needs besides. Thread-safe."""

    def __init__(self, home: Path, public_url: str, clock: Clock) -> None:
        self._store = RealtimeStore(home / REALTIME_FILE)
        self._url = f"{public_url.rstrip('/')}{CLIENT_PATH}?hub={HUB}"
        self._clock = clock
        self._groups: frozenset[str] = frozenset()
        self._groups_at = float("-inf")

    def negotiate(self, principal: Principal) -> Negotiated:
        """As the port says. The token is good for every address of the host: only its hub is checked."""
        now = self._clock.now()
        expires_at = (now + lifetime_of(principal, now)).replace(microsecond=0)
        claims = {
            "aud": HUB,
            "iat": int(now.timestamp()),
            "exp": int(expires_at.timestamp()),
            "sub": user_of(principal),
            "groups": groups_of(principal),
        }
        token = jwt.encode(claims, self._store.signing_key(), algorithm="HS256")
        return Negotiated(self._url, token, expires_at)

    def publish(self, tenant_id: UUID, kind: str, payloads: Sequence[Payload]) -> None:
        try:
            self._store.add(group_of(tenant_id, kind), kind, payloads)
        except Unavailable as error:
            logger.warning("realtime message lost", extra={"kind": kind, "reason": error.detail})

    def listening(self, tenant_id: UUID, kind: str) -> bool:
        """Return True from 20 ms after the first client of the tenant connected."""
        moment = time.monotonic()
        if moment - self._groups_at > GROUPS_KEPT_SECONDS:
            try:
                self._groups = self._store.groups()
            except Unavailable as error:
                logger.warning("realtime listeners unknown", extra={"reason": error.detail})
                self._groups = frozenset()
            self._groups_at = moment
        return group_of(tenant_id, kind) in self._groups

    def close(self, user: str) -> bool:
        try:
            self._store.close_user(user, self._clock.now().timestamp())
        except Unavailable as error:
            logger.error("realtime connections not closed", extra={"user": user, "reason": error.detail})
            return False
        return True

    # -- for the host -------------------------------------------------------------------------------------

    def admit(self, token: str, hub: str) -> Admitted | None:
        """Return who comes with this token, or None when it is not good for a connection.

        It is not good when it is not ours, has expired, is for another hub, or its user's connections were closed
        since. Raises Unavailable."""
        try:
            claims = jwt.decode(
                token,
                self._store.signing_key(),
                algorithms=["HS256"],
                audience=hub,
                # Against the hub's clock, which a developer may have moved.
                options={
                    "verify_exp": False,
                    "verify_iat": False,
                    "require": ["exp", "iat", "aud", "sub"],
                },
            )
        except jwt.PyJWTError:
            return None
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        user = str(claims["sub"])
        closed_at = self._store.closed_at(user)
        if expires_at <= self._clock.now() or (
            closed_at is not None and claims["iat"] <= closed_at + _CLOSING_SECONDS
        ):
            return None
        return Admitted(user, frozenset(claims["groups"]), expires_at)

    def announce(self, process: str, groups: frozenset[str]) -> None:
        """As the store says. Raises Unavailable."""
        self._store.announce(process, groups)

    def watch(self) -> Watch:
        """Follow what is published from now on. Raises Unavailable."""
        return self._store.watch()

    def shut(self) -> None:
        """Close the file."""
        self._store.close()
