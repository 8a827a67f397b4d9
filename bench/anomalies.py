"""The anomaly detector over a synthetic month of 1,000 labelled series: `python -m bench.anomalies`.

- `--public` takes a public series of a real thing instead.
- `--watched` evaluates each hour when it has ended, as the product does, with one synthetic series in ten; it takes a
  minute or two.

The synthetic series have daily and weekly rhythms, a trend, and noise beyond Poisson's. Half of them hold one to
three labelled anomalies of one to twelve hours, down to such as a person would hardly see."""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from random import Random

from bench import anomalies_public
from bench.anomalies_scored import Labelled, Score, as_watched, evaluate, in_hindsight
from domain.monitoring.anomalies.detection import HourValue
from domain.monitoring.anomalies.model import Metric

HOURS = 30 * 24
SERIES = 1_000
_MIX = ((Metric.Traffic, 0.5), (Metric.ErrorRate, 0.2), (Metric.Latency, 0.2), (Metric.SyncVolume, 0.1))


def month(random: Random) -> list[Labelled]:
    """Return a thousand series; the same for the same seed."""
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
    """Return what an anomaly multiplies by; of shares of failures, what it adds."""
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


def _traffic(
    random: Random, volume: list[float], strength: list[float], noise: float
) -> list[HourValue | None]:
    made: list[HourValue | None] = []
    for mean, factor in zip(volume, strength, strict=True):
        count = _poisson(random, mean * factor * random.lognormvariate(0, noise / 2))
        made.append(HourValue(count, count))
    return made


def _errors(
    random: Random, volume: list[float], strength: list[float], noise: float
) -> list[HourValue | None]:
    usual = random.uniform(0.0, 0.08)
    made: list[HourValue | None] = []
    for mean, added in zip(volume, strength, strict=True):
        total = _poisson(random, mean)
        share = usual * random.lognormvariate(0, noise) + (added if added != 1.0 else 0.0)
        failed = min(total, _poisson(random, total * min(share, 1.0)))
        made.append(HourValue(failed / total, total) if total else None)
    return made


def _latency(
    random: Random, volume: list[float], strength: list[float], noise: float
) -> list[HourValue | None]:
    usual = 10 ** random.uniform(1.3, 3.3)
    made: list[HourValue | None] = []
    for mean, factor in zip(volume, strength, strict=True):
        total = _poisson(random, mean)
        # The 95th percentile of few is restless.
        spread = noise / 2 + 0.6 / math.sqrt(max(total, 1))
        made.append(HourValue(usual * factor * random.lognormvariate(0, spread), total))
    return made


def _volume(
    random: Random, volume: list[float], strength: list[float], noise: float
) -> list[HourValue | None]:
    every = random.choice((1, 2, 6))
    return [
        HourValue(_poisson(random, mean * 5 * factor * random.lognormvariate(0, noise)), 1)
        if hour % every == 0
        else None
        for hour, (mean, factor) in enumerate(zip(volume, strength, strict=True))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.anomalies", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--public", action="store_true", help=f"the series of {anomalies_public.PACKAGE}")
    which.add_argument("--watched", action="store_true", help="one series in ten, hour by hour")
    options = parser.parse_args()
    print("| series | labels | reported | precision | recall | CPU seconds |\n|---|---|---|---|---|---|")
    if options.public:
        for name, score in anomalies_public.scores():
            _print(name, score)
        return
    series = month(Random(20))
    if options.watched:
        series = [_after_first_week(series_) for series_ in series[::10]]
    judge = as_watched if options.watched else in_hindsight
    scores = []
    for metric, _ in _MIX:
        some = [series_ for series_ in series if series_.metric is metric]
        scores.append(evaluate(some, judge))
        _print(f"{metric.value} ({len(some)})", scores[-1])
    _print(f"all ({len(series)})", sum(scores[1:], scores[0]))


def _after_first_week(series: Labelled) -> Labelled:
    """Of which who watches says nothing."""
    return replace(series, labels=[label for label in series.labels if label.start >= 7 * 24])


def _print(name: str, score: Score) -> None:
    print(
        f"| {name} | {score.labels} | {score.reported} | {score.precision:.3f} | {score.recall:.3f} "
        f"| {score.seconds:.1f} |"
    )


if __name__ == "__main__":
    main()
