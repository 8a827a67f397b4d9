"""A public series of a real thing: the water that flows through a pipeline, hour by hour for eight weeks.

The package `river` ships it as `WaterFlow` and says what is anomalous in it: three times of low flow (losses, or
work on the pipe), and after the first two a small peak (a pump). It does not say when; the series does: but for the
hours labelled here its flow never is 5 litres a second from the median of 102.3. An hour without a value says nothing.
"""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final

from bench.anomalies_scored import Labelled, Score, as_watched, evaluate, in_hindsight
from domain.monitoring.anomalies.detection import HourValue
from domain.monitoring.anomalies.model import Metric

PACKAGE: Final = "river==0.26.1"
_FILE: Final = "river/datasets/water-flow.csv"
_HOUR: Final = timedelta(hours=1)
#: From litres a second to cubic metres an hour: a count of an hour, as traffic is.
_PER_HOUR: Final = 3.6

#: First and last hour, at UTC+2.
LABELS: Final = (
    ("2022-03-24T09:00+02:00", "2022-03-25T02:00+02:00"),
    ("2022-03-29T08:00+02:00", "2022-03-29T20:00+02:00"),
    ("2022-04-03T06:00+02:00", "2022-04-03T06:00+02:00"),
    ("2022-04-27T15:00+02:00", "2022-04-28T06:00+02:00"),
)


def installed() -> Path:
    """Return the series' file in the installed package, which is not imported.

    Raises SystemExit, saying what to install, where it is missing."""
    try:
        found = [file for file in files("river") or () if str(file) == _FILE]
    except PackageNotFoundError:
        found = []
    if not found:
        raise SystemExit(
            f"The series is not installed. It needs no more than: python -m pip install --no-deps {PACKAGE}"
        )
    return Path(str(found[0].locate()))


def load(path: Path, labels: tuple[tuple[str, str], ...] = LABELS) -> Labelled:
    """Read a CSV file with a heading, and in each row a time with its offset and a flow in litres a second."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    flows = {datetime.fromisoformat(time): float(flow) * _PER_HOUR for time, flow in rows}
    start = min(flows)
    length = (max(flows) - start) // _HOUR + 1
    samples: list[HourValue | None] = [None] * length
    for time, flow in flows.items():
        samples[(time - start) // _HOUR] = HourValue(flow, flow)
    known = [
        range(
            (datetime.fromisoformat(first) - start) // _HOUR,
            (datetime.fromisoformat(last) - start) // _HOUR + 1,
        )
        for first, last in labels
    ]
    return Labelled(Metric.Traffic, samples, known)


def scores() -> list[tuple[str, Score]]:
    """Judged as the product does, and all at once."""
    series = [load(installed())]
    return [
        ("hour by hour", evaluate(series, as_watched)),
        ("in hindsight", evaluate(series, in_hindsight)),
    ]
