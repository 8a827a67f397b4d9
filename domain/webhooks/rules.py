"""Webhook rules as pure functions: inputs in, decision out; no clock, no I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from domain.core.errors import Conflict, FieldError, ValidationFailed
from domain.core.web_address import BadAddress, NotHttps, require_https
from domain.webhooks.model import DELIVERY_EVENTS, Webhook, WebhookState


def check_url(url: str, *, allow_localhost: bool) -> None:
    """Require https, or http to localhost in development (BR-WH-01). Raises ValidationFailed."""
    try:
        require_https(url, allow_loopback=allow_localhost)
    except BadAddress as error:
        detail = f"{error}."
        code = "BR-WH-01" if isinstance(error, NotHttps) else "validation-failed"
        raise ValidationFailed(detail, [FieldError("/url", detail)], code=code) from error


def should_disable(
    *,
    consecutive_failures: int,
    failing_since: datetime | None,
    now: datetime,
    after_failures: int,
    after_days: int,
) -> str | None:
    """Return why an endpoint is to be disabled: days of nothing but failure, or many failed for good in a row."""
    if consecutive_failures >= after_failures:
        return f"{consecutive_failures} deliveries in a row failed for good."
    if failing_since is not None and now - failing_since >= timedelta(days=after_days):
        return f"Every attempt failed for {after_days} days."
    return None


def subscriptions_for(event_type: str) -> list[str]:
    """Return the subscription names that match an event type: itself, each `prefix.*`, and `*`."""
    if event_type in DELIVERY_EVENTS:
        return [event_type]
    parts = event_type.split(".")
    prefixes = [".".join(parts[:length]) + ".*" for length in range(1, len(parts))]
    return [event_type, *prefixes, "*"]


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
