"""Rules about webhooks, on hours whose right answer is known."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.journal.signals import Tally
from domain.recommendations.facts import period_of
from domain.recommendations.model import Confidence, Operation, Priority
from domain.recommendations.ports import DeliveryOutcome
from domain.recommendations.rules import WEBHOOK_RULES
from domain.recommendations.webhook_rules import (
    higher_rate,
    longer_timeout,
    lower_rate,
    pause,
    refused_events,
    shorter_timeout,
    unauthorized,
)
from domain.webhooks.model import UpdateWebhook, WebhookState
from tests.worlds.recommendation_facts import NOW, delivered, failed, figures, tally, webhook_facts

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_a_webhook_that_works_gets_no_advice() -> None:
    facts = webhook_facts(
        [tally(100, {"timeout": 1}, latencies=[120] * 100 + [30_000])] * 24 * 14,
        [delivered(NOW - HOUR * n) for n in range(100, 0, -1)],
    )
    assert [rule(facts) for rule in WEBHOOK_RULES if rule is not shorter_timeout] == [None] * 8


def test_nothing_is_said_of_nothing() -> None:
    assert [rule(webhook_facts()) for rule in WEBHOOK_RULES] == [None] * len(WEBHOOK_RULES)


# -- unauthorized -----------------------------------------------------------------------------------------


def test_a_receiver_that_refuses_the_signature_is_a_persons_business() -> None:
    advice = unauthorized(webhook_facts([tally(10)] * 50 + [tally(0, {"unauthorized": 10})] * 20))
    assert advice is not None
    assert (advice.priority, advice.change, advice.confidence) == (Priority.Now, None, Confidence.Medium)
    # the last day: 4 good hours, 20 bad ones
    assert figures(advice) == {
        "attempts": 240,
        "refusedAttempts": 200,
        "hoursSinceItBegan": 20,
        "deliveriesLostPerDay": 200,
    }


def test_a_refusal_that_began_when_the_old_secret_ended_says_so() -> None:
    hours = [tally(10)] * 50 + [tally(0, {"unauthorized": 10})] * 20
    ended = unauthorized(webhook_facts(hours, previous_secret_expires_at=NOW - 20 * HOUR))
    other = unauthorized(webhook_facts(hours, previous_secret_expires_at=NOW - 40 * HOUR))
    assert ended is not None and "former signing secret ran out" in ended.explanation
    assert other is not None and "former signing secret" not in other.explanation


@pytest.mark.parametrize(
    "hours",
    [
        [tally(0, {"unauthorized": 9})],
        [tally(30, {"unauthorized": 20})],
        [tally(0, {"unauthorized": 50})] + [tally(60)] * 24,
    ],
    ids=["too few", "less than half", "over"],
)
def test_a_few_refusals_are_not_enough(hours: list[Tally]) -> None:
    assert unauthorized(webhook_facts(hours)) is None


# -- pause ------------------------------------------------------------------------------------------------


def test_a_receiver_that_is_gone_for_two_days_is_to_be_paused() -> None:
    advice = pause(webhook_facts([tally(50)] * 10 + [tally(0, {"connect": 3, "timeout": 1})] * 48))
    assert advice is not None and advice.change is not None
    assert (advice.change.operation, advice.change.body) == (Operation.UpdateWebhook, {"isActive": False})
    assert figures(advice)["attempts"] == 192
    assert figures(advice)["attemptsSavedPerDay"] == 96
    assert "144 ended as `connect`" in advice.explanation


def test_one_success_a_pause_or_a_recent_change_keep_it() -> None:
    bad = tally(0, {"connect": 3})
    assert pause(webhook_facts([bad] * 20 + [tally(1)] + [bad] * 27)) is None
    assert pause(webhook_facts([bad] * 48, state=WebhookState.Paused)) is None
    assert pause(webhook_facts([tally(0, {"connect": 30})] * 5)) is None


# -- timeouts ---------------------------------------------------------------------------------------------


def test_answers_that_crowd_below_the_timeout_ask_for_a_longer_one() -> None:
    # A tail that halves each half timeout: of 200 beyond 5 s, 100 answer within 10 s, 100 are cut off; 15 s would
    # have caught half of those, 25 s (three halves more) 7 of 8.
    latencies = [500] * 800 + [7_000] * 100 + [10_000] * 100
    advice = longer_timeout(
        webhook_facts([tally(900, {"timeout": 100}, latencies=latencies)] * 14, timeout_seconds=10)
    )
    assert advice is not None and advice.change is not None
    assert advice.change.body == {"timeoutSeconds": 25}
    assert figures(advice)["timeoutsAvoidedPerDay"] == pytest.approx(100 * 7 / 8, abs=0.1)
    UpdateWebhook.model_validate(dict(advice.change.body))


@pytest.mark.parametrize(
    ("slow", "cut_off", "seconds"),
    [(0, 100, 10), (100, 0, 10), (10, 300, 10), (100, 100, 300)],
    ids=["hangs", "never cut off", "too thin", "longest already"],
)
def test_a_longer_timeout_needs_slow_answers_and_cut_off_ones(slow: int, cut_off: int, seconds: int) -> None:
    latencies = [500] * 500 + [seconds * 700] * slow + [seconds * 1000] * cut_off
    facts = webhook_facts(
        [tally(500 + slow, {"timeout": cut_off} if cut_off else {}, latencies=latencies)],
        timeout_seconds=seconds,
    )
    assert longer_timeout(facts) is None


def test_attempts_that_hang_ask_for_a_shorter_timeout() -> None:
    latencies = [900] * 1000 + [60_000] * 10
    advice = shorter_timeout(
        webhook_facts([tally(1000, {"timeout": 10}, latencies=latencies)] * 7, timeout_seconds=60)
    )
    assert advice is not None and advice.change is not None
    assert advice.change.body == {"timeoutSeconds": 5}
    assert figures(advice)["secondsNotWaitedPerDay"] == 70 * 55 / 14


def test_slow_answers_keep_the_timeout_as_it_is() -> None:
    slow = [900] * 980 + [20_000] * 20 + [60_000] * 30
    assert (
        shorter_timeout(webhook_facts([tally(1000, {"timeout": 30}, latencies=slow)], timeout_seconds=60))
        is None
    )
    few = [900] * 100 + [60_000] * 30
    assert (
        shorter_timeout(webhook_facts([tally(100, {"timeout": 30}, latencies=few)], timeout_seconds=60))
        is None
    )


# -- rates ------------------------------------------------------------------------------------------------


def test_bursts_that_are_throttled_ask_for_a_lower_rate() -> None:
    # 7,200 deliveries an hour are 2 a second
    advice = lower_rate(webhook_facts([tally(7_200, {"throttled": 800})] * 10 + [tally(100)] * 100))
    assert advice is not None and advice.change is not None
    assert advice.change.body == {"rateLimitPerSecond": 2}
    assert figures(advice)["throttledAvoidedPerDayAtMost"] == round(8_000 / 14, 1)


def test_a_receiver_that_takes_less_than_is_due_is_a_persons_business() -> None:
    advice = lower_rate(webhook_facts([tally(7_200, {"throttled": 9_000}, failed_for_good=4_000)] * 10))
    assert advice is not None and advice.change is None
    assert figures(advice)["mostNeeded"] == pytest.approx(11_200 / 3600, abs=0.001)
    at_the_limit = lower_rate(webhook_facts([tally(7_200, {"throttled": 800})], rate_limit_per_second=2))
    assert at_the_limit is not None and at_the_limit.change is None


def test_now_and_then_a_429_is_nothing() -> None:
    assert lower_rate(webhook_facts([tally(2_000, {"throttled": 30})])) is None
    assert lower_rate(webhook_facts([tally(0, {"throttled": 19})])) is None


def test_a_limit_that_holds_deliveries_back_may_be_raised() -> None:
    full, other = tally(3_500, latencies=[100] * 3_500), tally(100, latencies=[100] * 100)
    advice = higher_rate(webhook_facts([other, full, full, full], rate_limit_per_second=1))
    assert advice is not None and advice.change is not None
    assert advice.change.body == {"rateLimitPerSecond": 2}
    assert figures(advice)["hoursAtTheLimit"] == 3


def test_a_strained_receiver_keeps_its_limit() -> None:
    full, strained = tally(3_500, latencies=[100] * 3_500), tally(3_500, latencies=[400] * 3_500)
    other, throttled = tally(100, latencies=[100] * 100), tally(3_400, {"throttled": 1}, latencies=[100])
    for hours in ([other] + [strained] * 3, [other, full, full], [other] + [throttled] * 3, [full] * 4):
        assert higher_rate(webhook_facts(hours, rate_limit_per_second=1)) is None
    assert higher_rate(webhook_facts([other] + [full] * 3)) is None


# -- refused types ----------------------------------------------------------------------------------------


def _mixed(status: int = 422) -> list[DeliveryOutcome]:
    moments = [NOW - DAY * 5 + HOUR * n for n in range(100)]
    return [
        outcome
        for at in moments
        for outcome in (delivered(at, "order.created"), failed(at, "user.deleted", status=status))
    ]


def test_types_that_the_receiver_refuses_are_unsubscribed() -> None:
    facts = webhook_facts((), _mixed(), event_types=["order.created", "user.deleted", "rare.type"])
    advice = refused_events(facts)
    assert advice is not None and advice.change is not None
    assert advice.change.body == {"eventTypes": ["order.created", "rare.type"]}
    assert figures(advice)["failedDeliveriesAvoidedPerDay"] == 20


def test_a_wildcard_becomes_the_list_of_what_was_taken() -> None:
    advice = refused_events(webhook_facts((), _mixed(), event_types=["*"]))
    assert advice is not None and advice.change is not None
    assert advice.change.body == {"eventTypes": ["order.created"]}
    assert "further ones must then be added by hand" in advice.explanation


@pytest.mark.parametrize("status", [401, 403, 408, 410, 429, 500])
def test_other_failures_are_no_refusal_of_a_type(status: int) -> None:
    assert refused_events(webhook_facts((), _mixed(status))) is None


def test_a_type_that_is_taken_once_is_kept() -> None:
    outcomes = [*_mixed(), delivered(NOW - HOUR, "user.deleted")]
    assert refused_events(webhook_facts((), outcomes)) is None
    only = [outcome for outcome in _mixed() if outcome.event_type == "user.deleted"]
    assert refused_events(webhook_facts((), only)) is None


# -- the period -------------------------------------------------------------------------------------------


def test_evidence_begins_with_the_first_whole_hour_after_the_last_change() -> None:
    created = NOW - 100 * DAY
    assert period_of(None, created, NOW).since == NOW - 14 * DAY
    assert period_of(NOW - 90 * timedelta(minutes=1), created, NOW).since == NOW - HOUR
    assert period_of(NOW - 2 * HOUR, created, NOW).since == NOW - 2 * HOUR
    assert period_of(NOW - timedelta(minutes=1), created, NOW).since == NOW
