"""Webhook subscriptions, deliveries and attempts (sections 2.3 and 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from domain.core.json_text import JsonText, cut_members, read_kept
from domain.core.text_length import TextConstraints
from domain.core.wire import Command, UtcMoment
from domain.journal.event_types import HubEvent
from domain.journal.events import EventType

#: Types of events the hub raises about deliveries. They reach only webhooks that name them, never by wildcard,
#: and a delivery of one raises no further one: no loop.
SENT = HubEvent.WebhookSent
DELIVERY_FAILED = HubEvent.WebhookDeliveryFailed
DISABLED = HubEvent.WebhookDisabled
DELIVERY_EVENTS = frozenset({SENT, DELIVERY_FAILED})
TEST_EVENT = "webhook.test"
VERIFICATION_EVENT = "webhook.verification"


class WebhookState(IntEnum):
    """`IsActive` of the specification is `Active`; the others say why it is not."""

    PendingVerification = 0
    Active = 1
    Paused = 2
    Disabled = 3


class DeliveryStatus(IntEnum):
    Pending = 0
    Sending = 1
    Delivered = 2
    Failed = 3
    Retrying = 4
    Expired = 5


#: Those of a delivery that is to be attempted, and of one that will not be by itself.
WAITING = (DeliveryStatus.Pending, DeliveryStatus.Retrying)
ENDED = (DeliveryStatus.Delivered, DeliveryStatus.Failed, DeliveryStatus.Expired)


class AttemptOutcome(IntEnum):
    """How an attempt ended; `Interrupted`: the process died, or lost its lease, before it recorded the result."""

    Delivered = 0
    Refused = 1
    Failed = 2
    Interrupted = 3


Strategy = Literal["exponential", "adaptive"]
Ordering = Literal["none", "perSubject"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a delivery is tried again; retry n after `initial_delay * multiplier ** (n - 1)` seconds, +-10% jitter."""

    max_retries: int = 5
    backoff_multiplier: float = 2.0
    initial_delay_seconds: int = 60
    jitter: bool = True
    strategy: Strategy = "exponential"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscription of a receiver; `sealed_secret` opens with the cipher in the context `webhook:<id>`."""

    webhook_id: UUID
    tenant_id: UUID
    url: str
    event_types: Sequence[str]
    sealed_secret: str
    state: WebhookState
    retry_policy: RetryPolicy
    timeout_seconds: int
    created_at: datetime
    created_by: UUID
    integration_id: UUID | None = None
    description: str | None = None
    rate_limit_per_second: int | None = None
    ordering: Ordering = "none"
    previous_sealed_secret: str | None = None
    previous_secret_expires_at: datetime | None = None
    verified_at: datetime | None = None
    disabled_reason: str | None = None
    last_triggered_at: datetime | None = None
    success_count: int = 0
    failure_count: int = 0
    consecutive_failures: int = 0
    failing_since: datetime | None = None
    retry_history: str | None = None
    modified_at: datetime | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Attempt:
    """One post. Its headers are JSON objects as text, credentials masked."""

    number: int
    started_at: datetime
    duration_ms: int
    outcome: AttemptOutcome
    http_status_code: int | None = None
    response_body: str | None = None
    error_message: str | None = None
    request_headers: str | None = None
    response_headers: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one webhook; `payload` is the JSON text of the event's data, None in lists.

    `waits_for`: the delivery whose turn it is in the same line, while this one waits for its own."""

    webhook_delivery_id: UUID
    webhook_id: UUID
    tenant_id: UUID
    event_id: str
    event_type: str
    delivery_status: DeliveryStatus
    attempt_count: int
    scheduled_at: datetime
    expires_at: datetime
    is_held: bool = False
    http_status_code: int | None = None
    response_body: str | None = None
    error_message: str | None = None
    delivered_at: datetime | None = None
    next_retry_at: datetime | None = None
    is_test: bool = False
    waits_for: UUID | None = None
    payload: str | None = None
    attempts: Sequence[Attempt] = ()


