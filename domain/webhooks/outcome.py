"""What an attempt leaves behind: its record, and the delivery's next status (UC-WH-03 steps 1-3, 5 and 6)."""

from __future__ import annotations

from datetime import datetime, timedelta

from domain.ports import OutboundError, OutboundResponse
from domain.webhooks.adaptive import ENOUGH, OutageHistory, adaptive_delay, history_of
from domain.webhooks.model import Attempt, AttemptOutcome, DeliveryStatus, RetryPolicy
from domain.webhooks.ports import Claimed
from domain.webhooks.rules import Answer, Decision, effective_max_retries, is_outage, retry_delay

RESPONSE_KEPT_BYTES = 4 * 1024
#: How many times as fast as the schedule's a learned retry may come.
_HASTE = 2.0
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


def planned_delay(
    answer: Answer,
    history: OutageHistory,
    policy: RetryPolicy,
    *,
    failing_for: float,
    age: float,
    retries_used: int,
    retries: int,
    spread: float,
) -> float | None:
    """Seconds until the next retry of an adaptive webhook's delivery that is `age` seconds old, of `retries` in all;
    None for the fixed schedule.

    In an outage the history tells, though never a wait of less than half the schedule's: where outages follow
    each other closely, retries in haste meet the same one. After an answer that is no outage the schedule does.
    Retries that came sooner than the schedule's may have been spent while a receiver that limits was still full, so
    after them neither the last one nor any after such an answer comes before the schedule's of its number."""
    left = retries - retries_used
    if history.seen < ENOUGH or left < 1:
        return None
    step = fixed = retry_delay(policy, retries_used + 1, spread=spread).total_seconds()
    if is_outage(answer):
        learned = adaptive_delay(history, failing_for=failing_for, retries_left=left, spread=spread)
        step = fixed if learned is None else max(learned, fixed / _HASTE)
        if left > 1:
            return step
    earliest, due = (
        sum(retry_delay(policy, retry, spread=at).total_seconds() for retry in range(1, retries_used + 1))
        for at in (-1.0, spread)
    )
    return max(step, fixed if age >= earliest else due + fixed - age)


def learned_delay(
    claimed: Claimed,
    answer: Answer,
    now: datetime,
    *,
    expiry: timedelta,
    platform_cap: int,
    spread: float,
) -> timedelta | None:
    """The next delay by the endpoint's own history; None for the fixed schedule, or while too little is known.
    A delivery is as old as its `expiry` has run."""
    endpoint, policy = claimed.endpoint, claimed.endpoint.retry_policy
    if policy.strategy != "adaptive":
        return None
    history = history_of(endpoint.retry_history)
    seconds = planned_delay(
        answer,
        history,
        policy,
        failing_for=0.0 if history.since is None else max(0.0, now.timestamp() - history.since),
        age=max(0.0, (now - (claimed.expires_at - expiry)).total_seconds()),
        retries_used=claimed.retries_used,
        retries=effective_max_retries(policy, platform_cap=platform_cap),
        spread=spread if policy.jitter else -1.0,
    )
    return None if seconds is None else timedelta(seconds=seconds)
