"""Adaptive retry (section 10.3): what is learned, what is planned by it, and that it beats the fixed schedule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.journal.event_types import FROM_PLATFORM
from domain.journal.events import DomainEvent
from domain.webhooks.model import RetryPolicy, WebhookState
from domain.webhooks.ports import ClaimedDelivery, Endpoint
from domain.webhooks.retry_policy import (
    ENOUGH,
    LONGEST,
    OutageHistory,
    ReceiverAnswer,
    adaptive_delay,
    decide,
    history_of,
    is_outage,
    learned_delay,
    planned_delay,
    retry_delay,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def taught(*lengths: float) -> OutageHistory:
    history = OutageHistory()
    for lasted in lengths:
        history = history.learned(lasted, lasted)
    return history


def planned(
    answer: ReceiverAnswer,
    history: OutageHistory,
    *,
    used: int,
    age: float,
    failing_for: float = 0.0,
    spread: float = -1.0,
    jitter: bool = False,
) -> float | None:
    """Seconds to the next of five retries."""
    return planned_delay(
        answer,
        history,
        RetryPolicy(jitter=jitter),
        failing_for=failing_for,
        age=age,
        retries_used=used,
        retries=5,
        spread=spread,
    )


def test_the_fixed_schedule_holds_while_little_is_known() -> None:
    history = taught(*[300.0] * (ENOUGH - 1))
    assert adaptive_delay(history, failing_for=0, retries_left=5, spread=0) is None


@pytest.mark.parametrize("lasted", [20.0, 300.0])
def test_the_first_retry_comes_soon_after_the_usual_end(lasted: float) -> None:
    delay = adaptive_delay(taught(*[lasted] * 10), failing_for=0, retries_left=5, spread=-1)
    assert delay is not None
    assert lasted * 0.7 <= delay <= lasted * 2


def test_an_outage_already_old_is_retried_the_sooner() -> None:
    history = taught(*[300.0] * 10)
    fresh = adaptive_delay(history, failing_for=0, retries_left=5, spread=-1)
    old = adaptive_delay(history, failing_for=250, retries_left=5, spread=-1)
    assert fresh is not None
    assert old is not None
    assert old < fresh


def test_old_outages_fade() -> None:
    assert (taught(*[20.0] * 30, *[7200.0] * 10).typical() or 0) > 3600


@pytest.mark.parametrize("failing_for", [0.0, 1.0, 59.0, 3600.0, 86_000.0])
@pytest.mark.parametrize("left", [1, 5, 10])
def test_delays_are_positive_and_within_a_day(failing_for: float, left: int) -> None:
    delay = adaptive_delay(taught(5, 400, 90_000), failing_for=failing_for, retries_left=left, spread=1)
    assert delay is None or 1.0 <= delay <= LONGEST


def test_a_stored_sketch_is_read_back() -> None:
    history = taught(20, 300, 300)
    assert history_of(history.text()).typical() == history.typical()
    assert history_of(None) == OutageHistory()


def test_an_outage_counts_wherever_it_may_have_ended() -> None:
    """It failed after 64 s and was over after 256 s: two octaves, four buckets."""
    history = OutageHistory().learned(64, 256)
    assert [round(weight, 6) for weight in history.weights if weight] == [0.25] * 4
    assert 64 < (history.typical() or 0) < 256


@pytest.mark.parametrize(
    ("failed_for", "over_after"), [(0, 0), (0, 1), (20, 20), (64, 64), (0, 200_000), (90_000, 100_000)]
)
def test_every_outage_counts_as_one(failed_for: float, over_after: float) -> None:
    weights = OutageHistory().learned(failed_for, over_after).weights
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0


def test_an_outage_longer_than_those_known_is_retried_by_the_schedule_but_for_the_last_two() -> None:
    history = taught(*[20.0] * 10)
    delays = [
        planned(ReceiverAnswer(status=503), history, used=used, age=age, failing_for=600)
        for used, age in ((1, 60), (2, 180), (3, 420))
    ]
    assert delays[:2] == [120, 240]
    assert (delays[2] or 0) > 480
    assert adaptive_delay(taught(*[20.0] * 10, 3600.0), failing_for=600, retries_left=4, spread=0) is not None


@pytest.mark.parametrize(
    ("learned", "retry_after", "expires_in", "waits"),
    [(10, None, 3600, 10), (10, "600", 3600, 600), (5000, None, 3600, 60)],
)
def test_retry_after_and_expiry_come_before_what_was_learned__BR_WH_05(
    learned: int, retry_after: str | None, expires_in: int, waits: int
) -> None:
    decision = decide(
        ReceiverAnswer(status=503, retry_after=retry_after),
        policy=RetryPolicy(jitter=False),
        retries_used=0,
        platform_cap=5,
        expires_at=NOW + timedelta(seconds=expires_in),
        now=NOW,
        spread=0,
        learned=timedelta(seconds=learned),
    )
    assert decision.retry_at == NOW + timedelta(seconds=waits)


def claimed_by(policy: RetryPolicy, history: str) -> ClaimedDelivery:
    tenant, webhook = UUID(int=1), UUID(int=2)
    endpoint = Endpoint(
        webhook,
        tenant,
        "https://receiver.example/hook",
        (),
        WebhookState.Active,
        policy,
        30,
        None,
        retry_history=history,
    )
    event = DomainEvent("e-1", tenant, "BookingConfirmed", "{}", NOW, origin=FROM_PLATFORM)
    return ClaimedDelivery(UUID(int=3), endpoint, event, 1, 0, NOW + timedelta(hours=24), UUID(int=4))


@pytest.mark.parametrize(
    ("answer", "outage"),
    [
        (ReceiverAnswer(status=500), True),
        (ReceiverAnswer(status=503), True),
        (ReceiverAnswer(status=408), True),
        (ReceiverAnswer(failure="timeout"), True),
        (ReceiverAnswer(failure="connect"), True),
        (ReceiverAnswer(failure="blocked"), False),
        (ReceiverAnswer(status=429), False),
        (ReceiverAnswer(status=503, retry_after="30"), False),
        (ReceiverAnswer(status=401), False),
        (ReceiverAnswer(status=404), False),
    ],
)
def test_only_what_is_away_or_broken_is_an_outage(answer: ReceiverAnswer, outage: bool) -> None:
    assert is_outage(answer) is outage


def test_an_answer_that_is_no_outage_keeps_the_schedule() -> None:
    history = OutageHistory()
    for _ in range(5):
        history = history.learned(600, 600)
    claimed = claimed_by(RetryPolicy(strategy="adaptive"), history.text())
    delays = [
        learned_delay(claimed, answer, NOW, expiry=timedelta(hours=24), platform_cap=5, spread=0.0)
        for answer in (
            ReceiverAnswer(status=500),
            ReceiverAnswer(status=429),
            ReceiverAnswer(status=503, retry_after="5"),
        )
    ]
    assert delays[0] is not None
    assert delays[0] > timedelta(seconds=60)
    assert delays[1:] == [timedelta(seconds=60)] * 2


@pytest.mark.parametrize(
    ("used", "age", "waits"),
    [(0, 0, 60), (1, 300, 120), (2, 100, 320), (4, 1000, 960), (4, 300, 1560), (4, 80_000, 960)],
)
def test_after_a_refusal_no_retry_comes_sooner_than_the_schedules_of_that_number(
    used: int, age: float, waits: float
) -> None:
    """The retries come 1, 3, 7, 15 and 31 minutes after the first attempt; an older delivery takes the usual step."""
    assert planned(ReceiverAnswer(status=429), taught(*[300.0] * ENOUGH), used=used, age=age) == waits


@pytest.mark.parametrize("age", [54.0, 60.0, 66.0])
@pytest.mark.parametrize("spread", [-1.0, 0.3, 1.0])
def test_refused_deliveries_that_kept_to_the_schedule_stay_on_it(age: float, spread: float) -> None:
    """Wherever within its jitter the first retry came."""
    delay = planned(
        ReceiverAnswer(status=429), taught(*[300.0] * ENOUGH), used=1, age=age, spread=spread, jitter=True
    )
    assert delay == retry_delay(RetryPolicy(), 2, spread=spread).total_seconds()


@pytest.mark.parametrize(
    ("used", "age", "waits"),
    [(0, 0, 30), (1, 30, 60), (3, 210, 240), (4, 450, 1410), (4, 900, 960)],
)
def test_retries_come_at_most_twice_as_fast_and_the_last_no_sooner_than_the_schedules(
    used: int, age: float, waits: float
) -> None:
    assert planned(ReceiverAnswer(status=503), taught(*[5.0] * 10), used=used, age=age) == waits


def test_how_long_it_has_been_away_counts_from_its_first_failure() -> None:
    history = OutageHistory()
    for _ in range(5):
        history = history.learned(600, 600)
    policy = RetryPolicy(strategy="adaptive", jitter=False)
    since = replace(history, since=NOW.timestamp() - 540)
    for known, failing_for in ((history, 0.0), (since, 540.0)):
        claimed = claimed_by(policy, known.text())
        delay = learned_delay(
            claimed, ReceiverAnswer(status=500), NOW, expiry=timedelta(hours=24), platform_cap=5, spread=0.0
        )
        expected = adaptive_delay(history, failing_for=failing_for, retries_left=5, spread=-1.0)
        assert delay is not None
        assert expected is not None
        assert delay.total_seconds() == pytest.approx(expected, abs=1e-3)


def test_a_history_stored_before_outages_had_a_beginning_is_read() -> None:
    old = '{"seen": 4, "weights": ' + str([0.0] * len(OutageHistory().weights)) + "}"
    assert (history_of(old).seen, history_of(old).since) == (4, None)


def test_those_told_the_same_moment_come_back_spread_over_a_tenth() -> None:
    answer = ReceiverAnswer(status=429, retry_after="600")
    moments = [
        decide(
            answer,
            policy=RetryPolicy(jitter=jitter),
            retries_used=0,
            platform_cap=5,
            expires_at=NOW + timedelta(hours=24),
            now=NOW,
            spread=spread,
        ).retry_at
        for jitter, spread in ((True, -1.0), (True, 0.0), (True, 1.0), (False, 1.0))
    ]
    waits = [(moment - NOW).total_seconds() for moment in moments if moment is not None]
    assert waits == [600, 630, 660, 600]


@pytest.mark.parametrize(
    ("left", "delays"),
    [
        (1, (22.63, 412.0, 2096.0)),
        (2, (22.63, 412.0, 14384.0)),
        (3, (22.63, 2796.31, 6192.0)),
        (4, (45.25, 1348.15, 3792.62)),
        (5, (32.0, 924.0, 3792.62)),
    ],
)
def test_the_plan_looks_as_far_ahead_as_there_are_retries(left: int, delays: tuple[float, ...]) -> None:
    """Blips of 20 s and outages of a day: how long to wait depends on how often one may still ask."""
    history = taught(*[20.0] * 6, *[86_000.0] * 4)
    for failing_for, expected in zip((0.0, 100.0, 2_000.0), delays, strict=True):
        found = adaptive_delay(history, failing_for=failing_for, retries_left=left, spread=-1)
        assert found == pytest.approx(expected, abs=0.01)


def test_enough_outages_are_enough_and_the_jitter_reaches_a_tenth_later() -> None:
    history = taught(*[300.0] * ENOUGH)
    earliest, middle, latest = (
        adaptive_delay(history, failing_for=0, retries_left=5, spread=spread) for spread in (-1, 0, 1)
    )
    assert earliest is not None and middle is not None and latest is not None
    assert (middle / earliest, latest / earliest) == (pytest.approx(1.05), pytest.approx(1.1))


def test_a_blip_that_was_over_at_once_counts_as_the_shortest_outage_alone() -> None:
    assert [weight for weight in OutageHistory().learned(0, 0).weights if weight] == [1.0]
