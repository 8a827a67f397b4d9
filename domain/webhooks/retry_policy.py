"""When a delivery is tried again: the whole schedule, fixed and adaptive. Pure; seconds.

`decide_next` is asked after each attempt. `decide` gives the fixed schedule and its limits. An adaptive webhook has a
history of how long its endpoint's outages lasted (`OutageHistory`: decayed counts in buckets half an octave wide). It
tells when an endpoint that has been failing for t seconds is likely to be back; from it the next retry is planned by
dynamic programming over (age of the outage, retries left)."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import pairwise
from math import log, sqrt

from domain.core.ports import OutboundFailure
from domain.webhooks.model import DeliveryStatus, RetryPolicy
from domain.webhooks.ports import ClaimedDelivery


@dataclass(frozen=True, slots=True)
class ReceiverAnswer:
    """How an attempt ended: a status, or why there was none."""

    status: int | None = None
    failure: OutboundFailure | None = None
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What follows an attempt; only Retrying has `retry_at`, and `gone` disables the webhook.

    `note` says why a `Retry-After` was not followed."""

    status: DeliveryStatus
    retry_at: datetime | None = None
    gone: bool = False
    note: str | None = None


def decide_next(
    claimed: ClaimedDelivery,
    answer: ReceiverAnswer,
    now: datetime,
    *,
    expiry: timedelta,
    platform_cap: int,
    spread: float,
) -> RetryDecision:
    """Decide what follows an attempt at `claimed` that ended with `answer`.

    A delivery lasts for `expiry` and gets `platform_cap` retries at most. `spread` in [-1, 1] places the retry within
    the jitter."""
    return decide(
        answer,
        policy=claimed.endpoint.retry_policy,
        retries_used=claimed.retries_used,
        platform_cap=platform_cap,
        expires_at=claimed.expires_at,
        now=now,
        spread=spread,
        learned=learned_delay(claimed, answer, now, expiry=expiry, platform_cap=platform_cap, spread=spread),
    )


def decide(
    answer: ReceiverAnswer,
    *,
    policy: RetryPolicy,
    retries_used: int,
    platform_cap: int,
    expires_at: datetime,
    now: datetime,
    spread: float,
    learned: timedelta | None = None,
) -> RetryDecision:
    """Decide what follows an attempt that ended with `answer`, when `retries_used` retries were spent before it.

    `learned` takes the place of the fixed schedule, unless the delivery would expire before."""
    if answer.status is not None and 200 <= answer.status < 300:
        return RetryDecision(DeliveryStatus.Delivered)
    if answer.status == 410:
        return RetryDecision(DeliveryStatus.Failed, gone=True)
    if not is_retryable(answer):
        return RetryDecision(DeliveryStatus.Failed)
    if retries_used >= effective_max_retries(policy, platform_cap=platform_cap):
        return RetryDecision(DeliveryStatus.Failed)  # BR-WH-06
    at = now + retry_delay(policy, retries_used + 1, spread=spread)
    if learned is not None and now + learned < expires_at:
        at = now + learned
    note = None
    if answer.status in (429, 503) and answer.retry_after is not None:
        latest = expires_at - _BEFORE_EXPIRY
        asked = parse_retry_after(answer.retry_after, now)
        note = _reason_not_to_follow(answer.retry_after, asked, latest)
        if asked is not None and note is None:
            # Many are told the same moment: up to 10 % later, or they are all refused again together.
            later = 1 + 0.05 * (1 + spread) if policy.jitter else 1.0
            if asked > at:
                at = min(now + (asked - now) * later, latest)
            elif retries_used == 0:
                at = min(at, now + max(asked - now, _SOONEST) * later)
    if at >= expires_at:
        return RetryDecision(DeliveryStatus.Expired, note=note)  # BR-WH-05
    return RetryDecision(DeliveryStatus.Retrying, retry_at=at, note=note)


#: A `Retry-After` is followed up to this long before the delivery expires, so that an attempt is still made.
_BEFORE_EXPIRY = timedelta(minutes=10)
#: The first retry comes no sooner, however little the receiver asks for.
_SOONEST = timedelta(seconds=5)


def _reason_not_to_follow(value: str, asked: datetime | None, latest: datetime) -> str | None:
    """Return why a `Retry-After` is not followed and the schedule is; None to follow it.

    Text that is neither is not repeated: events and log lines tell of it, and a receiver writes what it likes."""
    if asked is None:
        return "Its Retry-After is neither seconds nor a date; the schedule is followed."
    if asked > latest:
        shown = repr(value) if value.isdecimal() else f"{asked:%Y-%m-%d %H:%M:%S} UTC"
        return f"Its Retry-After ({shown}) lies too late for this delivery; the schedule is followed."
    return None


def is_retryable(answer: ReceiverAnswer) -> bool:
    """Tell whether to try again: a timeout, a network error, 408, 429, 5xx, no refused address (section 11.3)."""
    if answer.status is None:
        return answer.failure != "blocked"
    return answer.status in (408, 429) or answer.status >= 500


