"""Webhook rules as pure functions: inputs in, decision out; no clock, no I/O."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.core.errors import Conflict, FieldError, ValidationFailed
from domain.core.principal import guid
from domain.core.web_address import BadAddress, NotHttps, require_https
from domain.journal.events import DomainEvent
from domain.webhooks.model import DELIVERY_EVENTS, DeliveryStatus, Webhook, WebhookState
from domain.webhooks.ports import AttemptResult


def check_url(url: str, *, allow_localhost: bool) -> None:
    """Require https, or http to localhost in development (BR-WH-01). Raises ValidationFailed."""
    try:
        require_https(url, allow_loopback=allow_localhost)
    except BadAddress as error:
        detail = f"{error}."
        code = "BR-WH-01" if isinstance(error, NotHttps) else "validation-failed"
        raise ValidationFailed(detail, [FieldError("/url", detail)], code=code) from error


#: Fewer hours of failure than this are one outage, however many deliveries it met.
_LEAST_FAILING = timedelta(hours=1)


def is_real_failure(result: AttemptResult) -> bool:
    """Tell whether a result speaks for disabling its webhook: it ended as Failed, and not for coming too fast."""
    return result.delivery_status == DeliveryStatus.Failed and result.attempt.http_status_code != 429


def should_disable(
    *,
    consecutive_failures: int,
    failing_since: datetime | None,
    last_failure_at: datetime,
    after_failures: int,
    after_days: int,
) -> str | None:
    """Return why an endpoint is to be disabled, None to leave it.

    It is asked when a delivery has really failed, so that silence never counts. The failures are those since the last
    success: `failing_since` is the first, `last_failure_at` the last."""
    if failing_since is None:
        return None
    failing_for = last_failure_at - failing_since
    if failing_for >= timedelta(days=after_days):
        return f"Deliveries failed for good over {after_days} days, and none succeeded."
    if consecutive_failures >= after_failures and failing_for >= _LEAST_FAILING:
        return f"{consecutive_failures} deliveries in a row failed for good."
    return None


def subscriptions_for(event: DomainEvent) -> list[str]:
    """Return the subscription names that match an event's type: itself, each `prefix.*`, and `*`.

    The hub's events about deliveries match by their name alone."""
    if event.may_be_of_hub(DELIVERY_EVENTS):
        return [event.type]
    parts = event.type.split(".")
    prefixes = [".".join(parts[:length]) + ".*" for length in range(1, len(parts))]
    return [event.type, *prefixes, "*"]


def is_about(event: DomainEvent, integration_id: UUID) -> bool:
    """Return whether an event is about an integration: its subject, or `integrationId` of its data, is the id.

    So are a provider's own events and the hub's about the integration, its syncs and its alerts; those that other
    modules raise are about one where they say so."""
    wanted = str(integration_id)
    if (event.subject or "").lower() == wanted:
        return True
    if wanted not in event.data.lower():
        return False
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and guid(data.get("integrationId")) == integration_id


def line_of(webhook_id: UUID, subject: str) -> int:
    """Return the number of the line in which deliveries of the subject stand at an ordered webhook.

    Of 64 bits: two subjects that share one by chance only wait for each other. It tells no subject."""
    digest = hashlib.sha256(webhook_id.bytes + subject.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def set_active(webhook: Webhook, active: bool) -> Webhook:
    """Pause or resume a webhook. Raises Conflict for one that was never verified."""
    if webhook.state == WebhookState.PendingVerification:
        if not active:
            return webhook
        raise Conflict(
            "The webhook is not verified yet; POST to its /verify first.", code="verification-pending"
        )
    if not active:
        return (
            replace(webhook, state=WebhookState.Paused) if webhook.state == WebhookState.Active else webhook
        )
    return replace(
        webhook, state=WebhookState.Active, disabled_reason=None, consecutive_failures=0, failing_since=None
    )
