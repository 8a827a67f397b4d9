"""Where webhooks and deliveries are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.core.tenants import StandingTransaction
from domain.core.transaction import UserTransaction
from domain.journal.audit import AuditTransaction
from domain.journal.events import DomainEvent
from domain.journal.ports import EventRef, OutboxTransaction
from domain.journal.signals import SignalTransaction
from domain.webhooks.loops import Delivered, LoopBrake
from domain.webhooks.model import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Ordering,
    RetryPolicy,
    Webhook,
    WebhookState,
)


class Webhooks(Protocol):
    """One tenant's webhooks. Every method raises NotFound for an id of another tenant as for an unknown one."""

    def count(self, tenant_id: UUID) -> int: ...

    def add(self, tenant_id: UUID, webhook: Webhook) -> None: ...

    def get(self, tenant_id: UUID, webhook_id: UUID) -> Webhook: ...

    def page(self, tenant_id: UUID, filter_: WebhookFilter, page: PageRequest) -> Page[Webhook]: ...

    def update(self, tenant_id: UUID, webhook: Webhook) -> None:
        """Replace the webhook if `webhook.version` is still current, and increment it. Raises PreconditionFailed."""

    def delete(self, tenant_id: UUID, webhook_id: UUID) -> None:
        """Remove the webhook with its subscriptions, deliveries and attempts."""

    def integration_exists(self, tenant_id: UUID, integration_id: UUID) -> bool: ...


@dataclass(frozen=True, slots=True)
class WebhookFilter:
    state: WebhookState | None = None
    event_type: str | None = None
    integration_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    statuses: Sequence[DeliveryStatus] = ()
    event_types: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    is_held: bool | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """What activating a webhook did: deliveries on their way now, and held ones that expired and wait for a replay."""

    sent: int = 0
    waiting_for_replay: int = 0


#: A delivery to be queued: (webhook id, delivery id, payload bytes).
Due = tuple[UUID, UUID, int]


@dataclass(frozen=True, slots=True)
class Restarted:
    """What a reset did: how many deliveries it changed, and which of them are due. The others wait for their turn."""

    changed: int = 0
    due: Sequence[Due] = ()


