"""Predicting from the trend of its health checks whether an integration becomes Unhealthy, and when.

Facts in, advice out. A prediction needs a real trend: over the last 12, 24 or 48 hours the values rise in an order
that chance gives once in some thousand series, and they still do when each hour is compared with the same hour of
the days before, so that a busy morning is not taken for a decline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from math import sqrt
from statistics import median

from domain.integrations.health import PROBE_SECONDS
from domain.integrations.model import HealthStatus, IntegrationStatus
from domain.journal.signals import Signal, hour_of
from domain.recommendations.facts import IntegrationFacts
from domain.recommendations.model import Advice, Confidence, Figure, Period, Priority, RecommendationKind

#: Standard deviations of a 90 % interval.
_Z_90 = 1.645
#: From a median absolute difference to a standard deviation, where differences are normal.
_FROM_MEDIAN = 1.4826


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through (`x`, `y`), ending up to `error` off; `low` and `high` bound its slope (90 %)."""

    slope: float
    low: float
    high: float
    x: float
    y: float
    error: float

    def at(self, x: float) -> float:
        return self.y + self.slope * (x - self.x)


def rise(values: Sequence[float]) -> float:
    """Return how many standard deviations the order of the values is from chance; positive when they rise."""
    score = sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))
    deviation = _deviation(values)
    # One less, for the score moves in steps of two.
    return (score - (score > 0) + (score < 0)) / deviation if deviation else 0.0


def trend_of(points: Sequence[tuple[float, float]]) -> Trend:
    """Fit a line to three points or more, ordered by their x, which differ."""
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))
    slope = median(slopes)
    # The ranks of the slopes at both ends of the interval (Sen 1968).
    reach = _Z_90 * _deviation([y for _, y in points])
    lower = max(0, round((len(slopes) - reach) / 2) - 1)
    upper = min(len(slopes) - 1, round((len(slopes) + reach) / 2))
    middle = median(x for x, _ in points)
    level = median(y - slope * (x - middle) for x, y in points)
    off = median(abs(y - level - slope * (x - middle)) for x, y in points)
    # The end of a fitted line is twice as uncertain as its middle.
    error = 2 * _Z_90 * _FROM_MEDIAN * off / sqrt(len(points))
    return Trend(slope, slopes[lower], slopes[upper], middle, level, error)


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of Kendall's score under chance, corrected for ties."""
    n = len(values)
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(values).values() if t > 1)
    return sqrt(max(0, n * (n - 1) * (2 * n + 5) - ties) / 18)


#: Hours looked at, the shortest that shows a trend first: it tells best what happens now.
WINDOWS = (12, 24, 48)
#: Standard deviations: one-sided p = 0.0025 for each window.
SIGNIFICANT = 2.81
#: Below half of its checks an integration is Unhealthy (domain.integrations.health_rules).
UNHEALTHY_RATE = 0.5
#: A check that takes this long has failed, and three of those are Unhealthy.
UNHEALTHY_MS = PROBE_SECONDS * 1000
HORIZON_HOURS = 72.0
_SLOPE_HOURS = 8
_LEVEL_HOURS = 4


@dataclass(frozen=True, slots=True)
class Forecast:
    """Hours from now to the threshold; `earliest` and `latest` are by the 90 % lines.

    `latest` is None where the flattest line does not reach the threshold within 72 hours."""

    lead: float
    earliest: float
    latest: float | None
    trend: Trend
    z: float
    window: int
    points: int
    level: float


