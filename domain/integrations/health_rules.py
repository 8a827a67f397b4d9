"""Health as pure rules: from check results to Healthy, Degraded or Unhealthy, against the integration's own past."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from statistics import median
from typing import Literal

from domain.integrations.model import HealthStatus, Integration, IntegrationStatus
from domain.providers.contract import ProviderFailure

#: Results looked at: an hour of checks every five minutes.
WINDOW = 12
#: BR-IM-04.
FAILURES_BEFORE_ALERT = 3
#: The first probe of an integration whose credentials were refused.
FIRST_PROBE = timedelta(minutes=5)
_LAST_PROBE = timedelta(hours=6)
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
#: A slow answer moves the baseline little: a new normal is accepted after some hours, a bad hour is not.
_BASELINE_WEIGHT_SLOW = 0.005
#: Failures that waiting does not mend: our request is wrong, or a permission is missing.
_LASTING = frozenset(("forbidden", "rejected"))

HealthOutcome = Literal["steady", "changed", "flapping", "suspend", "fail", "resume", "probe-again"]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check of one integration; `checked` is the integration as it was when the check began."""

    checked: Integration
    at: datetime
    milliseconds: int
    failure: ProviderFailure | None = None

    @property
    def is_failure(self) -> bool:
        """Return False for `rate_limited` too: a provider that asks us to wait is up."""
        return self.failure is not None and self.failure.kind != "rate_limited"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is remembered between checks.

    - `recent`: the last results, oldest first: milliseconds, or None for a failed check.
    - `baseline_ms`: the usual response time, a moving average over `baseline_of` successful checks."""

    recent: tuple[int | None, ...] = ()
    baseline_ms: float = 0.0
    baseline_of: int = 0
    consecutive_failures: int = 0


def read_vitals(text: str | None) -> Vitals:
    if text is None:
        return Vitals()
    fields = json.loads(text)
    return Vitals(**{**fields, "recent": tuple(fields["recent"])})


def vitals_text(vitals: Vitals) -> str:
    return json.dumps(asdict(vitals), separators=(",", ":"))


def observe(vitals: Vitals, milliseconds: int | None) -> Vitals:
    """Return the vitals after one more check; `milliseconds` is None when it failed."""
    recent = (*vitals.recent, milliseconds)[-WINDOW:]
    if milliseconds is None:
        return replace(vitals, recent=recent, consecutive_failures=vitals.consecutive_failures + 1)
    count = vitals.baseline_of + 1
    is_slow = vitals.baseline_of >= _BASELINE_NEEDS and milliseconds > _limit(vitals)
    weight = _BASELINE_WEIGHT_SLOW if is_slow else max(1 / count, _BASELINE_WEIGHT)
    baseline = vitals.baseline_ms + weight * (milliseconds - vitals.baseline_ms)
    return Vitals(recent, round(baseline, 2), count, 0)


def health_of(vitals: Vitals) -> HealthStatus:
    """Return the health that the last hour's checks show, Unknown without any.

    - Unhealthy: three failures in a row, or fewer than half of the checks succeeded.
    - Degraded: fewer than nine in ten succeeded, none has succeeded yet, or the last three answers took three times
      as long as usual and half a second more."""
    if not vitals.recent:
        return HealthStatus.Unknown
    rate = success_rate(vitals.recent)
    is_telling = len(vitals.recent) >= _RATE_NEEDS
    if vitals.consecutive_failures >= FAILURES_BEFORE_ALERT or (is_telling and rate < _RATE_UNHEALTHY):
        return HealthStatus.Unhealthy
    if is_slow(vitals) or rate == 0 or (is_telling and rate < _RATE_DEGRADED):
        return HealthStatus.Degraded
    return HealthStatus.Healthy


def outcome_of(check: HealthCheck, vitals: Vitals, status: HealthStatus) -> HealthOutcome:
    failure = check.failure
    if check.checked.status == IntegrationStatus.Suspended:
        return "probe-again" if failure is not None else "resume"
    if failure is not None and failure.kind == "unauthorized":
        return "suspend"
    is_lasting = failure is not None and failure.kind in _LASTING
    if is_lasting and vitals.consecutive_failures >= FAILURES_BEFORE_ALERT:
        return "fail"
    if status != check.checked.health_status:
        return "changed"
    began = is_flapping(vitals) and not is_flapping(read_vitals(check.checked.vitals))
    return "flapping" if began and status == HealthStatus.Degraded else "steady"


def next_probe(check: HealthCheck, vitals: Vitals) -> datetime | None:
    """Return when a suspended integration is probed again, None for every other one.

    The wait doubles from 5 minutes to 6 hours, because repeated wrong logins lock accounts."""
    if check.checked.status != IntegrationStatus.Suspended or check.failure is None:
        return None
    factor: int = 2 ** min(vitals.consecutive_failures, 12)
    return check.at + min(FIRST_PROBE * factor, _LAST_PROBE)


def alert_kind(before: HealthStatus, after: HealthStatus, vitals: Vitals) -> str | None:
    """Return the kind of alert that a change of health raises, None for a change that raises none."""
    if after == HealthStatus.Unhealthy:
        return "integration-unhealthy"
    if before == HealthStatus.Unhealthy:
        return "integration-recovered" if vitals.consecutive_failures == 0 else None
    if after == HealthStatus.Degraded and (is_slow(vitals) or is_flapping(vitals)):
        return "integration-degraded"
    return None


def degraded_reason(vitals: Vitals, detail: str) -> str:
    """Say why an integration is Degraded; `detail` is what the last check said."""
    if is_slow(vitals):
        return f"It answers much more slowly than its usual {vitals.baseline_ms:.0f} ms."
    if is_flapping(vitals):
        return f"{failures(vitals)} of the last {len(vitals.recent)} checks failed. {detail}"
    return detail


def is_flapping(vitals: Vitals) -> bool:
    """Return whether three of the last hour's checks failed, and a quarter of them or more."""
    failed = failures(vitals)
    return failed >= FAILURES_BEFORE_ALERT and success_rate(vitals.recent) <= _RATE_ALERTING


def failures(vitals: Vitals) -> int:
    return sum(milliseconds is None for milliseconds in vitals.recent)


def is_slow(vitals: Vitals) -> bool:
    """Return whether the last answers took much longer than this integration's usually do."""
    if vitals.baseline_of < _BASELINE_NEEDS:
        return False
    last = vitals.recent[-_SLOW_IN_A_ROW:]
    times = [milliseconds for milliseconds in last if milliseconds is not None]
    return len(times) == _SLOW_IN_A_ROW and median(times) > _limit(vitals) and min(times) > vitals.baseline_ms


def success_rate(results: Sequence[int | None]) -> float:
    """Return a rate between 0 and 1; 1 without results."""
    return sum(result is not None for result in results) / len(results) if results else 1.0


def percentile(sorted_values: Sequence[int], share: float) -> int | None:
    """Return the nearest-rank percentile, None without values."""
    if not sorted_values:
        return None
    return sorted_values[max(0, ceil(share * len(sorted_values)) - 1)]


def _limit(vitals: Vitals) -> float:
    return max(vitals.baseline_ms * _SLOW_FACTOR, vitals.baseline_ms + _SLOW_AT_LEAST_MS)
