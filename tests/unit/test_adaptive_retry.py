"""Adaptive retry (section 10.3): what is learned, what is planned by it, and that it beats the fixed schedule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import fmean
from uuid import UUID

import pytest

from bench.harness import ROOT
from bench.retries import PATTERNS, Score, compared, row
from domain.events.model import DomainEvent
from domain.webhooks.adaptive import ENOUGH, LONGEST, OutageHistory, adaptive_delay, history_of, outage_length
from domain.webhooks.model import RetryPolicy, WebhookState
from domain.webhooks.outcome import learned_delay, planned_delay
from domain.webhooks.ports import Claimed, Endpoint
from domain.webhooks.rules import Answer, decide, is_outage

NOW = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(hours=24)
CHANCE = "bursts, 429, deployments"


def taught(*lengths: float) -> OutageHistory:
    history = OutageHistory()
    for lasted in lengths:
        history = history.learned(lasted)
    return history


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


def test_the_end_is_taken_midway_between_failure_and_success() -> None:
    assert outage_length(100, 200, 300) == 150


@pytest.mark.parametrize(
    ("learned", "retry_after", "expires_in", "waits"),
    [(10, None, 3600, 10), (10, "600", 3600, 600), (5000, None, 3600, 60)],
)
def test_retry_after_and_expiry_come_before_what_was_learned__BR_WH_05(
    learned: int, retry_after: str | None, expires_in: int, waits: int
) -> None:
    decision = decide(
        Answer(status=503, retry_after=retry_after),
        policy=RetryPolicy(jitter=False),
        retries_used=0,
        platform_cap=5,
        expires_at=NOW + timedelta(seconds=expires_in),
        now=NOW,
        spread=0,
        learned=timedelta(seconds=learned),
    )
    assert decision.retry_at == NOW + timedelta(seconds=waits)


@pytest.fixture(scope="module")
def scores() -> dict[str, tuple[Score, Score]]:
    return {name: compared(pattern) for name, pattern in PATTERNS.items()}


def test_it_loses_at_most_a_tenth_on_any_pattern(scores: dict[str, tuple[Score, Score]]) -> None:
    for name, (fixed, adaptive) in scores.items():
        assert adaptive.attempts <= fixed.attempts * 1.1, name
        # Limits and outages by turns, one week of them: a known weakness (ADR 10).
        if name == "recorded 4":
            continue
        assert adaptive.seconds <= fixed.seconds * 1.1, name
        if name != CHANCE:
            assert adaptive.undelivered <= fixed.undelivered, name


def test_outages_between_bursts_leave_no_more_undelivered(scores: dict[str, tuple[Score, Score]]) -> None:
    """Chance decides by the twenty here, which a full window takes or leaves: several runs together."""
    runs = [scores[CHANCE], *(compared(PATTERNS[CHANCE], seed) for seed in (2, 3, 4))]
    assert sum(new.undelivered for _, new in runs) <= sum(old.undelivered for old, _ in runs)
    assert sum(new.attempts for _, new in runs) < sum(old.attempts for old, _ in runs)


def test_refusals_of_a_burst_teach_nothing(scores: dict[str, tuple[Score, Score]]) -> None:
    for name in ("bursts, 429", "bursts, 429 with Retry-After"):
        fixed, adaptive = scores[name]
        assert fixed.met > 1000
        assert adaptive == fixed


def test_a_receiver_that_says_when_is_asked_less_often(scores: dict[str, tuple[Score, Score]]) -> None:
    told, untold = scores["bursts, 429 with Retry-After"][1], scores["bursts, 429"][1]
    assert told.attempts < untold.attempts


def test_in_the_mean_it_wins_on_attempts_and_on_time(scores: dict[str, tuple[Score, Score]]) -> None:
    """Each pattern counts the same: the mean of the ratios, so that long outages do not decide alone."""
    pairs = scores.values()
    assert fmean(adaptive.attempts / fixed.attempts for fixed, adaptive in pairs) < 0.8
    assert fmean(adaptive.seconds / fixed.seconds for fixed, adaptive in pairs) < 0.7


def test_the_documented_rows_are_what_it_prints(scores: dict[str, tuple[Score, Score]]) -> None:
    page = (ROOT / "docs" / "delivery.md").read_text()
    for name, pair in scores.items():
        assert f"\n{row(name, *pair)}\n" in page


def claimed_by(policy: RetryPolicy, history: str) -> Claimed:
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
    event = DomainEvent("e-1", tenant, "BookingConfirmed", "{}", NOW)
    return Claimed(UUID(int=3), endpoint, event, 1, 0, NOW + timedelta(hours=24), UUID(int=4))


@pytest.mark.parametrize(
    ("answer", "outage"),
    [
        (Answer(status=500), True),
        (Answer(status=503), True),
        (Answer(status=408), True),
        (Answer(failure="timeout"), True),
        (Answer(failure="connect"), True),
        (Answer(failure="blocked"), False),
        (Answer(status=429), False),
        (Answer(status=503, retry_after="30"), False),
        (Answer(status=401), False),
        (Answer(status=404), False),
    ],
)
def test_only_what_is_away_or_broken_is_an_outage(answer: Answer, outage: bool) -> None:
    assert is_outage(answer) is outage


def test_an_answer_that_is_no_outage_keeps_the_schedule() -> None:
    history = OutageHistory()
    for _ in range(5):
        history = history.learned(600)
    claimed = claimed_by(RetryPolicy(strategy="adaptive"), history.text())
    planned = [
        learned_delay(claimed, answer, NOW, expiry=DAY, platform_cap=5, spread=0.0)
        for answer in (Answer(status=500), Answer(status=429), Answer(status=503, retry_after="5"))
    ]
    assert planned[0] is not None
    assert planned[0] > timedelta(seconds=60)
    assert planned[1:] == [timedelta(seconds=63)] * 2


@pytest.mark.parametrize(
    ("used", "age", "waits"),
    [(0, 0, 60), (1, 300, 120), (2, 100, 320), (4, 1000, 960), (4, 300, 1560), (4, 80_000, 960)],
)
def test_after_a_refusal_no_retry_comes_sooner_than_the_schedules_of_that_number(
    used: int, age: float, waits: float
) -> None:
    """The retries come 1, 3, 7, 15 and 31 minutes after the first attempt; an older delivery takes the usual step."""
    planned = planned_delay(
        Answer(status=429),
        taught(*[300.0] * ENOUGH),
        RetryPolicy(jitter=False),
        failing_for=0.0,
        age=age,
        retries_used=used,
        retries=5,
        spread=-1.0,
    )
    assert planned == waits


def test_the_last_retry_comes_no_sooner_than_the_schedules_last() -> None:
    planned = [
        planned_delay(
            Answer(status=503),
            taught(*[20.0] * 10),
            RetryPolicy(jitter=False),
            failing_for=0.0,
            age=300,
            retries_used=used,
            retries=5,
            spread=-1.0,
        )
        for used in (3, 4)
    ]
    assert planned[0] is not None
    assert planned[0] < 120
    assert planned[1] == 1560


def test_how_long_it_has_been_away_counts_from_its_first_failure() -> None:
    history = OutageHistory()
    for _ in range(5):
        history = history.learned(600)
    policy = RetryPolicy(strategy="adaptive", jitter=False)
    since = replace(history, since=NOW.timestamp() - 540)
    for one, failing_for in ((history, 0.0), (since, 540.0)):
        claimed = claimed_by(policy, one.text())
        planned = learned_delay(claimed, Answer(status=500), NOW, expiry=DAY, platform_cap=5, spread=0.0)
        expected = adaptive_delay(history, failing_for=failing_for, retries_left=5, spread=-1.0)
        assert planned is not None
        assert expected is not None
        assert planned.total_seconds() == pytest.approx(expected, abs=1e-3)


def test_a_history_stored_before_outages_had_a_beginning_is_read() -> None:
    old = '{"seen": 4, "weights": ' + str([0.0] * len(OutageHistory().weights)) + "}"
    assert (history_of(old).seen, history_of(old).since) == (4, None)


def test_those_told_the_same_moment_come_back_spread_over_a_tenth() -> None:
    answer = Answer(status=429, retry_after="600")
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
    waits = [(one - NOW).total_seconds() for one in moments if one is not None]
    assert waits == [600, 630, 660, 600]
