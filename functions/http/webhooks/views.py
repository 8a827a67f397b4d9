"""Webhooks and deliveries as they go over the wire. Only `WebhookWithSecretView` contains a signing secret."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from domain.core.json_text import JsonText
from domain.core.text_length import TextConstraints
from domain.core.wire import UtcMoment
from domain.webhooks.deliveries import Replayed
from domain.webhooks.model import (
    Attempt,
    Delivery,
    DeliveryStatus,
    Ordering,
    Strategy,
    Webhook,
    WebhookState,
)
from domain.webhooks.ports import DeliveryFilter, WebhookFilter
from domain.webhooks.retry_policy import ENOUGH, history_of
from domain.webhooks.service import ChangedWebhook, EndpointVerification, WebhookService, WebhookWithSecret
from functions.http.kit.views import CommaSeparated, Moment, PageQuery, PageView, View

StateName = Literal["PendingVerification", "Active", "Paused", "Disabled"]
StatusName = Literal["Pending", "Sending", "Delivered", "Failed", "Retrying", "Expired"]


class RetryPolicyView(View):
    max_retries: int
    backoff_multiplier: float
    initial_delay_seconds: int
    jitter: bool
    strategy: Strategy


class AdaptiveRetryView(View):
    outages_seen: int
    typical_outage_seconds: float | None = Field(
        description="Median duration in seconds, weighted towards the latest"
    )
    in_use: bool = Field(
        description="False while too few outages were seen; the fixed schedule is used until then"
    )


class VerificationView(View):
    verified: bool
    detail: str
    http_status_code: int | None


class ActivationView(View):
    released: int = Field(description="Held deliveries that are being sent now")
    waiting_for_replay: int = Field(description="Held deliveries that expired meanwhile; /replay sends them")


class WebhookView(View):
    webhook_id: UUID
    integration_id: UUID | None
    url: str
    description: str | None
    event_types: list[str]
    is_active: bool
    state: StateName
    disabled_reason: str | None = Field(description="Why the hub disabled it")
    retry_policy: RetryPolicyView
    adaptive_retry: AdaptiveRetryView | None = Field(description="What an adaptive webhook has learned")
    max_retries: int
    effective_max_retries: int = Field(description="maxRetries within the platform's cap (BR-WH-03)")
    timeout_seconds: int
    rate_limit_per_second: int | None
    ordering: Ordering
    previous_secret_expires_at: Moment | None = Field(
        description="Until then deliveries are signed with the old secret too"
    )
    last_triggered_at: Moment | None
    success_count: int
    failure_count: int
    created_at: Moment
    created_by: UUID
    modified_at: Moment | None
    verification: VerificationView | None = Field(
        None, description="Present when this request verified the receiver"
    )
    activation: ActivationView | None = Field(
        None, description="Present when this request activated the webhook"
    )


class WebhookWithSecretView(WebhookView):
    secret: str = Field(description="Signs each delivery; shown only in this answer")


class WebhookPage(PageView[WebhookView]):
    pass


class AttemptView(View):
    attempt_number: int
    started_at: Moment
    duration_ms: int
    outcome: Literal["Delivered", "Refused", "Failed", "Interrupted"]
    http_status_code: int | None
    response_body: str | None = Field(description="The first 4 KiB of the response")
    error_message: str | None
    request_headers: dict[str, str] | None = Field(description="As they were sent, credentials masked")
    response_headers: dict[str, str] | None = Field(
        description="The first 8 KiB as they came, credentials masked; null when no answer came"
    )


class DeliveryView(View):
    webhook_delivery_id: UUID
    webhook_id: UUID
    event_id: str
    event_type: str
    delivery_status: StatusName
    attempt_count: int
    is_held: bool = Field(
        description="Whether it waits for its webhook to become active, or expired while it did"
    )
    is_test: bool = Field(description="Whether a call of /test made it; it counts nowhere")
    waits_for: UUID | None = Field(
        description="With `ordering: perSubject`: the delivery of the same subject whose turn it is, while this one"
        " waits for its own"
    )
    http_status_code: int | None
    response_body: str | None
    error_message: str | None
    scheduled_at: Moment
    expires_at: Moment
    delivered_at: Moment | None
    next_retry_at: Moment | None


class DeliveryDetailView(DeliveryView):
    payload: Any = Field(description="The event's data, as its producer wrote it")
    attempts: list[AttemptView]


class DeliveryPage(PageView[DeliveryView]):
    pass


class ReplayView(View):
    replayed: int
    more: bool = Field(
        description="Whether the range has more than 10,000 deliveries; replay again from the last one"
    )


class WebhookQuery(PageQuery):
    state: StateName | None = None
    event_type: Annotated[str, TextConstraints(max_length=100)] | None = Field(
        None, description="Webhooks subscribed to exactly this type"
    )
    integration_id: UUID | None = None

    def to_filter(self) -> WebhookFilter:
        state = WebhookState[self.state] if self.state else None
        return WebhookFilter(state, self.event_type, self.integration_id)


class DeliveryQuery(PageQuery):
    status: CommaSeparated[StatusName] | None = Field(None, description="One or more, separated by commas")
    event_type: Annotated[
        CommaSeparated[str] | None, Field(description="One or more, separated by commas")
    ] = None
    since: UtcMoment | None = Field(None, alias="from", description="Scheduled at or after")
    until: UtcMoment | None = Field(None, alias="to", description="Scheduled before")
    is_held: bool | None = None

    def to_filter(self) -> DeliveryFilter:
        return DeliveryFilter(
            statuses=[DeliveryStatus[name] for name in self.status or ()],
            event_types=self.event_type or (),
            since=self.since,
            until=self.until,
            is_held=self.is_held,
        )


def _adaptive_retry(webhook: Webhook) -> AdaptiveRetryView | None:
    if webhook.retry_policy.strategy != "adaptive":
        return None
    history = history_of(webhook.retry_history)
    return AdaptiveRetryView(
        outages_seen=history.seen,
        typical_outage_seconds=history.typical(),
        in_use=history.seen >= ENOUGH,
    )


def webhook_fields(
    webhook: Webhook, service: WebhookService, verification: EndpointVerification | None
) -> dict[str, Any]:
    policy = webhook.retry_policy
    return {
        "webhook_id": webhook.webhook_id,
        "integration_id": webhook.integration_id,
        "url": webhook.url,
        "description": webhook.description,
        "event_types": list(webhook.event_types),
        "is_active": webhook.state == WebhookState.Active,
        "state": webhook.state.name,
        "disabled_reason": webhook.disabled_reason,
        "retry_policy": RetryPolicyView(
            max_retries=policy.max_retries,
            backoff_multiplier=policy.backoff_multiplier,
            initial_delay_seconds=policy.initial_delay_seconds,
            jitter=policy.jitter,
            strategy=policy.strategy,
        ),
        "adaptive_retry": _adaptive_retry(webhook),
        "max_retries": policy.max_retries,
        "effective_max_retries": service.effective_max_retries(webhook),
        "timeout_seconds": webhook.timeout_seconds,
        "rate_limit_per_second": webhook.rate_limit_per_second,
        "ordering": webhook.ordering,
        "previous_secret_expires_at": webhook.previous_secret_expires_at,
        "last_triggered_at": webhook.last_triggered_at,
        "success_count": webhook.success_count,
        "failure_count": webhook.failure_count,
        "created_at": webhook.created_at,
        "created_by": webhook.created_by,
        "modified_at": webhook.modified_at,
        "verification": verification
        and VerificationView(
            verified=verification.verified,
            detail=verification.detail,
            http_status_code=verification.http_status_code,
        ),
    }


def webhook_view(
    webhook: Webhook, service: WebhookService, verification: EndpointVerification | None = None
) -> WebhookView:
    return WebhookView(**webhook_fields(webhook, service, verification))


def changed_webhook_view(changed: ChangedWebhook, service: WebhookService) -> WebhookView:
    view = webhook_view(changed.webhook, service, changed.verification)
    if changed.released is None:
        return view
    activation = ActivationView(
        released=changed.released.sent, waiting_for_replay=changed.released.waiting_for_replay
    )
    return view.model_copy(update={"activation": activation})


def webhook_with_secret(shown: WebhookWithSecret, service: WebhookService) -> WebhookWithSecretView:
    fields = webhook_fields(shown.webhook, service, shown.verification)
    return WebhookWithSecretView(**fields, secret=shown.secret)


def delivery_fields(delivery: Delivery) -> dict[str, Any]:
    return {
        "webhook_delivery_id": delivery.webhook_delivery_id,
        "webhook_id": delivery.webhook_id,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "delivery_status": delivery.delivery_status.name,
        "attempt_count": delivery.attempt_count,
        "is_held": delivery.is_held,
        "is_test": delivery.is_test,
        "waits_for": delivery.waits_for,
        "http_status_code": delivery.http_status_code,
        "response_body": delivery.response_body,
        "error_message": delivery.error_message,
        "scheduled_at": delivery.scheduled_at,
        "expires_at": delivery.expires_at,
        "delivered_at": delivery.delivered_at,
        "next_retry_at": delivery.next_retry_at,
    }


def delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(**delivery_fields(delivery))


def delivery_detail(delivery: Delivery) -> DeliveryDetailView:
    return DeliveryDetailView(
        **delivery_fields(delivery),
        payload=JsonText(delivery.payload) if delivery.payload is not None else None,
        attempts=[_attempt_view(attempt) for attempt in delivery.attempts],
    )


def replay_view(replayed: Replayed) -> ReplayView:
    return ReplayView(replayed=replayed.replayed, more=replayed.more)


def _attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(
        attempt_number=attempt.number,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        outcome=attempt.outcome.name,
        http_status_code=attempt.http_status_code,
        response_body=attempt.response_body,
        error_message=attempt.error_message,
        request_headers=json.loads(attempt.request_headers) if attempt.request_headers else None,
        response_headers=json.loads(attempt.response_headers) if attempt.response_headers else None,
    )
