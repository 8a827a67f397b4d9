"""Robust trends: whether there is one at all (Mann 1945, Kendall 1975), and the median of all pairwise slopes (Theil
1950, Sen 1968). Pure; nothing here knows what it measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from statistics import median

#: Standard deviations of a 90 % interval.
_Z_90 = 1.645
#: From a median absolute difference to a standard deviation, where differences are normal.
_FROM_MEDIAN = 1.4826


@dataclass(frozen=True, slots=True)
class Trend:
    """`slope` per unit of x, between `low` and `high` with 90 % confidence. The line goes through (`x`, `y`);
    `error` is how far off (90 %) its end may be."""

    slope: float
    low: float
    high: float
    x: float
    y: float
    error: float

    def at(self, x: float) -> float:
        """The line's value."""
        return self.y + self.slope * (x - self.x)


def rise(values: Sequence[float]) -> float:
    """How many standard deviations the order of the values is from what chance gives; positive when they rise."""
    score = sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))
    deviation = _deviation(values)
    # One less, for the score moves in steps of two.
    return (score - (score > 0) + (score < 0)) / deviation if deviation else 0.0


def trend_of(points: Sequence[tuple[float, float]]) -> Trend:
    """Of three points or more, ordered by their x, which differ."""
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
    """Of Kendall's score under chance, ties allowed for."""
    n = len(values)
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(values).values() if t > 1)
    return sqrt(max(0, n * (n - 1) * (2 * n + 5) - ties) / 18)
