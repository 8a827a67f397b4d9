"""What is told of an attempt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest

from domain.core.tracing import AttributeValue
from domain.journal.event_types import FROM_PLATFORM
from domain.journal.events import DomainEvent
from domain.webhooks.model import Attempt, AttemptOutcome, DeliveryStatus, RetryPolicy, WebhookState
from domain.webhooks.notices import tell_result
from domain.webhooks.ports import AttemptResult, ClaimedDelivery, Endpoint
from tests.worlds.builders import START, TENANT


@dataclass
class NotedSpan:
    """A span that keeps what it was told."""

    traceparent: str | None = None
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def set(self, name: str, value: AttributeValue) -> None:
        self.attributes[name] = value

    def fail(self, kind: str) -> None:
        self.failures.append(kind)


def _claimed() -> ClaimedDelivery:
    url = "https://receiver.example/hook"
    endpoint = Endpoint(UUID(int=1), TENANT, url, (), WebhookState.Active, RetryPolicy(), 30, None)
    event = DomainEvent("e-1", TENANT, "BookingConfirmed", "{}", START, origin=FROM_PLATFORM)
    return ClaimedDelivery(UUID(int=2), endpoint, event, 1, 0, START, UUID(int=3))


_RESULT = AttemptResult(
    _claimed(), Attempt(1, START, 5, AttemptOutcome.Delivered), DeliveryStatus.Delivered, retries_used=0
)


@pytest.mark.parametrize("status", list(DeliveryStatus))
def test_an_attempt_that_did_not_deliver_failed_in_the_trace(status: DeliveryStatus) -> None:
    span = NotedSpan()
    tell_result(span, replace(_RESULT, delivery_status=status))
    assert span.attributes == {"hub.webhook.delivery.status": status.name}
    assert span.failures == ([] if status == DeliveryStatus.Delivered else [status.name])