def is_outage(answer: ReceiverAnswer) -> bool:
    """Tell whether the endpoint is away or broken, so that its history may tell when it is back.

    One that asks for less (429, or 503 with `Retry-After`), or refuses the request, is there."""
    if answer.status is None:
        return answer.failure != "blocked"
    if answer.status == 503 and answer.retry_after is not None:
        return False
    return answer.status == 408 or answer.status >= 500


def parse_retry_after(value: str | None, now: datetime) -> datetime | None:
    """Return the moment of `Retry-After`, in seconds or an HTTP date (RFC 9110 section 10.2.3), None of neither."""
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


# -- the fixed schedule ---------------------------------------------------------------------------------------


def effective_max_retries(policy: RetryPolicy, *, platform_cap: int) -> int:
    """Return how many retries there are: the policy's own count, bounded by the platform (BR-WH-03)."""
    return min(policy.max_retries, platform_cap)


def scheduled_seconds(policy: RetryPolicy, retry: int) -> float:
    """Return the seconds before retry number `retry` (from 1), jitter aside (BR-WH-04)."""
    return policy.initial_delay_seconds * policy.backoff_multiplier ** (retry - 1)


def retry_delay(policy: RetryPolicy, retry: int, *, spread: float) -> timedelta:
    """Return the delay before retry number `retry` (from 1). `spread` in [-1, 1] places it within the jitter."""
    seconds = scheduled_seconds(policy, retry)
    if policy.jitter:
        seconds *= 1 + 0.1 * spread
    return timedelta(seconds=min(seconds, 30 * 86_400))


# -- the adaptive schedule ------------------------------------------------------------------------------------

#: How many times as fast as the schedule's a learned retry may come.
_HASTE = 2.0


def learned_delay(
    claimed: ClaimedDelivery,
    answer: ReceiverAnswer,
    now: datetime,
    *,
    expiry: timedelta,
    platform_cap: int,
    spread: float,
) -> timedelta | None:
    """Return the wait before the next retry by the endpoint's own history, or None to use the fixed schedule.

    None for a webhook that is not adaptive, and while too little is known. `expiry` tells the delivery's age."""
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


def planned_delay(
    answer: ReceiverAnswer,
    history: OutageHistory,
    policy: RetryPolicy,
    *,
    failing_for: float,
    age: float,
    retries_used: int,
    retries: int,
    spread: float,
) -> float | None:
    """Return the seconds before the next retry of an adaptive webhook's delivery, or None for the fixed schedule.

    The delivery is `age` seconds old and has `retries` in all.

    - In an outage the history tells, though never a wait of less than half the schedule's: where outages follow each
      other closely, retries in haste meet the same one.
    - After an answer that is no outage the schedule does.
    - Retries that came sooner than the schedule's may have been spent while a receiver that limits was still full. So
      after them neither the last one, nor any after such an answer, comes before the schedule's of its number."""
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


# -- what a history tells ---------------------------------------------------------------------------------

LONGEST = 86_400.0
#: Upper edges of the buckets: 2 s to a day and beyond.
EDGES = (*(2 ** (1 + n / 2) for n in range(31)), LONGEST)
_TYPICAL = tuple(sqrt((1.0 if n == 0 else EDGES[n - 1]) * edge) for n, edge in enumerate(EDGES))
#: An outage's weight after one more was seen: about the last ten count.
DECAY = 0.9
#: How many outages the prior, which takes every length to be as likely, is worth.
PRIOR_OUTAGES = 1.0
#: Fewer outages than this and the fixed schedule is kept.
ENOUGH = 3
#: So is it while an outage is older than all but this many of those that count: the prior alone would wait too long.
_KNOWN = 0.2
#: But the last retries are for an outage that lasts longer than any known, where the schedule soon gives up.
_LAST = 2
_ATTEMPT_COST = 1.0
_UNDELIVERED_COST = 25.0
_WAIT_FLOOR, _WAIT_SHARE = 36.0, 0.02


@dataclass(frozen=True, slots=True)
class OutageHistory:
    """How long an endpoint's outages lasted.

    `weights` are decayed counts of outages by length, `seen` is how many were ever seen, `since` when the one under way
    began (Unix time)."""

    weights: tuple[float, ...] = (0.0,) * len(EDGES)
    seen: int = 0
    since: float | None = None

    def learned(self, failed_for: float, over_after: float) -> OutageHistory:
        """Return the history with one more outage, still there after `failed_for` seconds and over by `over_after`.

        Nobody looked in between, so it counts in all buckets between, evenly over the octaves."""
        low = min(max(1.0, failed_for), LONGEST)
        high = min(max(low * 1.001, over_after), LONGEST * 1.001)
        seen = [log(min(max(edge, low), high)) for edge in (1.0, *EDGES[:-1], high)]
        whole = seen[-1] - seen[0]
        shares = [(after - before) / whole for before, after in pairwise(seen)]
        weights = (weight * DECAY + share for weight, share in zip(self.weights, shares, strict=True))
        return OutageHistory(tuple(weights), self.seen + 1)

    def text(self) -> str:
        weights = [round(weight, 4) for weight in self.weights]
        return json.dumps({"seen": self.seen, "weights": weights, "since": self.since})

    def typical(self) -> float | None:
        """Return the median length of an outage, None while none was seen."""
        half, total = sum(self.weights) / 2, 0.0
        for weight, typical in zip(self.weights, _TYPICAL, strict=True):
            total += weight
            if total >= half > 0:
                return typical
        return None


