"""Health as pure rules: from check results to Healthy, Degraded or Unhealthy, against the integration's own past."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from statistics import median

from domain.integrations.model import HealthStatus

#: Results looked at: an hour of checks every five minutes.
WINDOW = 12
#: BR-IM-04.
FAILURES_BEFORE_ALERT = 3
_RATE_UNHEALTHY = 0.5
_RATE_DEGRADED = 0.9
_RATE_NEEDS = 4
#: Section 12.3: worse than Degraded's own limit, so that an alert does not come and go with each check.
_RATE_ALERTING = 0.75
_SLOW_FACTOR = 3.0
_SLOW_AT_LEAST_MS = 500
_SLOW_IN_A_ROW = 3
_BASELINE_NEEDS = 12
_BASELINE_WEIGHT = 0.05
#: What is slow moves the baseline too, but little: a new normal is accepted after some hours, a bad hour is not.
_BASELINE_WEIGHT_SLOW = 0.005


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is remembered between checks. `recent` holds the last results, oldest first: milliseconds, or None for
    a failure. `baseline_ms` is the usual time to answer, a moving average over `baseline_of` successes."""

    recent: tuple[int | None, ...] = ()
    baseline_ms: float = 0.0
    baseline_of: int = 0
    consecutive_failures: int = 0


def read_vitals(text: str | None) -> Vitals:
    """From the Vitals column."""
    if text is None:
        return Vitals()
    fields = json.loads(text)
    return Vitals(**{**fields, "recent": tuple(fields["recent"])})


def vitals_text(vitals: Vitals) -> str:
    """For the Vitals column."""
    return json.dumps(asdict(vitals), separators=(",", ":"))


def observe(vitals: Vitals, milliseconds: int | None) -> Vitals:
    """After one more check; None is a failed one."""
    recent = (*vitals.recent, milliseconds)[-WINDOW:]
    if milliseconds is None:
        return replace(vitals, recent=recent, consecutive_failures=vitals.consecutive_failures + 1)
    count = vitals.baseline_of + 1
    is_slow = vitals.baseline_of >= _BASELINE_NEEDS and milliseconds > _limit(vitals)
    weight = _BASELINE_WEIGHT_SLOW if is_slow else max(1 / count, _BASELINE_WEIGHT)
    baseline = vitals.baseline_ms + weight * (milliseconds - vitals.baseline_ms)
    return Vitals(recent, round(baseline, 2), count, 0)


def health_of(vitals: Vitals) -> HealthStatus:
    """Unhealthy: three failures in a row, or fewer than half of the last hour's checks succeeded. Degraded: fewer
    than nine in ten did, none has yet, or the last three answers took three times as long as usual and half a
    second more."""
    if not vitals.recent:
        return HealthStatus.Unknown
    rate = success_rate(vitals.recent)
    is_telling = len(vitals.recent) >= _RATE_NEEDS
    if vitals.consecutive_failures >= FAILURES_BEFORE_ALERT or (is_telling and rate < _RATE_UNHEALTHY):
        return HealthStatus.Unhealthy
    if is_slow(vitals) or rate == 0 or (is_telling and rate < _RATE_DEGRADED):
        return HealthStatus.Degraded
    return HealthStatus.Healthy


def is_flapping(vitals: Vitals) -> bool:
    """Whether three of the last hour's checks failed, and a quarter of them or more."""
    failed = failures(vitals)
    return failed >= FAILURES_BEFORE_ALERT and success_rate(vitals.recent) <= _RATE_ALERTING


def failures(vitals: Vitals) -> int:
    """How many of the last hour's checks failed."""
    return sum(one is None for one in vitals.recent)


def is_slow(vitals: Vitals) -> bool:
    """Whether the last answers took much longer than this integration's usually do."""
    if vitals.baseline_of < _BASELINE_NEEDS:
        return False
    last = vitals.recent[-_SLOW_IN_A_ROW:]
    times = [one for one in last if one is not None]
    return len(times) == _SLOW_IN_A_ROW and median(times) > _limit(vitals) and min(times) > vitals.baseline_ms


def success_rate(results: Sequence[int | None]) -> float:
    """Between 0 and 1; 1 when there is nothing to judge."""
    return sum(result is not None for result in results) / len(results) if results else 1.0


def percentile(sorted_values: Sequence[int], share: float) -> int | None:
    """The nearest-rank percentile; None of nothing."""
    if not sorted_values:
        return None
    return sorted_values[max(0, ceil(share * len(sorted_values)) - 1)]


def _limit(vitals: Vitals) -> float:
    return max(vitals.baseline_ms * _SLOW_FACTOR, vitals.baseline_ms + _SLOW_AT_LEAST_MS)
