"""Adaptive retry: when is an endpoint that has been failing for t seconds likely to be back? Pure; seconds.

A history holds how long an endpoint's outages lasted: decayed counts in buckets half an octave wide. From it the
next retry is planned by dynamic programming over (age of the outage, retries left)."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import log, sqrt

LONGEST = 86_400.0
#: Upper edges of the buckets: 2 s to a day and beyond.
EDGES = (*(2 ** (1 + n / 2) for n in range(31)), LONGEST)
_TYPICAL = tuple(sqrt((1.0 if n == 0 else EDGES[n - 1]) * edge) for n, edge in enumerate(EDGES))
#: An outage's weight after one more was seen: about the last ten count.
DECAY = 0.9
#: How many outages the prior, which takes every length to be as likely, is worth.
PRIOR_OUTAGES = 1.0
#: Fewer outages than this and the fixed schedule of BR-WH-04 is kept.
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
    """Decayed counts of outages by length, and how many were ever seen. `since` is when the one under way began
    (Unix time), None outside of one."""

    weights: tuple[float, ...] = (0.0,) * len(EDGES)
    seen: int = 0
    since: float | None = None

    def learned(self, failed_for: float, over_after: float) -> OutageHistory:
        """With one more outage, still there when it was `failed_for` seconds old and over when it would have been
        `over_after`. Nobody looked in between, so it counts in all buckets between, evenly over the octaves."""
        low = min(max(1.0, failed_for), LONGEST)
        high = min(max(low * 1.001, over_after), LONGEST * 1.001)
        seen = [log(min(max(edge, low), high)) for edge in (1.0, *EDGES[:-1], high)]
        whole = seen[-1] - seen[0]
        shares = [(after - before) / whole for before, after in pairwise(seen)]
        weights = (weight * DECAY + share for weight, share in zip(self.weights, shares, strict=True))
        return OutageHistory(tuple(weights), self.seen + 1)

    def text(self) -> str:
        """As it is stored."""
        stored = {"seen": self.seen, "weights": [round(one, 4) for one in self.weights], "since": self.since}
        return json.dumps(stored)

    def typical(self) -> float | None:
        """The median length of an outage, None while none was seen."""
        half, total = sum(self.weights) / 2, 0.0
        for weight, typical in zip(self.weights, _TYPICAL, strict=True):
            total += weight
            if total >= half > 0:
                return typical
        return None


@lru_cache(maxsize=512)
def history_of(text: str | None) -> OutageHistory:
    """What `OutageHistory.text` wrote; an empty one for None. Deliveries that fail together ask for the same."""
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
        """Of each edge from EDGES[first] on, the expected cost of looking again when the outage, `age` old now, is
        that old, with `left` retries after that one. What knows only the age is reckoned once."""
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
        """For each edge the least of `costs` when the outage is that old. Their terms that know only the later edge
        are summed first, so that a pair of edges costs one product: this is asked after each outage."""
        whole, after = self.mass[-1], self.values[left]
        later = [
            edge * self.scaled[n + 1] - self.lengths[n + 1] + (whole - self.mass[n + 1]) * after[n]
            for n, edge in enumerate(EDGES)
        ]
        costs = []
        for i in range(1, len(EDGES)):
            scaled = self.scaled[i]
            least = min([cost - scaled * edge for cost, edge in zip(later[i:], EDGES[i:], strict=True)])
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
    """Seconds until the next retry of an endpoint that has been `failing_for` seconds; `retries_left` counts that
    one. None while too little is known, or of outages as long as this one. `spread` in [-1, 1] places it within the
    jitter: up to 10 % later."""
    first = bisect_left(EDGES, failing_for + 1.0)
    if history.seen < ENOUGH or retries_left < 1 or first == len(EDGES):
        return None
    if retries_left > _LAST and sum(history.weights[first:]) < _KNOWN:
        return None
    plan = _plan(tuple(round(one, 3) for one in history.weights), retries_left - 1)
    costs = plan.costs(failing_for, first, retries_left - 1)
    best = first + costs.index(min(costs))
    return min(LONGEST, (EDGES[best] - failing_for) * (1 + 0.05 * (1 + spread)))