@lru_cache(maxsize=512)
def history_of(text: str | None) -> OutageHistory:
    """Return what `OutageHistory.text` wrote. Cached, because deliveries that fail together ask for the same."""
    if text is None:
        return OutageHistory()
    stored = json.loads(text)
    return OutageHistory(tuple(stored["weights"]), stored["seen"], stored.get("since"))


@dataclass(frozen=True, slots=True)
class _Plan:
    """Prefix sums over the buckets (all of those below n): mass, mass by scale, mass by scale times length."""

    mass: tuple[float, ...]
    scaled: tuple[float, ...]
    lengths: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    def costs(self, age: float, first: int, left: int) -> list[float]:
        """Return the expected cost of a retry at each edge from EDGES[first] on, with `left` retries after it.

        The outage is `age` old now, and as old as the edge at that retry. Terms of the age alone are computed once."""
        i = min(bisect_left(EDGES, age), len(EDGES) - 1)
        lower = 1.0 if i == 0 else EDGES[i - 1]
        gone = min(1.0, max(0.0, log(max(age, 1.0) / lower) / log(EDGES[i] / lower)))
        mass, scaled, lengths = (
            sums[i] + gone * (sums[i + 1] - sums[i]) for sums in (self.mass, self.scaled, self.lengths)
        )
        alive = self.mass[-1] - mass
        after, whole = self.values[left], self.mass[-1]
        costs = []
        for n in range(first, len(EDGES)):
            late = EDGES[n] * (self.scaled[n + 1] - scaled) - (self.lengths[n + 1] - lengths)
            still = whole - self.mass[n + 1]
            costs.append(_ATTEMPT_COST + (max(0.0, late) + still * after[n]) / alive)
        return costs

    def layer(self, left: int) -> tuple[float, ...]:
        """Return the least of `costs` for an outage as old as each edge, asked after each outage.

        Terms of the later edge alone are summed first, so that a pair of edges costs one product."""
        whole, after = self.mass[-1], self.values[left]
        later = [
            edge * self.scaled[n + 1] - self.lengths[n + 1] + (whole - self.mass[n + 1]) * after[n]
            for n, edge in enumerate(EDGES)
        ]
        costs = []
        for i in range(1, len(EDGES)):
            scaled = self.scaled[i]
            # A list: a generator takes a third longer in this loop.
            least = min([cost - scaled * edge for cost, edge in zip(later[i:], EDGES[i:], strict=True)])  # noqa: C419
            costs.append(_ATTEMPT_COST + (least + self.lengths[i]) / (whole - self.mass[i]))
        return (*costs, _UNDELIVERED_COST)


@lru_cache(maxsize=512)
def _plan(weights: tuple[float, ...], retries: int) -> _Plan:
    if retries:
        fewer = _plan(weights, retries - 1)
        return replace(fewer, values=(*fewer.values, fewer.layer(retries - 1)))
    even = PRIOR_OUTAGES / len(EDGES)
    mass, scaled, lengths = [0.0], [0.0], [0.0]
    for weight, typical in zip(weights, _TYPICAL, strict=True):
        scale = _WAIT_FLOOR + _WAIT_SHARE * typical
        mass.append(mass[-1] + weight + even)
        scaled.append(scaled[-1] + (weight + even) / scale)
        lengths.append(lengths[-1] + (weight + even) * typical / scale)
    return _Plan(tuple(mass), tuple(scaled), tuple(lengths), ((_UNDELIVERED_COST,) * len(EDGES),))


def adaptive_delay(
    history: OutageHistory, *, failing_for: float, retries_left: int, spread: float
) -> float | None:
    """Return the seconds before the next retry of an endpoint that has been failing for `failing_for` seconds.

    - None while too little is known, or too little of outages as long as this one.
    - `retries_left` counts the next retry. `spread` in [-1, 1] places it within the jitter: up to 10 % later."""
    first = bisect_left(EDGES, failing_for + 1.0)
    if history.seen < ENOUGH or retries_left < 1 or first == len(EDGES):
        return None
    if retries_left > _LAST and sum(history.weights[first:]) < _KNOWN:
        return None
    plan = _plan(tuple(round(weight, 3) for weight in history.weights), retries_left - 1)
    costs = plan.costs(failing_for, first, retries_left - 1)
    best = first + costs.index(min(costs))
    return min(LONGEST, (EDGES[best] - failing_for) * (1 + 0.05 * (1 + spread)))
