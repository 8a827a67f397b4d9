"""The anomaly detector over a synthetic month of 1,000 labelled series: `python -m bench.anomalies`.

Series have daily and weekly rhythms, a trend, and noise beyond Poisson's; half of them hold one to three labelled
anomalies of one to twelve hours, down to such as a person would hardly see. Precision is the share of reported runs
that touch a label, recall the share of labels that a run touches.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from random import Random
from time import perf_counter

from domain.anomalies.detection import Sample, unusual_hours
from domain.anomalies.model import Metric

HOURS = 30 * 24
SERIES = 1_000
_MIX = ((Metric.Traffic, 0.5), (Metric.ErrorRate, 0.2), (Metric.Latency, 0.2), (Metric.SyncVolume, 0.1))


@dataclass(frozen=True, slots=True)
class Labelled:
    metric: Metric
    samples: list[Sample | None]
    labels: list[range]


@dataclass(frozen=True, slots=True)
class Score:
    reported: int
    right: int
    labels: int
    found: int
    seconds: float

    @property
    def precision(self) -> float:
        return self.right / self.reported if self.reported else 1.0

    @property
    def recall(self) -> float:
        return self.found / self.labels if self.labels else 1.0


def month(random: Random) -> list[Labelled]:
    """A thousand series; the same for the same seed."""
    metrics = [metric for metric, share in _MIX for _ in range(int(SERIES * share))]
    return [_series(metric, random) for metric in metrics]


def _series(metric: Metric, random: Random) -> Labelled:
    labels = _labels(random) if random.random() < 0.5 else []
    strength = [1.0] * HOURS
    for label in labels:
        factor = _strength(metric, random)
        for hour in label:
            strength[hour] = factor * random.uniform(0.9, 1.1)
    volume = _rhythm(random, level=10 ** random.uniform(1.3, 3.7))
    noise = random.uniform(0.0, 0.25)
    making = {
        Metric.Traffic: _traffic,
        Metric.ErrorRate: _errors,
        Metric.Latency: _latency,
        Metric.SyncVolume: _volume,
    }[metric]
    return Labelled(metric, making(random, volume, strength, noise), labels)


def _labels(random: Random) -> list[range]:
    found: list[range] = []
    for _ in range(random.randint(1, 3)):
        start = random.randrange(24, HOURS - 24)
        label = range(start, start + random.randint(1, 12))
        if all(label.stop + 24 < other.start or other.stop + 24 < label.start for other in found):
            found.append(label)
    return found


def _strength(metric: Metric, random: Random) -> float:
    """What an anomaly multiplies by; of shares of failures, what it adds."""
    if metric is Metric.ErrorRate:
        return random.uniform(0.12, 0.9)
    if metric is Metric.Latency:
        return random.uniform(1.8, 8)
    down = 0.0 if random.random() < 0.5 else random.uniform(0.05, 0.35)
    return down if random.random() < 0.5 else random.uniform(2, 8)


def _rhythm(random: Random, level: float) -> list[float]:
    depth, phase, weekend = random.uniform(0.1, 0.8), random.uniform(0, 24), random.uniform(0.3, 1.2)
    trend = random.uniform(-0.15, 0.3)
    return [
        level
        * (1 + depth * math.sin(2 * math.pi * (hour - phase) / 24))
        * (weekend if hour // 24 % 7 >= 5 else 1.0)
        * (1 + trend * hour / HOURS)
        for hour in range(HOURS)
    ]


def _poisson(random: Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, random.random()
    while product > limit:
        count += 1
        product *= random.random()
    return count


def _traffic(random: Random, volume: list[float], strength: list[float], noise: float) -> list[Sample | None]:
    made: list[Sample | None] = []
    for mean, factor in zip(volume, strength, strict=True):
        count = _poisson(random, mean * factor * random.lognormvariate(0, noise / 2))
        made.append(Sample(count, count))
    return made


def _errors(random: Random, volume: list[float], strength: list[float], noise: float) -> list[Sample | None]:
    usual = random.uniform(0.0, 0.08)
    made: list[Sample | None] = []
    for mean, added in zip(volume, strength, strict=True):
        total = _poisson(random, mean)
        share = usual * random.lognormvariate(0, noise) + (added if added != 1.0 else 0.0)
        failed = min(total, _poisson(random, total * min(share, 1.0)))
        made.append(Sample(failed / total, total) if total else None)
    return made


def _latency(random: Random, volume: list[float], strength: list[float], noise: float) -> list[Sample | None]:
    usual = 10 ** random.uniform(1.3, 3.3)
    made: list[Sample | None] = []
    for mean, factor in zip(volume, strength, strict=True):
        total = _poisson(random, mean)
        # The 95th percentile of few is restless.
        spread = noise / 2 + 0.6 / math.sqrt(max(total, 1))
        made.append(Sample(usual * factor * random.lognormvariate(0, spread), total))
    return made


def _volume(random: Random, volume: list[float], strength: list[float], noise: float) -> list[Sample | None]:
    every = random.choice((1, 2, 6))
    return [
        Sample(_poisson(random, mean * 5 * factor * random.lognormvariate(0, noise)), 1)
        if hour % every == 0
        else None
        for hour, (mean, factor) in enumerate(zip(volume, strength, strict=True))
    ]


def runs(hours: list[int]) -> list[range]:
    """Unusual hours in a row, one missing forgiven, are one report."""
    found: list[range] = []
    for hour in hours:
        if found and hour - found[-1].stop <= 1:
            found[-1] = range(found[-1].start, hour + 1)
        else:
            found.append(range(hour, hour + 1))
    return found


def _touch(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def evaluate(series: list[Labelled]) -> Score:
    started = perf_counter()
    reports = [
        runs([one.index for one in unusual_hours(labelled.metric, labelled.samples)]) for labelled in series
    ]
    seconds = perf_counter() - started
    counts: Counter[str] = Counter()
    for labelled, reported in zip(series, reports, strict=True):
        labels = [one for one in labelled.labels if any(labelled.samples[hour] for hour in one)]
        counts["reported"] += len(reported)
        counts["right"] += sum(any(_touch(one, label) for label in labels) for one in reported)
        counts["labels"] += len(labels)
        counts["found"] += sum(any(_touch(one, label) for one in reported) for label in labels)
    return Score(counts["reported"], counts["right"], counts["labels"], counts["found"], seconds)


def main() -> None:
    series = month(Random(20))
    print("| series | labels | precision | recall | seconds |\n|---|---|---|---|---|")
    for name, some in (
        *((metric.value, [one for one in series if one.metric is metric]) for metric, _ in _MIX),
        ("all", series),
    ):
        score = evaluate(some)
        print(
            f"| {name} ({len(some)}) | {score.labels} | {score.precision:.3f} | {score.recall:.3f} "
            f"| {score.seconds:.1f} |"
        )


if __name__ == "__main__":
    main()