Url = Annotated[str, TextConstraints(min_length=1, max_length=500)]
Subscription = Annotated[
    str, StringConstraints(pattern=r"^(\*|[A-Za-z][A-Za-z0-9._-]{0,97}(\.\*)?|[A-Za-z][A-Za-z0-9._-]{0,99})$")
]
EventTypes = Annotated[
    list[Subscription],
    Field(min_length=1, max_length=100, description="Exact names, `prefix.*`, or `*` for every event"),
]
Timeout = Annotated[int, Field(ge=5, le=300, description="Seconds the receiver has to answer")]
RateLimit = Annotated[int, Field(ge=1, le=10_000, description="Deliveries per second to this endpoint")]
OrderingOption = Annotated[
    Ordering,
    Field(
        description="`perSubject`: deliveries of events with the same `subject` go one after another, in the order in"
        " which the events were accepted; one that fails holds those behind it until it has ended. `none`: no order"
    ),
]


class RetryPolicyCommand(Command):
    """MaxRetries 0-10 (section 7.3); what is done is bounded by the platform cap, see `effectiveMaxRetries`."""

    max_retries: int = Field(5, ge=0, le=10, description="Retries after the first attempt")
    backoff_multiplier: float = Field(
        2.0, ge=1, le=10, strict=False, description="Factor from one delay to the next"
    )
    initial_delay_seconds: int = Field(
        60, ge=1, le=3600, description="Seconds before the first retry (BR-WH-04)"
    )
    jitter: bool = Field(
        True, description="Vary each delay by up to 10% so that retries do not march in step"
    )
    strategy: Strategy = Field(
        "exponential", description="`adaptive`: delays learned from how long the endpoint's outages last"
    )

    def to_policy(self) -> RetryPolicy:
        return RetryPolicy(**self.model_dump())


OF_INTEGRATION = "Only events with this id as their subject, or as `integrationId` of their data, are sent"


class CreateWebhook(Command):
    """Body of `POST /api/webhooks`."""

    url: Url = Field(description="Where to post; HTTPS, or http://localhost in development (BR-WH-01)")
    event_types: EventTypes
    description: Annotated[str, TextConstraints(max_length=500)] | None = None
    integration_id: UUID | None = Field(None, strict=False, description=OF_INTEGRATION)
    retry_policy: RetryPolicyCommand = RetryPolicyCommand()
    timeout_seconds: Timeout = 30
    rate_limit_per_second: RateLimit | None = None
    ordering: OrderingOption = "none"


class UpdateWebhook(Command):
    """Body of `PUT /api/webhooks/{id}`: the fields sent replace, the others stay."""

    url: Url | None = None
    event_types: EventTypes | None = None
    description: Annotated[str, TextConstraints(max_length=500)] | None = None
    integration_id: UUID | None = Field(None, strict=False, description=OF_INTEGRATION)
    retry_policy: RetryPolicyCommand | None = None
    timeout_seconds: Timeout | None = None
    rate_limit_per_second: RateLimit | None = None
    ordering: OrderingOption | None = None
    is_active: bool | None = Field(None, description="false pauses; true resumes and sends what was held")


class RotateSecret(Command):
    """Body of `POST /api/webhooks/{id}/secret/rotate`."""

    overlap_seconds: Annotated[int, Field(ge=0, le=7 * 86_400)] | None = Field(
        None, description="How long the old secret signs beside the new one; 24 h by default"
    )


ReplayStatus = Literal["Failed", "Expired", "Delivered"]


class Replay(Command):
    """Body of `POST /api/webhooks/{id}/replay`: send again what ended in the given time range."""

    since: UtcMoment = Field(
        alias="from", strict=False, description="Deliveries scheduled at or after this moment"
    )
    until: UtcMoment | None = Field(
        None, alias="to", strict=False, description="... and before this one; now when absent"
    )
    status: Annotated[list[ReplayStatus], Field(min_length=1)] = ["Failed", "Expired"]
    event_types: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None


class TestWebhook(Command):
    """Body of `POST /api/webhooks/{id}/test`; may be empty."""

    __test__ = False

    event_type: EventType = TEST_EVENT
    data: JsonText | None = None

    @classmethod
    def of_json(cls, body: bytes) -> Self:
        """Return the command with the text of its `data`. Raises as `read_kept` does."""
        return read_kept(cls, body, lambda: cut_members(body, "data"))
