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
#: The result of a check that the provider answered by a request to wait.
LIMITED = -1
#: A request to wait that lasts so long is an alert.
_LIMITED_LONG = timedelta(minutes=30)
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

HealthOutcome = Literal[
    "steady", "changed", "flapping", "limited", "suspend", "fail", "resume", "probe-again"
]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check of one integration; `checked` is the integration as it was when the check began."""

    checked: Integration
    at: datetime
    milliseconds: int
    failure: ProviderFailure | None = None

    @property
    def is_limited(self) -> bool:
        """Return whether the provider asked to wait: it is up, and of no use for now."""
        return self.failure is not None and self.failure.kind == "rate_limited"


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is remembered between checks.

    - `recent`: the last results, oldest first: milliseconds, None for a failed check, LIMITED for one answered by a
      request to wait.
    - `limited_since`: the first of the checks in a row that were answered so; `limited_long`: for 30 minutes.
    - `baseline_ms`: the usual response time, a moving average over `baseline_of` successful checks."""

    recent: tuple[int | None, ...] = ()
    baseline_ms: float = 0.0
    baseline_of: int = 0
    consecutive_failures: int = 0
    limited_since: str | None = None
    limited_long: bool = False


def read_vitals(text: str | None) -> Vitals:
    if text is None:
        return Vitals()
    fields = json.loads(text)
    return Vitals(**{**fields, "recent": tuple(fields["recent"])})


def vitals_text(vitals: Vitals) -> str:
    fields = asdict(vitals)
    if vitals.limited_since is None:
        # An older version, which may run beside this one during a deployment, does not know them.
        del fields["limited_since"], fields["limited_long"]
    return json.dumps(fields, separators=(",", ":"))


def observe(vitals: Vitals, milliseconds: int | None) -> Vitals:
    """Return the vitals after one more check; `milliseconds` is None when it failed."""
    recent = (*vitals.recent, milliseconds)[-WINDOW:]
    if milliseconds is None:
        count = vitals.consecutive_failures + 1
        return replace(
            vitals, recent=recent, consecutive_failures=count, limited_since=None, limited_long=False
        )
    count = vitals.baseline_of + 1
    is_slow = vitals.baseline_of >= _BASELINE_NEEDS and milliseconds > _limit(vitals)
    weight = _BASELINE_WEIGHT_SLOW if is_slow else max(1 / count, _BASELINE_WEIGHT)
    baseline = vitals.baseline_ms + weight * (milliseconds - vitals.baseline_ms)
    return Vitals(recent, round(baseline, 2), count, 0)


def observe_limit(vitals: Vitals, at: datetime) -> Vitals:
    """Return the vitals after a check that was answered by a request to wait: no success, and no failure in a row."""
    recent = (*vitals.recent, LIMITED)[-WINDOW:]
    since = datetime.fromisoformat(vitals.limited_since) if vitals.limited_since else at
    is_long = at - since >= _LIMITED_LONG
    return replace(vitals, recent=recent, limited_since=since.isoformat(), limited_long=is_long)


def health_of(vitals: Vitals) -> HealthStatus:
    """Return the health that the last hour's checks show, Unknown without any.

    - Unhealthy: three failures in a row, or more than half of the checks failed.
    - Degraded: the last check was answered by a request to wait, fewer than nine in ten succeeded, none has succeeded
      yet, or the last three answers took three times as long as usual and half a second more."""
    if not vitals.recent:
        return HealthStatus.Unknown
    rate = success_rate(vitals.recent)
    is_telling = len(vitals.recent) >= _RATE_NEEDS
    up_rate = 1 - failures(vitals) / len(vitals.recent)
    if vitals.consecutive_failures >= FAILURES_BEFORE_ALERT or (is_telling and up_rate < _RATE_UNHEALTHY):
        return HealthStatus.Unhealthy
    if is_limited(vitals) or is_slow(vitals) or rate == 0 or (is_telling and rate < _RATE_DEGRADED):
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
    before = read_vitals(check.checked.vitals)
    if status == HealthStatus.Degraded:
        if is_flapping(vitals) and not is_flapping(before):
            return "flapping"
        if vitals.limited_long and not before.limited_long:
            return "limited"
    return "steady"


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
    is_alarming = is_slow(vitals) or is_flapping(vitals) or vitals.limited_long
    if after == HealthStatus.Degraded and is_alarming:
        return "integration-degraded"
    return None


def degraded_reason(vitals: Vitals, detail: str) -> str:
    """Say why an integration is Degraded; `detail` is what the last check said."""
    if is_limited(vitals):
        lasting = (
            "For 30 minutes or more it has asked to wait." if vitals.limited_long else "It asks to wait."
        )
        return f"{lasting} {detail}"
    if is_slow(vitals):
        return f"It answers much more slowly than its usual {vitals.baseline_ms:.0f} ms."
    if is_flapping(vitals):
        return f"{failures(vitals)} of the last {len(vitals.recent)} checks failed. {detail}"
    return detail


def is_flapping(vitals: Vitals) -> bool:
    """Return whether three of the last hour's checks failed, and a quarter of them or more."""
    failed = failures(vitals)
    return failed >= FAILURES_BEFORE_ALERT and 1 - failed / len(vitals.recent) <= _RATE_ALERTING


def is_limited(vitals: Vitals) -> bool:
    """Return whether the last check was answered by a request to wait."""
    return vitals.limited_since is not None


def failures(vitals: Vitals) -> int:
    return sum(milliseconds is None for milliseconds in vitals.recent)


def is_slow(vitals: Vitals) -> bool:
    """Return whether the last answers took much longer than this integration's usually do."""
    if vitals.baseline_of < _BASELINE_NEEDS:
        return False
    last = vitals.recent[-_SLOW_IN_A_ROW:]
    times = [milliseconds for milliseconds in last if milliseconds is not None and milliseconds != LIMITED]
    return len(times) == _SLOW_IN_A_ROW and median(times) > _limit(vitals) and min(times) > vitals.baseline_ms


def success_rate(results: Sequence[int | None]) -> float:
    """Return a rate between 0 and 1; 1 without results."""
    succeeded = sum(result is not None and result != LIMITED for result in results)
    return succeeded / len(results) if results else 1.0


def percentile(sorted_values: Sequence[int], share: float) -> int | None:
    """Return the nearest-rank percentile, None without values."""
    if not sorted_values:
        return None
    return sorted_values[max(0, ceil(share * len(sorted_values)) - 1)]


def _limit(vitals: Vitals) -> float:
    return max(vitals.baseline_ms * _SLOW_FACTOR, vitals.baseline_ms + _SLOW_AT_LEAST_MS)
