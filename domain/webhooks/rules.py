"""Webhook rules as pure functions: inputs in, decision out; no clock, no I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from domain.core.errors import Conflict, FieldError, ValidationFailed
from domain.webhooks.model import DELIVERY_EVENTS, Webhook, WebhookState


def check_url(url: str, *, allow_localhost: bool) -> None:
    """BR-WH-01: HTTPS only, http only to localhost in development. Raises ValidationFailed."""

    def refuse(detail: str, code: str = "validation-failed") -> ValidationFailed:
        return ValidationFailed(detail, [FieldError("/url", detail)], code=code)

    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise refuse("The URL is not valid.") from error
    if not parts.hostname or not port_is_valid or not _is_printable(url):
        raise refuse("The URL is not valid.")
    if parts.username is not None or parts.password is not None:
        raise refuse("The URL must not carry a user name or password.")
    if parts.fragment:
        raise refuse("The URL must not carry a fragment.")
    if parts.scheme == "https" or (
        parts.scheme == "http" and allow_localhost and _is_localhost(parts.hostname)
    ):
        return
    raise refuse("The URL must be https (http only to localhost, in development).", "BR-WH-01")


def _is_printable(url: str) -> bool:
    return url.isprintable() and not any(character.isspace() for character in url)


def _is_localhost(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def should_disable(
    *,
    consecutive_failures: int,
    failing_since: datetime | None,
    now: datetime,
    after_failures: int,
    after_days: int,
) -> str | None:
    """Why an endpoint is to be disabled, None while it is not: nothing but failure for days, or so many
    deliveries in a row that failed for good."""
    if consecutive_failures >= after_failures:
        return f"{consecutive_failures} deliveries in a row failed for good."
    if failing_since is not None and now - failing_since >= timedelta(days=after_days):
        return f"Every attempt failed for {after_days} days."
    return None


def subscriptions_for(event_type: str) -> list[str]:
    """The subscription names that match an event type: itself, each `prefix.*`, and `*`."""
    if event_type in DELIVERY_EVENTS:
        return [event_type]
    parts = event_type.split(".")
    prefixes = [".".join(parts[:length]) + ".*" for length in range(1, len(parts))]
    return [event_type, *prefixes, "*"]


def set_active(webhook: Webhook, active: bool) -> Webhook:
    """Pause or resume. Raises Conflict for one that was never verified."""
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