def forecast(points: Mapping[datetime, float], now: datetime, threshold: float) -> Forecast | None:
    """Predict when hourly values reach the threshold; None if never, already, or beyond 72 hours."""
    for window in WINDOWS:
        since = hour_of(now) - timedelta(hours=window)
        recent = {hour: value for hour, value in points.items() if hour >= since}
        if len(recent) < max(10, window * 3 // 4):
            continue
        hours = sorted(recent)
        z = rise([recent[hour] for hour in hours])
        beyond_usual = [recent[hour] - usual(points, hour, since) for hour in hours]
        if z < SIGNIFICANT or rise(beyond_usual) < SIGNIFICANT:
            continue
        line = _latest([(_x(hour, now), recent[hour]) for hour in hours])
        return _reaching(line, threshold, z=z, window=window, points=len(recent))
    return None


def _latest(points: Sequence[tuple[float, float]]) -> Trend:
    """Fit the trend since it began, where a slope leaves the least absolute differences.

    A single bad hour has little influence on those."""
    whole = trend_of(points)
    best, least = whole, sum(abs(y - whole.at(x)) for x, y in points)
    for start in range(_LEVEL_HOURS, len(points) - _SLOPE_HOURS + 1):
        bend, level = points[start][0] - 0.5, median(y for _, y in points[:start])
        slope = _through(bend, level, points[start:])
        rest = sum(abs(y - level - slope * max(0.0, x - bend)) for x, y in points)
        if rest < least:
            line = trend_of(points[start:])
            best, least = line, rest
    return best


def _through(x0: float, y0: float, points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line through (x0, y0) that leaves the least absolute differences: a weighted median."""
    slopes = sorted(((y - y0) / (x - x0), x - x0) for x, y in points)
    half, sum_ = sum(weight for _, weight in slopes) / 2, 0.0
    for slope, weight in slopes:
        sum_ += weight
        if sum_ >= half:
            return slope
    raise AssertionError("the weights add up to more than their half")


def usual(points: Mapping[datetime, float], hour: datetime, before: datetime) -> float:
    """Return the median of the same hour of the days before `before`; 0 where fewer than three are known."""
    past = [hour - timedelta(days=n) for n in range(1, 8)]
    known = [points[hour] for hour in past if hour in points and hour < before]
    return median(known) if len(known) >= 3 else 0.0


def _reaching(trend: Trend, threshold: float, *, z: float, window: int, points: int) -> Forecast | None:
    level = trend.at(0)
    if level >= threshold or trend.slope <= 0:
        return None
    left = threshold - level
    lead = left / trend.slope
    if lead > HORIZON_HOURS:
        return None
    earliest = max(0.0, left - trend.error) / max(trend.high, trend.slope)
    slowest = (left + trend.error) / trend.low if trend.low > 0 else HORIZON_HOURS + 1
    latest = slowest if slowest <= HORIZON_HOURS else None
    return Forecast(lead, earliest, latest, trend, z, window, points, level)


def failure_predicted(facts: IntegrationFacts) -> Advice | None:
    """Predict that the share of failed checks, or the time they take, leads to Unhealthy within three days."""
    integration = facts.integration
    is_active = integration.status == IntegrationStatus.Active
    if not is_active or integration.health_status == HealthStatus.Unhealthy:
        return None
    hours = [hour for hour in facts.hours if hour.tally.total >= 6]
    now = facts.period.until
    rates = {hour.hour: hour.tally.failed / hour.tally.total for hour in hours}
    by_rate = forecast(rates, now, UNHEALTHY_RATE)
    if by_rate is not None and (failures := _failures(hours, now, by_rate.window)) >= 10:
        return _advice(facts, by_rate, "failedShare", failures=failures)
    times = {hour.hour: float(hour.tally.latency.percentile(0.5) or 0) for hour in hours}
    by_time = forecast(times, now, UNHEALTHY_MS)
    # A sketch's median is right to within 7 %; twice its best tenth is beyond that.
    if by_time is not None and by_time.level >= 2 * sorted(times.values())[len(times) // 10]:
        return _advice(facts, by_time, "medianAnswer", failures=_failures(hours, now, by_time.window))
    return None


def _advice(facts: IntegrationFacts, found: Forecast, name: str, *, failures: int) -> Advice:
    now = facts.period.until
    period = Period(hour_of(now) - timedelta(hours=found.window), now)
    what, unit, scale, threshold = "The time that health checks take", "ms", 1, UNHEALTHY_MS
    if name == "failedShare":
        what, unit, scale = "The share of failed health checks", "% of checks", 100
        threshold = UNHEALTHY_RATE
    range_ = f"{found.earliest:.0f} hours from now or later"
    lead_times = [
        Figure("leadTime", round(found.lead, 1), "hours"),
        Figure("leadTimeEarliest", round(found.earliest, 1), "hours"),
    ]
    if found.latest is not None:
        range_ = f"between {found.earliest:.0f} and {found.latest:.0f} hours from now"
        lead_times.append(Figure("leadTimeLatest", round(found.latest, 1), "hours"))
    level, slope = found.level * scale, found.trend.slope * scale
    return Advice(
        RecommendationKind.IntegrationFailurePredicted,
        Priority.Now,
        f"Look at the integration before it fails, in about {found.lead:.0f} hours",
        f"{what} has risen for {found.window} hours, by {slope:.3g} {unit} an hour to {level:.3g}. If that goes on it "
        f"reaches {threshold * scale:.0f}, where the integration is Unhealthy, {range_}. Its logs say what fails; the "
        "provider's status page and quota come first.",
        (
            Figure(name, round(level, 2), unit, period),
            Figure("risePerHour", round(slope, 4), f"{unit}/hour", period),
            Figure("threshold", threshold * scale, unit),
            Figure("failedChecks", failures, "checks", period),
            Figure("hoursWithChecks", found.points, "hours", period),
            Figure("standardDeviationsFromChance", round(found.z, 2), "standard deviations", period),
        ),
        _confidence(found),
        tuple(lead_times),
    )


def _confidence(found: Forecast) -> Confidence:
    """Return High when the latest moment is at most half as far again, Medium within 72 hours."""
    if found.latest is None:
        return Confidence.Low
    return Confidence.High if found.latest <= 1.5 * found.lead else Confidence.Medium


def _failures(hours: Sequence[Signal], now: datetime, window: int) -> int:
    since = hour_of(now) - timedelta(hours=window)
    return sum(hour.tally.failed for hour in hours if hour.hour >= since)


def _x(hour: datetime, now: datetime) -> float:
    return (hour + timedelta(minutes=30) - now) / timedelta(hours=1)
