"""Ports shared by every capability. Each has two adapters in `infra/`: embedded, and the Azure SDK's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

TableValue = str | int | float | bool | bytes | datetime


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the current moment, timezone-aware, in UTC."""


class IdGenerator(Protocol):
    def new(self) -> UUID:
        """Return a fresh id. Ids sort roughly by creation (UUID version 7, RFC 9562), which keeps indexes compact."""


class Cipher(Protocol):
    """Authenticated encryption of small values (AES-256-GCM; every data key still in the secret store opens)."""

    def seal(self, plaintext: str, *, context: str) -> str:
        """Encrypt a value. It opens only in the same `context` (such as its row's id), which is not stored with it."""

    def open(self, sealed: str, *, context: str) -> str:
        """Decrypt a value. Raises ValueError when it was altered, or sealed in another context."""


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message to send. `body` is text of at most 256 KB with its properties (Service Bus Standard).

    Without a `message_id` it gets a new one; only with an empty one it is sent without, as others may send theirs."""

    body: str
    message_id: str | None = None
    scheduled_at: datetime | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


class QueueSender(Protocol):
    def send(self, queue: str, messages: Sequence[QueueMessage]) -> None:
        """Hand all messages to the queue; one with `scheduled_at` becomes visible at that moment.

        Raises Unavailable when any could not be handed over; some may have been (receivers are idempotent)."""


@dataclass(frozen=True, slots=True)
class TableEntity:
    """A row of a table store. `etag` changes with every write."""

    partition_key: str
    row_key: str
    properties: Mapping[str, TableValue]
    etag: str = ""


class EntityExists(Exception):
    """An insert found the key taken."""


class EtagMismatch(Exception):
    """The entity changed, or vanished, since it was read."""


@dataclass(frozen=True, slots=True)
class TableWrite:
    """One operation of a transaction. `etag` makes replace and delete conditional."""

    kind: Literal["insert", "upsert", "replace", "delete"]
    entity: TableEntity
    etag: str | None = None


class TableStore(Protocol):
    """Azure Tables' model: (partition, row) keys, optimistic concurrency by ETag, one-partition transactions.

    Keys must not contain `/ \\ # ?` or control characters. Every method raises Unavailable when the store cannot be
    reached. Properties are str, int (64-bit), float, bool, bytes (<= 64 KiB) or datetime."""

    def get(self, table: str, partition_key: str, row_key: str) -> TableEntity | None: ...

    def insert(self, table: str, entity: TableEntity) -> str:
        """Insert an entity; return its ETag. Raises EntityExists."""

    def replace(self, table: str, entity: TableEntity, *, etag: str) -> str:
        """Replace all properties if the ETag still holds; return the new one. Raises EtagMismatch."""

    def upsert(self, table: str, entity: TableEntity) -> str:
        """Insert or replace, unconditionally; return the new ETag."""

    def delete(self, table: str, partition_key: str, row_key: str, *, etag: str | None = None) -> bool:
        """Delete an entity; return False when there was none. Raises EtagMismatch when an ETag is given and differs."""

    def query(
        self,
        table: str,
        partition_key: str | None = None,
        *,
        row_key_from: str = "",
        row_key_to: str | None = None,
        limit: int = 1000,
    ) -> list[TableEntity]:
        """Return at most `limit` entities of one partition or of all, in key order; `row_key_to` is exclusive."""

    def transact(self, table: str, writes: Sequence[TableWrite]) -> None:
        """Up to 100 writes in one partition, all or none. Raises EntityExists or EtagMismatch."""


class SecretStore(Protocol):
    """Key Vault's model: named, versioned strings. Names match ^[0-9a-zA-Z-]{1,127}$.

    Every method raises Unavailable when the store cannot be reached. Values never appear in a log or error."""

    def get(self, name: str, version: str | None = None) -> str | None:
        """Return the value of the latest (or the given) version, None when there is none."""

    def set(self, name: str, value: str) -> str:
        """Add a version; return its id."""

    def delete(self, name: str) -> bool:
        """Remove all versions for good (purged where soft-delete is on); return False when there was none."""

    def names(self, prefix: str = "") -> list[str]:
        """Return the names that start with `prefix`, sorted."""


OutboundFailure = Literal["timeout", "connect", "tls", "blocked", "protocol"]


@dataclass(frozen=True, slots=True)
class OutboundResponse:
    """An answer: its status, and what came with it. Header names are in lower case.

    - `body` is without its content coding, cut at the limits of the call.
    - `flaw` says what was wrong with the answer around its status; `whole` is false when part of the body is missing,
      `is_cut` true when there was more of it beyond the limits.
    - `request_headers` are those that were sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_ms: int
    flaw: str | None = None
    whole: bool = True
    request_headers: Mapping[str, str] = field(default_factory=dict)
    is_cut: bool = False


class OutboundError(Exception):
    """No HTTP answer came. `kind` says why; the text is safe to show and names no internal address."""

    def __init__(self, kind: OutboundFailure, detail: str, duration_ms: int = 0) -> None:
        super().__init__(detail)
        self.kind: OutboundFailure = kind
        self.detail = detail
        self.duration_ms = duration_ms


class OutboundHttp(Protocol):
    """The only way to the tenants' addresses. No redirect is followed; an address that is not public is refused."""

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> OutboundResponse:
        """Post once and return the answer. Raises OutboundError when no status line came.

        `deadline`: seconds for everything, from the name lookup to the answer's last byte. A body that does not come
        within 2 s of its status is given up; at most 64 KiB of it are read, and 4 KiB undone if it is compressed. A
        kept connection that broke before any byte of the answer is replaced at once, and the post sent again."""

    async def prepare(self) -> None:
        """Load what the first post needs, so that its time is not spent on that. Harmless to repeat."""

    async def check(self, url: str) -> None:
        """Resolve the host and apply the address guard. Raises OutboundError (`blocked`, `connect`: unresolved)."""
