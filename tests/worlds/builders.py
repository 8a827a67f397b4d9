"""Doubles and builders that tests share. A double here is a small, honest implementation of its port."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection

from domain.core.errors import Unavailable
from domain.core.ports import OutboundError, OutboundResponse, QueueMessage
from domain.core.principal import Principal
from domain.core.realtime import Nobody, Payload
from domain.monitoring.dead_letters import DeadLetter
from infra.app.hub import Hub
from infra.app.settings import Settings
from infra.azure.servicebus.limits import check_size
from infra.outbound.request import OutboundRequest
from infra.sql.engine import DATABASE_FILE, sqlite_database
from infra.sql.migrate import upgrade_embedded

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
TENANT = UUID(int=0xA0)
OTHER_TENANT = UUID(int=0xB0)
USER = UUID(int=0xA1)
OTHER_USER = UUID(int=0xB1)
RECEIVER = "https://receiver.example/hook"


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, at: datetime = START) -> None:
        self._now = at

    def now(self) -> datetime:
        return self._now

    def advance(self, **amount: float) -> datetime:
        self._now += timedelta(**amount)
        return self._now

    def move_to(self, moment: datetime) -> None:
        self._now = max(self._now, moment)


class SequentialIds:
    """1, 2, 3, ... as GUIDs."""

    def __init__(self) -> None:
        self._last = 0

    def new(self) -> UUID:
        self._last += 1
        return UUID(int=self._last)


class PlainCipher:
    """Seals nothing, and still notices a value that was moved to another row."""

    def seal(self, plaintext: str, *, context: str) -> str:
        return json.dumps([context, plaintext])

    def open(self, sealed: str, *, context: str) -> str:
        sealed_for, plaintext = json.loads(sealed)
        if sealed_for != context:
            raise ValueError("sealed for another context")
        return str(plaintext)


class MemoryQueue:
    """Messages become visible at their moment on the given clock. `down` refuses; `losing` accepts and loses. `dead`
    counts the dead letters of each queue, `letters` are dead letters by their numbers."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._messages: dict[str, list[QueueMessage]] = {}
        self.sent: list[tuple[str, QueueMessage]] = []
        self.dead: dict[str, int] = {}
        self.letters: dict[str, dict[int, DeadLetter]] = {}
        self.down = False
        self.losing = False

    def ping(self) -> None:
        if self.down:
            raise Unavailable("The queue does not answer.")

    def dead_letter_counts(self) -> dict[str, int]:
        self.ping()
        return self.dead

    def dead_letters(self, queue: str, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        self.ping()
        numbers = sorted(number for number in self.letters.get(queue, {}) if number > after)
        return [self.letters[queue][number] for number in numbers[:limit]]

    def resend_dead_letters(self, queue: str, sequence_numbers: Collection[int]) -> list[DeadLetter]:
        taken = self.discard_dead_letters(queue, sequence_numbers)
        self.send(queue, [QueueMessage(each.body.decode(), each.message_id) for each in taken])
        return taken

    def discard_dead_letters(self, queue: str, sequence_numbers: Collection[int]) -> list[DeadLetter]:
        self.ping()
        held = self.letters.get(queue, {})
        return [held.pop(number) for number in sorted(sequence_numbers) if number in held]

    def message_counts(self) -> dict[str, dict[str, int]]:
        return {queue: {"dead": count} for queue, count in self.dead_letter_counts().items()}

    def send(self, queue: str, messages: Sequence[QueueMessage]) -> None:
        self.ping()
        for message in messages:
            check_size(message.body.encode(), message.properties)
        if self.losing:
            return
        self.sent += [(queue, message) for message in messages]
        self._messages.setdefault(queue, []).extend(messages)

    def take(self, queue: str) -> list[QueueMessage]:
        """Remove and return what is visible now."""
        now = self._clock.now()
        waiting = self._messages.get(queue, [])
        later = [message for message in waiting if message.scheduled_at and message.scheduled_at > now]
        self._messages[queue] = later
        return [message for message in waiting if message not in later]

    def next_moment(self) -> datetime | None:
        """When the next scheduled message becomes visible."""
        waiting = [message for queue in self._messages.values() for message in queue]
        moments = [message.scheduled_at for message in waiting if message.scheduled_at]
        return min(moments, default=None)


Reply = OutboundResponse | OutboundError
Behaviour = Callable[[OutboundRequest], Reply | Awaitable[Reply]]


def answer(status: int, body: bytes = b"", **headers: str) -> OutboundResponse:
    """A response; header names are given with underscores."""
    return OutboundResponse(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, body, 7
    )


def echo(request: OutboundRequest) -> OutboundResponse:
    """What a well-behaved receiver answers to a verification."""
    return answer(200, json.dumps({"challenge": json.loads(request.body)["data"]["challenge"]}).encode())


class HeardRealtime(Nobody):
    """Realtime messages, kept for the test. Everybody listens while `is_heard`; nothing is closed while `is_away`."""

    def __init__(self) -> None:
        self.is_heard = True
        self.is_away = False
        self.messages: list[tuple[UUID, str, list[Payload]]] = []
        self.closed: list[str] = []

    def publish(self, tenant_id: UUID, kind: str, payloads: Sequence[Payload]) -> None:
        self.messages.append((tenant_id, kind, list(payloads)))

    def listening(self, tenant_id: UUID, kind: str) -> bool:
        return self.is_heard

    def close(self, user: str) -> bool:
        if not self.is_away:
            self.closed.append(user)
        return not self.is_away


class Receivers:
    """The outside world, scripted: per URL the replies to come, then `otherwise`. Verifications are echoed unless
    `verification` says something else."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._script: dict[str, deque[Reply | Behaviour]] = {}
        self.otherwise: Behaviour = lambda request: answer(200)
        self.verification: Behaviour = echo
        self.blocked: set[str] = set()
        self.is_prepared = False
        self.posts: list[tuple[datetime, OutboundRequest]] = []
        self.verifications: list[OutboundRequest] = []

    def script(self, *replies: Reply | Behaviour, url: str = RECEIVER) -> None:
        self._script.setdefault(url, deque()).extend(replies)

    def posts_to(self, url: str = RECEIVER) -> list[OutboundRequest]:
        return [request for _, request in self.posts if request.url == url]

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> OutboundResponse:
        request = OutboundRequest("POST", url, headers, body, timeout_seconds=deadline)
        if b'"type":"webhook.verification"' in request.body:
            self.verifications.append(request)
            return await self._reply(self.verification, request)
        self.posts.append((self._clock.now(), request))
        script = self._script.get(request.url)
        return await self._reply(script.popleft() if script else self.otherwise, request)

    async def prepare(self) -> None:
        self.is_prepared = True

    async def check(self, url: str) -> None:
        if url in self.blocked:
            raise OutboundError("blocked", "The address is not public.")

    async def _reply(self, reply: Reply | Behaviour, request: OutboundRequest) -> OutboundResponse:
        if callable(reply):
            came = reply(request)
            reply = await came if isinstance(came, Awaitable) else came
        if isinstance(reply, OutboundError):
            raise reply
        return reply


class Hanging:
    """A receiver that answers once it is let go; each post in flight waits."""

    def __init__(self, reply: Reply | None = None) -> None:
        self._go = asyncio.Event()
        self._arrival = asyncio.Condition()
        self._reply = reply or answer(200)
        self.arrived = 0

    async def __call__(self, request: OutboundRequest) -> Reply:
        async with self._arrival:
            self.arrived += 1
            self._arrival.notify_all()
        await self._go.wait()
        return self._reply

    async def reached_by(self, posts: int = 1) -> None:
        """Wait until so many posts have arrived."""
        async with self._arrival:
            await asyncio.wait_for(self._arrival.wait_for(lambda: self.arrived >= posts), timeout=10)

    def let_go(self) -> None:
        self._go.set()


@cache
def _settings(**changes: object) -> Settings:
    return Settings(home=Path(), **changes)  # type: ignore[arg-type]


def settings_at(home: Path, **changes: object) -> Settings:
    """Settings of a world under `home`: reading them from the environment, 2 ms, is done once for equal changes.

    Usage is stored when it is read, and people are not limited: nothing else writes while a test looks."""
    quiet = {"usage_store_seconds": 0, "user_rate_limit_per_hour": 0}
    return _settings(**{**quiet, **changes}).model_copy(update={"home": home})


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as home:
        upgrade_embedded(Path(home))
        return (Path(home) / DATABASE_FILE).read_bytes()


def new_database(home: Path) -> None:
    """A migrated, empty database under `home`; the migration itself runs once a test session."""
    home.mkdir(parents=True, exist_ok=True)
    (home / DATABASE_FILE).write_bytes(_empty_database())


class FlakyDatabase:
    """The database under `home`, which can be told to be down."""

    def __init__(self, home: Path) -> None:
        self._inner = sqlite_database(home / DATABASE_FILE, pool_size=4)
        self.down = False

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self.ping()
        with self._inner.write() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        self.ping()
        with self._inner.read() as connection:
            yield connection

    def ping(self) -> None:
        if self.down:
            raise Unavailable("The database does not answer; try again shortly.")

    def close(self) -> None:
        self._inner.close()


def see_users(hub: Hub, *principals: Principal) -> None:
    """Store the users, as their first requests do."""
    with hub.transactions.write() as tx:
        for principal in principals:
            tx.users.see(principal.tenant_id, principal.user_id, "A User", hub.clock.now())
        tx.commit()
