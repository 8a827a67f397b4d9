"""What an attempt leaves behind: its record, and the delivery's next status."""

from __future__ import annotations

from datetime import datetime, timedelta

from domain.ports import OutboundError, OutboundResponse
from domain.webhooks.adaptive import adaptive_delay, history_of
from domain.webhooks.model import Attempt, AttemptOutcome, DeliveryStatus
from domain.webhooks.ports import Claimed
from domain.webhooks.rules import Answer, Decision, effective_max_retries, is_outage

RESPONSE_KEPT_BYTES = 4 * 1024
STATUS_AFTER = {
    "delivered": DeliveryStatus.Delivered,
    "retry": DeliveryStatus.Retrying,
    "failed": DeliveryStatus.Failed,
    "expired": DeliveryStatus.Expired,
}


def attempt_record(
    claimed: Claimed,
    started: datetime,
    answer: Answer,
    decision: Decision,
    came: OutboundResponse | OutboundError,
) -> Attempt:
    """The row of one attempt: what came back, cut to what is kept, or why nothing did."""
    text: str | None = None
    error: str | None = None
    if isinstance(came, OutboundError):
        outcome = AttemptOutcome.Refused if came.kind == "blocked" else AttemptOutcome.Failed
        error = f"{came.kind}: {came.detail}"
    else:
        outcome = AttemptOutcome.Delivered if decision.verdict == "delivered" else AttemptOutcome.Failed
        text = came.body[:RESPONSE_KEPT_BYTES].decode(errors="replace").replace("\0", "\ufffd")
        if decision.verdict != "delivered":
            error = f"The receiver answered {answer.status}."
    return Attempt(
        number=claimed.attempt_number,
        started_at=started,
        duration_ms=came.duration_ms,
        outcome=outcome,
        http_status_code=answer.status,
        response_body=text,
        error_message=error,
    )


def learned_delay(
    claimed: Claimed, answer: Answer, now: datetime, *, platform_cap: int, spread: float
) -> timedelta | None:
    """The next delay by the endpoint's own history; None for the fixed schedule, while too little is known, or after
    an answer that is no outage."""
    endpoint, policy = claimed.endpoint, claimed.endpoint.retry_policy
    if policy.strategy != "adaptive" or not is_outage(answer):
        return None
    history = history_of(endpoint.retry_history)
    seconds = adaptive_delay(
        history,
        failing_for=0.0 if history.since is None else max(0.0, now.timestamp() - history.since),
        retries_left=effective_max_retries(policy, platform_cap=platform_cap) - claimed.retries_used,
        spread=spread if policy.jitter else -1.0,
    )
    return None if seconds is None else timedelta(seconds=seconds)
