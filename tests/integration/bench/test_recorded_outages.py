"""What endpoints went through, read from a hub's attempts, and simulated (section 10.3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from bench.recorded import Seen, attempts_since, recording, write
from bench.retries import ANSWERS, RECORDED, Outage, recorded
from domain.webhooks.model import DeliveryStatus
from tests.worlds.sql_world import START, world_under

BEGAN = datetime(2026, 1, 5, tzinfo=UTC)


def periods(*attempts: tuple[float, int | None]) -> list[tuple[float, float, str]]:
    """Of an endpoint that answered 200 at first."""
    seen = [
        Seen(UUID(int=1), BEGAN + timedelta(seconds=at), True, status) for at, status in ((0, 200), *attempts)
    ]
    found = recording(seen)
    return list(found[0]["periods"]) if found else []


@pytest.mark.parametrize(
    ("status", "kind"), [(503, "error"), (408, "error"), (None, "unreachable"), (429, "limit")]
)
def test_a_period_lasts_from_the_first_failure_to_midway_before_the_next_success(
    status: int | None, kind: str
) -> None:
    assert periods((100, status), (200, status), (300, 200)) == [(100, 250, kind)]


def test_an_outage_is_named_for_its_first_attempt() -> None:
    assert periods((100, None), (200, 503), (300, 200)) == [(100, 250, "unreachable")]


def test_a_limit_ends_an_outage_and_an_outage_a_limit() -> None:
    assert periods((100, 503), (200, 429), (400, 503), (500, 200)) == [
        (100, 150, "error"),
        (200, 300, "limit"),
        (400, 450, "error"),
    ]


def test_an_endpoint_that_refuses_a_post_for_its_own_sake_is_there() -> None:
    assert periods((100, 404), (200, 503), (300, 422), (400, 404)) == [(200, 250, "error")]


def test_a_post_taken_here_and_there_does_not_end_a_limit() -> None:
    assert periods((100, 429), (110, 200), (120, 429), (300, 200)) == [(100, 210, "limit")]


def test_what_has_not_ended_is_not_told() -> None:
    assert periods((100, 503), (200, 503)) == []


def test_a_recording_is_simulated_with_its_own_answers_and_events(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    write(
        [{"seconds": 43_200.0, "deliveries": 100, "periods": [(10.0, 20.0, "limit"), (30.0, 40.0, "error")]}],
        path,
    )
    [pattern] = recorded(path).values()
    assert (pattern.days, pattern.a_day) == (0.5, 200)
    assert pattern.outages(Random(1)) == [Outage(10, 20, ANSWERS["limit"]), Outage(30, 40, ANSWERS["error"])]


def test_the_recording_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "recorded.json"
    with world_under(tmp_path) as world:
        webhook = world.webhook()
        for number, answered in enumerate((200, 500, 200)):
            claimed = world.claim(webhook, world.deliveries(webhook))
            world.clock.advance(seconds=60 * (number > 0))
            status = DeliveryStatus.Delivered if answered == 200 else DeliveryStatus.Failed
            [result] = [world.result(delivery, status) for delivery in claimed]
            with world.transactions.write() as tx:
                attempt = replace(result.attempt, http_status_code=answered)
                now = world.clock.now()
                tx.pipeline.record([replace(result, attempt=attempt)], now=now, requeue_at=now)
                tx.commit()
        write(recording(attempts_since(world.database, START)), path)
    assert (
        path.read_text() == '[\n{"seconds": 120.0, "deliveries": 3, "periods": [[60.0, 90.0, "error"]]}\n]\n'
    )


def test_the_published_recording_holds_periods_and_nothing_else() -> None:
    for pattern in recorded(RECORDED).values():
        outages = pattern.outages(Random(1))
        assert outages
        assert all(before.end <= after.start < after.end for before, after in pairwise(outages))