class Deliveries(Protocol):
    def page(
        self, tenant_id: UUID, webhook_id: UUID, filter_: DeliveryFilter, page: PageRequest
    ) -> Page[Delivery]: ...

    def get(self, tenant_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Return a delivery with its payload and attempts. Raises NotFound."""

    def reset(
        self,
        tenant_id: UUID,
        delivery_ids: Sequence[UUID],
        *,
        ordering: Ordering,
        now: datetime,
        expires_at: datetime,
        requeue_at: datetime,
    ) -> Restarted:
        """Make ended or waiting deliveries of a webhook Pending with fresh retries.

        Where its `ordering` is by subject, each takes its place in the line of its subject."""

    def find(self, tenant_id: UUID, webhook_id: UUID, filter_: DeliveryFilter, limit: int) -> list[UUID]: ...

    def release_held(self, tenant_id: UUID, webhook_id: UUID, *, now: datetime) -> Released:
        """Release held deliveries that have not expired, due at once or in their turn; count those that have."""

    def line_up(self, tenant_id: UUID, webhook_id: UUID, *, now: datetime) -> None:
        """Put what has not ended into the lines of its subjects. What is being sent goes on; the first are due."""

    def dissolve_lines(self, tenant_id: UUID, webhook_id: UUID, *, now: datetime) -> None:
        """Take what has not ended out of its lines: whatever waited for its turn is due."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    webhook_id: UUID
    tenant_id: UUID
    event_type: str
    holds: bool
    integration_id: UUID | None = None
    ordering: Ordering = "none"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to be stored; with a `line` it takes the place there that its event's `sequence` gives it."""

    webhook_delivery_id: UUID
    webhook_id: UUID
    event: DomainEvent
    is_held: bool
    is_test: bool = False
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Fanned:
    """What a fan-out stored: the new deliveries that are not held, and what of a webhook's is due."""

    new: Sequence[NewDelivery] = ()
    due: Sequence[Due] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What an attempt needs to know of its webhook; `secrets` are the opened ones, set only where it signs."""

    webhook_id: UUID
    tenant_id: UUID
    url: str
    sealed_secrets: Sequence[str]
    state: WebhookState
    retry_policy: RetryPolicy
    timeout_seconds: int
    rate_limit_per_second: int | None
    secrets: Sequence[str] = field(default=(), repr=False)
    retry_history: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery this process may attempt until its lease runs out; one that `is_test` counts nowhere."""

    webhook_delivery_id: UUID
    endpoint: Endpoint
    event: DomainEvent
    attempt_number: int
    retries_used: int
    expires_at: datetime
    lease_id: UUID
    is_test: bool = False


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """One attempt's record and what follows; `traceparent`: what the receiver was sent; `outage`: it was away."""

    claimed: ClaimedDelivery
    attempt: Attempt
    delivery_status: DeliveryStatus
    retries_used: int
    next_retry_at: datetime | None = None
    gone: bool = False
    traceparent: str | None = None
    outage: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """The results whose lease still held, and the deliveries whose turn came by them, which are due."""

    kept: Sequence[AttemptResult] = ()
    due: Sequence[Due] = ()


@dataclass(frozen=True, slots=True)
class EndpointTally:
    """An endpoint's share of a batch of results.

    - `learns`: its `outages` (attempts that met one) are learned from.
    - `real_failures`: those after the last success of the batch that speak for disabling it.
    - `streak`: attempts that succeeded since the last one that failed; `broken`: whether one failed. Deliveries of
      alerts count in neither, so that an alert never recovers by its own messages."""

    webhook_id: UUID
    delivered: int = 0
    learns: bool = False
    failed_for_good: int = 0
    attempts_failed: int = 0
    real_failures: int = 0
    outages: int = 0
    streak: int = 0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """Counters of an endpoint after a tally, to decide on disabling it."""

    webhook_id: UUID
    tenant_id: UUID
    url: str
    consecutive_failures: int
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class ExpiredDelivery:
    """`is_about_delivery`: of an event that the hub raised about another delivery."""

    webhook_delivery_id: UUID
    webhook_id: UUID
    tenant_id: UUID
    is_about_delivery: bool
    attempt_count: int
    was_held: bool
    is_test: bool = False


@dataclass(frozen=True, slots=True)
class Requeued:
    """What one pass of the retry processor found; `due` includes those whose turn came by an expiry."""

    due: Sequence[Due] = ()
    interrupted: int = 0
    expired: Sequence[ExpiredDelivery] = ()


class DeliveryPipeline(Protocol):
    """The product's own view of all tenants' deliveries: fan-out, claims, results, sweeps; in batches."""

    def subscribers(self, wanted: Sequence[tuple[UUID, str]]) -> list[Subscriber]:
        """Return the webhooks subscribed to any (tenant id, subscription name), without those never verified."""

    def add_deliveries(
        self, deliveries: Sequence[NewDelivery], *, now: datetime, expires_at: datetime, requeue_at: datetime
    ) -> Fanned:
        """Insert deliveries. A repeat of (event, webhook) inserts nothing.

        Those with a line wait there, and the first of a line is due unless another has the turn."""

    def endpoints(self, webhook_ids: Sequence[UUID], now: datetime) -> list[Endpoint]: ...

    def claim(
        self,
        wanted: Sequence[tuple[Endpoint, Sequence[UUID]]],
        *,
        lease_id: UUID,
        now: datetime,
        margin_seconds: int,
    ) -> list[ClaimedDelivery]:
        """Move deliveries that are Pending or due Retrying to Sending under one lease, and return them.

        Others, and those that wait for their turn, are left alone. The lease of each lasts for its endpoint's timeout
        plus the margin."""

    def hold(self, webhook_ids: Sequence[UUID], delivery_ids: Sequence[UUID]) -> None:
        """Hold deliveries of these webhooks, and whatever waits there for its turn."""

    def park(self, delivery_ids: Sequence[UUID], until: datetime) -> None:
        """Have the retry processor leave deliveries that wait to be sent alone until then, or until they expire."""

    def record(self, results: Sequence[AttemptResult], *, now: datetime, requeue_at: datetime) -> Recorded:
        """Write attempts and next states; a result whose lease is lost changes nothing.

        One that has ended leaves its line, and the next has the turn; it is looked at again at `requeue_at`."""

    def tally(self, tallies: Sequence[EndpointTally], now: datetime) -> list[EndpointHealth]:
        """Add to the webhooks' counters and return their health, with one update for each webhook."""

    def disable(self, webhook_id: UUID, reason: str) -> bool:
        """Disable a webhook; return False when it was not active any more."""

    def release_stranded(self, now: datetime) -> int:
        """Release deliveries that are held although their webhook is active; return how many.

        On SQL Server a fan-out and an activation at the same time do not see what the other stores."""

    def stranded_lines(self, now: datetime, limit: int) -> list[UUID]:
        """Return the first delivery of up to `limit` lines in which all wait and nobody has the turn.

        It happens when a process of an earlier version, which knows no lines, ends a delivery."""

    def give_turns(self, delivery_ids: Sequence[UUID], *, now: datetime, requeue_at: datetime) -> list[Due]:
        """Give the turn in the lines of these deliveries to the first, where nobody has it; return what is due."""

    def requeue_due(self, *, now: datetime, again_at: datetime, limit: int) -> Requeued:
        """Expire old deliveries, record interrupted attempts of lapsed leases, and return what is to be queued again.

        Each delivery returned is looked at again at `again_at`."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` ended deliveries scheduled before `cutoff`, with their attempts; return how many."""


class Loops(Protocol):
    """Echoes among events, and the brakes that hold them. A held event counts as fanned out, without deliveries."""

    def delivered(
        self, tenant_id: UUID, digests: Collection[int], event_ids: Collection[str], *, since: datetime
    ) -> Mapping[int | str, Sequence[Delivered]]:
        """Return, by mark, what was fanned out to webhooks of events stored after `since`; nothing of what is held."""

    def going_round(self, tenant_id: UUID, since: datetime) -> Counter[str]:
        """Return how many events of each type with 8 laps or more were fanned out or held since then."""

    def note_laps(self, laps: Mapping[EventRef, int]) -> None: ...

    def hold(self, refs: Collection[EventRef], at: datetime) -> None: ...

    def of_types(self, tenant_id: UUID, event_types: Collection[str]) -> dict[str, LoopBrake]:
        """Return the brakes of these types by type, and those of the tenant that let an event pass to see more."""

    def get(self, tenant_id: UUID, loop_brake_id: UUID) -> LoopBrake:
        """Return a brake. Raises NotFound."""

    def save(self, brake: LoopBrake) -> None:
        """Store a brake, new or not."""

    def page(self, tenant_id: UUID, page: PageRequest) -> Page[LoopBrake]:
        """Return the brakes with how many events each holds: those that hold first, then the latest."""

    def unsettled(self) -> list[LoopBrake]:
        """Return the brakes of all tenants that wait for a decision, and released ones whose events are still held."""

    def let_one_pass(self, brake: LoopBrake, now: datetime) -> tuple[LoopBrake, list[EventRef]]:
        """Let the first event held be fanned out again; return the brake, which names it, and the event."""

    def let_go(self, tenant_id: UUID, event_type: str, now: datetime, limit: int) -> list[EventRef]:
        """Let up to `limit` events held be fanned out again, and be taken for echoes no more; return them."""

    def discard(self, tenant_id: UUID, event_type: str) -> None:
        """Leave the events held without deliveries for good."""


class PipelineTransaction(OutboxTransaction, AuditTransaction, SignalTransaction, Protocol):
    """The transaction of one step of the delivery pipeline, which sees all tenants."""

    @property
    def pipeline(self) -> DeliveryPipeline: ...
    @property
    def loops(self) -> Loops: ...


class LoopTransaction(AuditTransaction, Protocol):
    """The transaction of a brake's next state."""

    @property
    def loops(self) -> Loops: ...


class WebhookTransaction(AuditTransaction, UserTransaction, StandingTransaction, Protocol):
    """The transaction of a change of a webhook, which may release its held deliveries; the limit locks the tenant."""

    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def deliveries(self) -> Deliveries: ...


class DeliveryTransaction(OutboxTransaction, AuditTransaction, Protocol):
    """The transaction of a look at deliveries, of their retry or replay, and of a test, which enters the pipeline."""

    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def pipeline(self) -> DeliveryPipeline: ...
