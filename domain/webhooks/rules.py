"""Webhook rules as pure functions: inputs in, decision out; no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from domain.errors import Conflict, FieldError, ValidationFailed
from domain.ports import OutboundFailure
from domain.webhooks.model import DELIVERY_EVENTS, RetryPolicy, Webhook, WebhookState


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended: a status, or why there was none."""

    status: int | None = None
    failure: OutboundFailure | None = None
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows an attempt. `retry_at` only with `retry`; `gone` disables the webhook."""

    verdict: Literal["delivered", "retry", "failed", "expired"]
    retry_at: datetime | None = None
    gone: bool = False


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


def effective_max_retries(policy: RetryPolicy, *, platform_cap: int) -> int:
    """BR-WH-03: the policy's own count, bounded by the platform."""
    return min(policy.max_retries, platform_cap)


def retry_delay(policy: RetryPolicy, retry: int, *, spread: float) -> timedelta:
    """BR-WH-04: delay before retry number `retry` (from 1). `spread` in [-1, 1] places it within the jitter."""
    seconds = policy.initial_delay_seconds * policy.backoff_multiplier ** (retry - 1)
    if policy.jitter:
        seconds *= 1 + 0.1 * spread
    return timedelta(seconds=min(seconds, 30 * 86_400))


def parse_retry_after(value: str | None, now: datetime) -> datetime | None:
    """`Retry-After` is seconds or an HTTP date (RFC 9110 section 10.2.3); None when it is neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isdecimal():
        return now + timedelta(seconds=min(int(text[:9]), 30 * 86_400))
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, IndexError):
        return None


def is_retryable(answer: Answer) -> bool:
    """Section 11.3: timeout, network error, 408, 429 and 5xx; an address that is refused stays refused."""
    if answer.status is None:
        return answer.failure != "blocked"
    return answer.status in (408, 429) or answer.status >= 500


def is_outage(answer: Answer) -> bool:
    """Whether the endpoint is away or broken, and may be back at a time that its history tells. One that asks for
    less (429, or 503 with `Retry-After`) or refuses the request is there."""
    if answer.status is None:
        return answer.failure != "blocked"
    if answer.status == 503 and answer.retry_after is not None:
        return False
    return answer.status == 408 or answer.status >= 500


def decide(
    answer: Answer,
    *,
    policy: RetryPolicy,
    retries_used: int,
    platform_cap: int,
    expires_at: datetime,
    now: datetime,
    spread: float,
    learned: timedelta | None = None,
) -> Decision:
    """What follows an attempt that ended with `answer`, when `retries_used` retries were spent before it.

    `learned` takes the place of the schedule of BR-WH-04, unless the delivery would expire before."""
    if answer.status is not None and 200 <= answer.status < 300:
        return Decision("delivered")
    if answer.status == 410:
        return Decision("failed", gone=True)
    if not is_retryable(answer):
        return Decision("failed")
    if retries_used >= effective_max_retries(policy, platform_cap=platform_cap):
        return Decision("failed")  # BR-WH-06
    at = now + retry_delay(policy, retries_used + 1, spread=spread)
    if learned is not None and now + learned < expires_at:
        at = now + learned
    if answer.status in (429, 503):
        asked = parse_retry_after(answer.retry_after, now)
        if asked is not None:
            if policy.jitter and now < asked < expires_at:
                # Many are told the same moment: up to 10 % later, or they are all refused again together.
                asked += (asked - now) * (0.05 * (1 + spread))
            at = max(at, asked)
    if at >= expires_at:
        return Decision("expired")  # BR-WH-05
    return Decision("retry", retry_at=at)


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
