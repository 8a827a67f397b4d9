"""Which use of an API key is unusual: the decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.authentication.key_usage_watch import PROBING, describe_unusual
from domain.monitoring.anomalies.ports import SeenTrait, Sighting, Trait

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age_seconds", "is_told"), [(0, True), (3_599, True), (3_600, False), (7_200, False)]
)
def test_scopes_tried_within_an_hour_count_and_older_ones_do_not(age_seconds: int, is_told: bool) -> None:
    oldest = NOW - timedelta(seconds=age_seconds)
    known = [SeenTrait("events:write", oldest, oldest)]
    known += [SeenTrait(f"reports:{number}", NOW, NOW) for number in range(PROBING - 1)]
    sighting = Sighting(UUID(int=1), UUID(int=2), Trait.DeniedScope, "reports:0")
    told = describe_unusual(sighting, known, "Box office", NOW)
    assert (told is not None) is is_told
    assert told is None or f"{PROBING} scopes it does not have" in told
