"""The users of the service's hubs, the groups they are in, and what was sent to whom."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from domain.core.ports import Clock
from infra.embedded.realtime import Admitted
from infra.embedded.realtime_store import NOTHING_NEW, Message, News

_FOR_EVER = timedelta(days=36_500)
_NEVER = datetime.max.replace(tzinfo=UTC)
"""A token is looked at when its client connects, and never again."""


class Membership(Set[str]):
    """The groups that a user is in at the moment of asking: a connection hears what comes later, too."""

    def __init__(self, state: State, hub: str, user: str) -> None:
        self._state = state
        self._hub = hub
        self._user = user

    def __contains__(self, group: object) -> bool:
        return group in self._now()

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> frozenset[str]:
        return self._state.groups_of(self._hub, self._user)


def everyone(hub: str) -> str:
    """The address of all connections of a hub."""
    return f"{hub}/"


def one_user(hub: str, user: str) -> str:
    """The address of a user's connections, and its name there: hubs share no users."""
    return f"{hub}/user/{user}"


def one_group(hub: str, group: str) -> str:
    """The address of a group's connections."""
    return f"{hub}/group/{group}"


class State:
    """Implements what `devhost.signalr` asks of a source of messages. Thread-safe."""

    def __init__(self, endpoint: str, access_key: str, clock: Clock) -> None:
        self._endpoint = endpoint
        self._access_key = access_key
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[tuple[str, str, str], datetime] = {}
        """Until when a user is in a group, by hub, user and group."""
        self._messages: list[Message] = []
        self._closed: list[str] = []

    # -- for the REST API ---------------------------------------------------------------------------------

    def add(self, hub: str, user: str, group: str, seconds: int | None) -> None:
        """A user need not be connected; without seconds it stays in the group."""
        lasts = _FOR_EVER if seconds is None else timedelta(seconds=seconds)
        with self._lock:
            self._ends[hub, user, group] = self._clock.now() + lasts

    def remove(self, hub: str, user: str, group: str | None) -> None:
        """Out of a group; None: out of all."""
        with self._lock:
            for key in [key for key in self._ends if key[:2] == (hub, user) and group in (key[2], None)]:
                del self._ends[key]

    def send(self, address: str, target: str, arguments: Sequence[Any]) -> None:
        """To the connections at an address."""
        encoded = ",".join(json.dumps(argument, separators=(",", ":")) for argument in arguments)
        with self._lock:
            self._messages.append(Message(address, json.dumps(target)[1:-1], encoded))

    def close(self, hub: str, user: str) -> None:
        """End the user's connections. It may come again: a token is good until it expires."""
        with self._lock:
            self._closed.append(one_user(hub, user))

    def client_token(self, hub: str, user: str, minutes: int) -> str:
        now = self._clock.now()
        claims = {
            "aud": f"{self._endpoint}/client/?hub={hub}",
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=minutes)).timestamp()),
            "nameid": user,
        }
        return jwt.encode(claims, self._access_key, algorithm="HS256")

    def is_signed(self, token: str, audience: str) -> bool:
        """Whether it is a token of the access key for this address, and in its time."""
        return self._claims(token, audience) is not None

    # -- for the clients' side ----------------------------------------------------------------------------

    def admit(self, token: str, hub: str) -> Admitted | None:
        claims = self._claims(token, f"{self._endpoint}/client/?hub={hub}")
        if claims is None:
            return None
        user = str(claims["nameid"])
        return Admitted(one_user(hub, user), Membership(self, hub, user), _NEVER)

    def announce(self, process: str, groups: frozenset[str]) -> None:
        """The service tells nobody who listens."""

    def watch(self) -> Watch:
        return Watch(self)

    def groups_of(self, hub: str, user: str) -> frozenset[str]:
        """The addresses at which a user's connections hear now."""
        now = self._clock.now()
        with self._lock:
            groups = [key[2] for key, end in self._ends.items() if key[:2] == (hub, user) and end > now]
        own = {everyone(hub), one_user(hub, user)}
        return frozenset(own | {one_group(hub, group) for group in groups})

    def published(self, messages: int, closed: int) -> News:
        """What came after so many messages and closings."""
        with self._lock:
            return News(self._messages[messages:], self._closed[closed:])

    def lengths(self) -> tuple[int, int]:
        with self._lock:
            return len(self._messages), len(self._closed)

    def _claims(self, token: str, audience: str) -> dict[str, Any] | None:
        times = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "aud"]}
        try:
            claims = jwt.decode(
                token, self._access_key, algorithms=["HS256"], audience=audience, options=times
            )
        except jwt.PyJWTError:
            return None
        # By the clock of the host that is tested, which a test may have moved.
        now = self._clock.now().timestamp()
        return claims if claims.get("nbf", 0) <= now < claims["exp"] else None


class Watch:
    """A reader of what is new."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._seen = state.lengths()

    def look(self) -> News:
        if self._state.lengths() == self._seen:
            return NOTHING_NEW
        news = self._state.published(*self._seen)
        self._seen = (self._seen[0] + len(news.messages), self._seen[1] + len(news.closed))
        return news

    def end(self) -> None:
        """There is nothing to give back."""
