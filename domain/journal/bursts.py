"""Bursts: what security forbids, counted while it goes on, by all processes together.

One wrong signature is a typing error, forty within ten minutes are not. A burst is one occurrence, however long it is;
it ends when nothing more of it came for a while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from domain.core.transaction import Transaction


class BurstSource(StrEnum):
    """What is counted: refused incoming webhooks, known bodies under new ids, unknown credentials."""

    Refusals = "refusals"
    SameBodies = "same-bodies"
    UnknownCredentials = "unknown-credentials"


@dataclass(frozen=True, slots=True)
class BurstPolicy:
    """So many are a violation, and a pause so long ends them."""

    least: int
    pause: timedelta


POLICIES = {
    BurstSource.Refusals: BurstPolicy(10, timedelta(minutes=5)),
    # More than ten an hour.
    BurstSource.SameBodies: BurstPolicy(11, timedelta(hours=1)),
    BurstSource.UnknownCredentials: BurstPolicy(40, timedelta(minutes=5)),
}


@dataclass(frozen=True, slots=True)
class Burst:
    """What came of one source about one subject without a long pause.

    - `label` is what people call the subject; `reason` and `source_ip` are those of the last one.
    - `logged_at`: since when the log tells of it; `told_count`: how many its alert told of, None before it did."""

    tenant_id: UUID
    source: BurstSource
    subject: str
    label: str
    started_at: datetime
    last_at: datetime
    count: int
    reason: str = ""
    source_ip: str | None = None
    logged_at: datetime | None = None
    told_count: int | None = None

    @property
    def is_violation(self) -> bool:
        return self.count >= POLICIES[self.source].least

    def is_over(self, now: datetime) -> bool:
        return now - self.last_at >= POLICIES[self.source].pause


class SecurityBursts(Protocol):
    """The bursts that go on, of all tenants."""

    def add(self, burst: Burst) -> None:
        """Count `burst.count` more, or begin. Raises Unavailable when another transaction begins the same one."""

    def has(self, tenant_id: UUID, source: BurstSource, subject: str) -> bool: ...

    def largest(self, limit: int) -> list[Burst]: ...

    def note(self, burst: Burst) -> None:
        """Store what the log and the alert told."""

    def end(self, burst: Burst) -> bool:
        """Remove a burst; return False when more came since it was read."""

    def forget_quiet(self, source: BurstSource, before: datetime) -> None:
        """Remove bursts of which nothing was told and nothing came since `before`."""


class BurstTransaction(Transaction, Protocol):
    """A transaction that may count what security forbids."""

    @property
    def bursts(self) -> SecurityBursts: ...
