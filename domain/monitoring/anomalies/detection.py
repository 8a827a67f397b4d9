"""From signals to series, and to the hours of a series that its own weeks do not explain.

The baseline of an hour is the median of the same hour of the week in the other weeks. With two other weeks, of which
one may have been an outage, the median of the same hour of other days decides between them. With one, an hour has to
be unusual compared with that week as well as with the other days. A series of less than a week has no unusual hours,
because its weekend is unknown. The baseline leaves the examined hour out, and no outage moves it.

Distances are measured on a scale where the noise is even (square roots of counts after Anscombe 1948, arcsines of
shares, logarithms of durations and volumes) and divided by the series' own robust spread, the median absolute
deviation, so that a restless series needs more to be unusual. A distance counts only where the difference would also
matter to somebody."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final, NamedTuple

from domain.journal.signals import Signal, SubjectKind, Tally
from domain.monitoring.anomalies.model import AnomalySubject, Direction, Expectation, Metric

HOUR: Final = timedelta(hours=1)

#: What is watched of whom. Failures of health checks and jobs have alerts of their own.
WATCHED: Final[Mapping[SubjectKind, tuple[Metric, ...]]] = {
    SubjectKind.Webhook: (Metric.Traffic, Metric.ErrorRate, Metric.Latency),
    SubjectKind.Integration: (Metric.Latency,),
    SubjectKind.SyncFull: (Metric.SyncVolume,),
    SubjectKind.SyncIncremental: (Metric.SyncVolume,),
    SubjectKind.SyncDifferential: (Metric.SyncVolume,),
    SubjectKind.ApiKey: (Metric.Traffic, Metric.Refusals),
}


def series_of(
    signals: Iterable[Signal], since: datetime, until: datetime
) -> Iterator[tuple[AnomalySubject, Metric, list[HourValue | None]]]:
    """Yield a series per subject and metric, with a value for every hour from `since` to `until`.

    Hours before the first signal are None; later ones without a signal have no traffic."""
    values: dict[tuple[AnomalySubject, Metric], dict[int, HourValue | None]] = {}
    for signal in signals:  # may be hundreds of thousands: only a value is kept of each
        subject = AnomalySubject(signal.kind, signal.subject_id)
        for metric in WATCHED.get(signal.kind, ()):
            of_hours = values.setdefault((subject, metric), {})
            of_hours[(signal.hour - since) // HOUR] = hour_value(metric, signal.tally)
    length = (until - since) // HOUR
    for (subject, metric), of_hours in values.items():
        first, empty = min(of_hours), hour_value(metric, None)
        series = [of_hours.get(index, empty) if index >= first else None for index in range(length)]
        yield subject, metric, series


def hour_value(metric: Metric, tally: Tally | None) -> HourValue | None:
    if metric is Metric.Traffic:
        return HourValue(tally.total, tally.total) if tally else HourValue(0, 0)
    if tally is None or tally.total == 0:
        return None
    if metric is Metric.Latency:
        p95 = tally.latency.percentile(0.95)
        return None if p95 is None else HourValue(p95, tally.total)
    if metric is Metric.SyncVolume:
        return HourValue(tally.volume / tally.total, tally.total)
    return HourValue(tally.failed / tally.total, tally.total)


#: Robust standard deviations beyond which an hour is unusual.
THRESHOLD: Final = 6.0
_WEEK: Final = 168
_DAY: Final = 24
#: Other weeks whose median an outage does not move.
_WEEKS_ENOUGH: Final = 3
#: Other days that a baseline needs where there are fewer weeks.
_DAYS_NEEDED: Final = 5
#: Residuals that a spread needs; of syncs, many of which run once a day (BR-DS-01), those of two weeks.
_RESIDUALS_NEEDED: Final = 48
_SYNCS_NEEDED: Final = 14
#: A median absolute deviation times this is the standard deviation of a normal distribution.
_MAD_TO_SIGMA: Final = 1.4826
#: The range told as expected, in standard deviations: all but 3 in 1,000 of a normal distribution.
_RANGE: Final = 3.0


class HourValue(NamedTuple):
    value: float
    weight: float


@dataclass(frozen=True, slots=True)
class UnusualHour:
    index: int
    direction: Direction
    observed: float
    expected: Expectation
    score: float


@dataclass(frozen=True, slots=True)
class _Scale:
    """How a metric's values become numbers with even noise.

    - `floor`: the least spread, in those numbers after `precision`.
    - `matters`: whether a difference (observed, typical, weight) matters to somebody."""

    forward: Callable[[HourValue], float]
    back: Callable[[float], float]
    floor: float
    matters: Callable[[float, float, float], bool]
    least_weight: float = 0.0
    precision: Callable[[float], float] = lambda weight: 1.0
    grows: bool = False
    residuals: int = _RESIDUALS_NEEDED


def _square(y: float) -> float:
    return max(0.0, max(0.0, y) ** 2 / 4 - 3 / 8)


def _traffic_matters(observed: float, typical: float, weight: float) -> bool:
    return abs(observed - typical) >= 10 and (observed >= 1.5 * typical or observed <= 0.5 * typical)


def _share_matters(observed: float, typical: float, weight: float) -> bool:
    return observed - typical >= 0.05 and observed * weight >= 5


def _duration_matters(observed: float, typical: float, weight: float) -> bool:
    return observed >= 1.5 * typical and observed - typical >= 20


def _volume_matters(observed: float, typical: float, weight: float) -> bool:
    return abs(observed - typical) >= 20 and (observed >= 2 * typical or observed <= 0.5 * typical)


_COUNTS = _Scale(
    lambda hour: 2 * math.sqrt(hour.value + 3 / 8), _square, floor=1.0, matters=_traffic_matters, grows=True
)
_SHARES = _Scale(
    lambda hour: math.asin(math.sqrt((hour.value * hour.weight + 3 / 8) / (hour.weight + 3 / 4))),
    lambda y: math.sin(min(max(y, 0.0), math.pi / 2)) ** 2,
    floor=1.0,
    matters=_share_matters,
    least_weight=10,
    precision=lambda weight: 2 * math.sqrt(weight + 0.5),
)
_SCALES: dict[Metric, _Scale] = {
    Metric.Traffic: _COUNTS,
    Metric.Refusals: _SHARES,
    Metric.ErrorRate: _SHARES,
    Metric.Latency: _Scale(
        lambda hour: math.log(max(hour.value, 1.0)),
        math.exp,
        floor=0.08,
        matters=_duration_matters,
        least_weight=10,
    ),
    Metric.SyncVolume: _Scale(
        lambda hour: math.log1p(hour.value),
        lambda y: max(0.0, math.expm1(y)),
        floor=0.1,
        matters=_volume_matters,
        residuals=_SYNCS_NEEDED,
    ),
}


def unusual_hours(
    metric: Metric, series: Sequence[HourValue | None], *, since: int = 0, threshold: float = THRESHOLD
) -> list[UnusualHour]:
    """Return the unusual hours of a series of consecutive hours, from the index `since` on.

    None is an hour that says nothing; of counts, an hour without any is a zero."""
    scale = _SCALES[metric]
    ys = [
        scale.forward(hour) if hour is not None and hour.weight >= scale.least_weight else None
        for hour in series
    ]
    first = next((index for index, y in enumerate(ys) if y is not None), len(ys))
    if len(ys) - first <= _WEEK:
        return []
    typical = _baselines(ys)
    precisions = [scale.precision(hour.weight) if hour is not None else 0.0 for hour in series]
    residuals = [
        None if y is None or base is None else (y - base) * precision
        for y, base, precision in zip(ys, typical, precisions, strict=True)
    ]
    spread = _Spread.of(scale, residuals, typical)
    if spread is None:
        return []
    found = []
    for index in range(since, len(series)):
        residual, base, hour = residuals[index], typical[index], series[index]
        if residual is None or base is None or hour is None:
            continue
        sigma = spread.at(base)
        score = residual / sigma
        if abs(score) < threshold:
            continue
        reach = _RANGE * sigma / precisions[index]
        middle = scale.back(base)
        if scale.matters(hour.value, middle, hour.weight):
            direction = Direction.Above if score > 0 else Direction.Below
            expected = Expectation(middle, scale.back(base - reach), scale.back(base + reach))
            found.append(UnusualHour(index, direction, hour.value, expected, abs(score)))
    return found


def _baselines(ys: Sequence[float | None]) -> list[float | None]:
    by_week = [[y for y in ys[slot::_WEEK] if y is not None] for slot in range(_WEEK)]
    by_day = [[y for y in ys[slot::_DAY] if y is not None] for slot in range(_DAY)]
    bases: list[float | None] = []
    for index, y in enumerate(ys):
        weeks = _without(by_week[index % _WEEK], y)
        if len(weeks) >= _WEEKS_ENOUGH:
            bases.append(median(weeks))
            continue
        days = _without(by_day[index % _DAY], y)
        bases.append(_of_few(y, weeks, median(days)) if len(days) >= _DAYS_NEEDED else None)
    return bases


def _of_few(y: float | None, weeks: Sequence[float], usual: float) -> float:
    """Return a baseline from the same hour of at most two other weeks and the `usual` value at that hour of a day."""
    if len(weeks) == 2:
        return median([*weeks, usual])
    return min([*weeks, usual], key=lambda base: abs(base - (usual if y is None else y)))


def _without(values: Sequence[float], value: float | None) -> list[float]:
    others = list(values)
    if value is not None:
        others.remove(value)
    return others


@dataclass(frozen=True, slots=True)
class _Spread:
    """The noise of a series.

    That of counts is Poisson's, which is 1 everywhere after the square root, and `excess`, which grows in proportion
    to the count, because requests often come together."""

    constant: float
    excess: float = 0.0
    back: Callable[[float], float] = _square

    @classmethod
    def of(
        cls, scale: _Scale, residuals: Sequence[float | None], typical: Sequence[float | None]
    ) -> _Spread | None:
        known = [
            (abs(residual), base)
            for residual, base in zip(residuals, typical, strict=True)
            if residual is not None and base is not None
        ]
        if len(known) < scale.residuals:
            return None
        sigma = _MAD_TO_SIGMA * median([distance for distance, _ in known])
        if not scale.grows:
            return cls(max(sigma, scale.floor))
        level = median([scale.back(base) for _, base in known])
        excess = max(0.0, sigma**2 - scale.floor**2) / max(level, 1.0)
        return cls(scale.floor, excess, scale.back)

    def at(self, base: float) -> float:
        return math.sqrt(self.constant**2 + self.excess * self.back(base)) if self.excess else self.constant
