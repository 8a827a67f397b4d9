"""How a tenant stands with the platform: its limits, and whether it is suspended or deleted.

Apart from `domain/tenants`, which changes it: authentication, deliveries and syncs ask for it on every floor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from threading import Lock
from typing import Protocol
from uuid import UUID

from domain.core.errors import Forbidden, Unavailable
from domain.core.ports import Clock
from domain.core.transaction import Transaction, Transactions

logger = logging.getLogger("hub.tenants")

#: How long a process may not have heard of a suspension.
KEPT = timedelta(seconds=5)


class TenantState(StrEnum):
    Active = "Active"
    Suspended = "Suspended"
    Deleting = "Deleting"
    Deleted = "Deleted"


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What the platform grants a tenant; None is the limit of the installation's settings, or none at all.

    `requests_per_hour` and `events_per_hour` count the last 60 minutes, over all people and keys of the tenant."""

    webhooks: int | None = None
    api_keys: int | None = None
    integrations: int | None = None
    requests_per_hour: int | None = None
    events_per_hour: int | None = None


NO_LIMITS = TenantLimits()


@dataclass(frozen=True, slots=True)
class TenantStanding:
    """A tenant as the platform sees it.

    - `suspended_at`, `reason`: since when and why nothing is done for it; also of a tenant that is deleted.
    - `restoring_since`: the `suspended_at` of a suspension that is over, until its deliveries have their time back;
      `resumed_at`: when it ended.
    - `deletion_requested_at`, `deleted_at`: its end."""

    tenant_id: UUID
    limits: TenantLimits = NO_LIMITS
    suspended_at: datetime | None = None
    reason: str | None = None
    restoring_since: datetime | None = None
    resumed_at: datetime | None = None
    deletion_requested_at: datetime | None = None
    deletion_requested_by: UUID | None = None
    deleted_at: datetime | None = None
    version: int = field(default=0, compare=False)

    @property
    def state(self) -> TenantState:
        if self.deleted_at is not None:
            return TenantState.Deleted
        if self.deletion_requested_at is not None:
            return TenantState.Deleting
        return TenantState.Active if self.suspended_at is None else TenantState.Suspended

    @property
    def is_suspended(self) -> bool:
        return self.suspended_at is not None


class Standings(Protocol):
    """The standings of tenants; those that nobody ever changed have no row."""

    def of(self, tenant_id: UUID) -> TenantStanding:
        """Return the standing, that of an ordinary tenant where there is no row."""

    def all(self) -> Sequence[TenantStanding]:
        """Return every standing that has a row."""

    def save(self, standing: TenantStanding) -> TenantStanding:
        """Store it and return it under its next version. Raises PreconditionFailed when it is another by now."""


class StandingTransaction(Transaction, Protocol):
    """A transaction that may ask how a tenant stands."""

    @property
    def standings(self) -> Standings: ...


class KnownStandings:
    """The standings as this process knows them, read anew after `KEPT`. Thread-safe."""

    def __init__(self, transactions: Transactions[StandingTransaction], clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        self._lock = Lock()
        self._standings: dict[UUID, TenantStanding] = {}
        self._read_at: datetime | None = None

    def of(self, tenant_id: UUID) -> TenantStanding:
        """Return the standing of a tenant. Blocks while `is_stale`. Raises Unavailable if none was ever read."""
        if self.is_stale:
            self._read()
        return self._standings.get(tenant_id) or TenantStanding(tenant_id)

    @property
    def is_stale(self) -> bool:
        """Whether the next look blocks for the database."""
        return self._read_at is None or abs(self._clock.now() - self._read_at) >= KEPT

    def forget(self) -> None:
        """Read them anew at the next look: this process changed one."""
        self._read_at = None

    def _read(self) -> None:
        with self._lock:
            if not self.is_stale:
                return
            now = self._clock.now()
            try:
                with self._transactions.read() as tx:
                    found = tx.standings.all()
            except Unavailable:
                # A tenant that was not suspended a moment ago need not wait for the database.
                if self._read_at is None:
                    raise
                logger.warning("standings not read; the last ones count")
            else:
                self._standings = {standing.tenant_id: standing for standing in found}
            self._read_at = now


def refusal_of(standing: TenantStanding) -> Forbidden | None:
    """Return why calls of a tenant are refused, or None."""
    match standing.state:
        case TenantState.Active:
            return None
        case TenantState.Suspended:
            detail = "The tenant is suspended: its calls are refused, its deliveries and syncs wait."
            return Forbidden(detail, code="tenant-suspended")
        case _:
            return Forbidden("The tenant was deleted from this platform.", code="tenant-deleted")
