"""A distribution of durations that can be added up: how many fell into each of ever wider intervals.

The idea is DDSketch's (Masson, Rim and Lee, VLDB 2019): intervals that grow by a constant factor bound the relative
error of every percentile, here to 7 %."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping

_GROWTH = 1.15
_LOG = math.log(_GROWTH)


class Sketch:
    """Counts by interval. Adding two gives what counting all their values together would have given."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts: Counter[int] = Counter(counts or {})

    @classmethod
    def of(cls, milliseconds: Iterable[int]) -> Sketch:
        """Of durations in milliseconds; what is below one counts as one."""
        return cls(Counter(math.ceil(math.log(max(value, 1)) / _LOG) for value in milliseconds))

    @classmethod
    def from_json(cls, text: str) -> Sketch:
        return cls({int(interval): int(count) for interval, count in json.loads(text).items()})

    def to_json(self) -> str:
        return json.dumps(
            {str(one): count for one, count in sorted(self._counts.items())}, separators=(",", ":")
        )

    @classmethod
    def sum_of(cls, sketches: Iterable[Sketch]) -> Sketch:
        """Many added up at once."""
        counts: Counter[int] = Counter()
        for one in sketches:
            counts.update(one._counts)
        return cls(counts)

    def __add__(self, other: Sketch) -> Sketch:
        return Sketch(self._counts + other._counts)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def intervals(self) -> list[tuple[float, int]]:
        """(upper end in milliseconds, values in the interval that ends there), ascending; empty ones left out."""
        return [(_GROWTH**interval, count) for interval, count in sorted(self._counts.items())]

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return self._counts.total()

    def below(self, milliseconds: float) -> Sketch:
        """Those in intervals that end below so many milliseconds: up to 15 % under it may be missing."""
        return Sketch({one: count for one, count in self._counts.items() if _GROWTH**one < milliseconds})

    def percentile(self, share: float) -> int | None:
        """The duration, in milliseconds, that `share` (0 to 1) of the values do not exceed; None of nothing."""
        total = self.count
        if not total:
            return None
        wanted, seen = max(1, math.ceil(share * total)), 0
        for interval, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted:
                # The middle of the interval, by ratio.
                return round(2 * _GROWTH**interval / (_GROWTH + 1))
        raise AssertionError("the counts add up to their total")
