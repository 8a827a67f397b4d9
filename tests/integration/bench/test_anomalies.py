"""Anomaly detection over labelled series, as docs/anomalies.md publishes it."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from bench import anomalies_public
from bench.anomalies import SERIES, month
from bench.anomalies_scored import Score, evaluate, in_hindsight
from tests import ROOT

DOCS = ROOT / "docs" / "anomalies.md"


@pytest.fixture(scope="module")
def score() -> Score:
    return evaluate(month(Random(20)), in_hindsight)


def test_the_published_figures_are_those_of_the_benchmark(score: Score) -> None:
    row = re.search(
        r"^\| all \(1000\) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", DOCS.read_text(), re.MULTILINE
    )
    assert row is not None
    figures = (str(score.labels), str(score.reported), f"{score.precision:.3f}", f"{score.recall:.3f}")
    assert row.groups() == figures


def test_a_public_series_is_read_by_the_hour_whatever_the_offset(tmp_path: Path) -> None:
    path = tmp_path / "water-flow.csv"
    path.write_text(
        "Time,Water flow [l/s]\n"
        "2022-03-27T00:00:00+01:00,100.5\n2022-03-27T01:00:00+01:00,10\n"
        "2022-03-27T03:00:00+02:00,20\n2022-03-27T05:00:00+02:00,99\n"
    )
    series = anomalies_public.load(path, (("2022-03-27T01:00+01:00", "2022-03-27T03:00+02:00"),))
    values = [sample and round(sample.value, 1) for sample in series.samples]
    assert values == [361.8, 36.0, 72.0, None, 356.4]
    assert series.labels == [range(1, 3)]


def test_a_synthetic_month_of_a_thousand_series_is_judged_well(score: Score) -> None:
    """Precision at least 0.9 and recall at least 0.8 at the default threshold; the pass takes seconds."""
    assert SERIES == 1_000
    assert score.labels > 800
    assert score.precision >= 0.9
    assert score.recall >= 0.8
    assert score.seconds < 60, "ten seconds on an idle machine; see docs/anomalies.md"
