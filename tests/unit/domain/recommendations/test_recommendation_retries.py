"""Outages read from deliveries, and what retry policies make of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from domain.recommendations.model import Confidence
from domain.recommendations.ports import DeliveryOutcome
from domain.recommendations.retry_rules import (
    adaptive,
    adaptive_retry,
    fate,
    fixed,
    history_from,
    longer,
    longer_retries,
    outages_of,
    reach,
)
from domain.webhooks.model import DeliveryStatus, RetryPolicy, UpdateWebhook
from tests.worlds.recommendation_facts import NOW, delivered, failed, figures, tally, webhook_facts

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
POLICY = RetryPolicy(jitter=False)


def outage(began: datetime, length: timedelta) -> list[DeliveryOutcome]:
    """Return a delivery a minute: those that meet the outage are tried again until it is over."""
    found = []
    at = began - 5 * MINUTE
    while at < began + length + 5 * MINUTE:
        if began <= at < began + length:
            later = (began + length - at).total_seconds() + 1
            found.append(delivered(at, attempts=3, later=later))
        else:
            found.append(delivered(at))
        at += MINUTE
    return found


# -- outages ----------------------------------------------------------------------------------------------


def test_an_outage_lasts_from_the_first_failure_to_the_next_success() -> None:
    outcomes = outage(NOW - 5 * HOUR, 10 * MINUTE) + outage(NOW - 2 * HOUR, 40 * MINUTE)
    assert outages_of(outcomes) == [pytest.approx(600, abs=60), pytest.approx(2400, abs=60)]


def test_refusals_and_an_outage_that_goes_on_are_none() -> None:
    assert outages_of([failed(NOW - HOUR, status=422), delivered(NOW)]) == []
    assert outages_of([delivered(NOW - HOUR), failed(NOW, attempts=3)]) == []
    assert outages_of([]) == []


# -- fate -------------------------------------------------------------------------------------------------


def test_the_fixed_schedule_reaches_what_it_adds_up_to() -> None:
    assert reach(POLICY, 5) == 60 * (1 + 2 + 4 + 8 + 16)
    # of an outage of 1,000 s the delivery at age 125 s is retried at 185, 305, 545 and 1,025
    only = fate([1000.0], 4, fixed(POLICY))
    assert only.arrived == 1.0
    # 4 attempts fail at 125, 3 at 375 and 625 (until 435/555/795, and 685/805), 2 at 875 (935)
    assert only.failed_attempts == (4 + 4 + 3 + 2) / 4


def test_an_outage_longer_than_the_schedule_loses_what_came_early() -> None:
    # 1,860 s are reached: of 8,000 s only the delivery at 7,000 s arrives
    assert fate([8000.0], 5, fixed(POLICY)).arrived == 0.25
    # weighted by length
    assert fate([8000.0, 80.0], 5, fixed(POLICY)).arrived == pytest.approx((2000 + 80) / 8080)


def test_learned_delays_spend_fewer_attempts_on_outages_of_one_length() -> None:
    lengths = [1800.0] * 20
    learned = fate(lengths, 5, adaptive(history_from(lengths), POLICY, 5))
    plain = fate(lengths, 5, fixed(POLICY))
    assert learned.failed_attempts < 0.8 * plain.failed_attempts
    assert learned.arrived >= plain.arrived


def test_a_longer_schedule_is_the_least_change_that_reaches() -> None:
    short = replace(POLICY, max_retries=2)
    assert longer(short, [600.0], 5) == replace(short, max_retries=4)
    far = longer(POLICY, [4 * 3600.0], 5)
    assert (far.max_retries, far.backoff_multiplier) == (5, 4.0)
    assert fate([4 * 3600.0], 5, fixed(far)).arrived >= 0.95
    assert longer(POLICY, [60.0], 5) == POLICY


# -- advice -----------------------------------------------------------------------------------------------


def _outages(count: int, length: timedelta) -> list[DeliveryOutcome]:
    return [outcome for n in range(count) for outcome in outage(NOW - (count - n) * 10 * HOUR, length)]


def test_many_attempts_wasted_in_outages_call_for_adaptive_retry() -> None:
    facts = webhook_facts([tally(60, {"connect": 10, "4xx": 3})] * 24 * 14, _outages(12, 30 * MINUTE))
    advice = adaptive_retry(facts)
    assert advice is not None and advice.change is not None
    assert advice.change.body["retryPolicy"] == {
        "maxRetries": 5,
        "backoffMultiplier": 2.0,
        "initialDelaySeconds": 60,
        "jitter": False,
        "strategy": "adaptive",
    }
    UpdateWebhook.model_validate(dict(advice.change.body))
    seen = figures(advice)
    assert (seen["outages"], seen["failedAttempts"]) == (12, 3360)
    assert seen["outageMedian"] == pytest.approx(1800, abs=60)
    # what is saved is the simulated share of what was spent: 240 failed attempts a day
    assert 0.15 * 240 <= seen["attemptsSavedPerDay"] < 240
    assert advice.confidence == Confidence.High


def test_adaptive_retry_is_not_advised_to_whom_it_brings_nothing() -> None:
    hours, outcomes = [tally(60, {"connect": 10})] * 24 * 14, _outages(12, 30 * MINUTE)
    has_it = replace(POLICY, strategy="adaptive")
    assert adaptive_retry(webhook_facts(hours, outcomes, retry_policy=has_it)) is None
    assert adaptive_retry(webhook_facts(hours, _outages(4, 30 * MINUTE))) is None
    assert adaptive_retry(webhook_facts([tally(60, {"connect": 1})] * 14, outcomes)) is None
    assert adaptive_retry(webhook_facts([tally(60, {"4xx": 10})] * 24 * 14, outcomes)) is None
    assert adaptive_retry(webhook_facts(hours, outcomes, retry_policy=replace(POLICY, max_retries=0))) is None


def _with_lost(lost: int) -> list[DeliveryOutcome]:
    """Outages of an hour, which three retries do not reach, and deliveries that ran out of them."""
    moments = [NOW - (100 - n) * HOUR for n in range(lost)]
    return [*(failed(at, attempts=4, status=503) for at in moments[:lost]), *_outages(6, HOUR)]


def test_deliveries_that_run_out_of_retries_call_for_a_longer_schedule() -> None:
    policy = replace(POLICY, max_retries=3)
    facts = webhook_facts(
        [tally(60)], sorted(_with_lost(20), key=lambda outcome: outcome.scheduled_at), retry_policy=policy
    )
    advice = longer_retries(facts)
    assert advice is not None and advice.change is not None
    wanted = advice.change.body["retryPolicy"]
    assert wanted["maxRetries"] == 5 and wanted["backoffMultiplier"] > 2
    seen = figures(advice)
    assert (seen["ranOutOfRetries"], seen["scheduleReaches"]) == (20, 420)
    assert seen["moreDeliveriesArrive"] >= 10
    assert 0 < seen["deliveriesArrivingPerDay"] <= 20 / (100 / 24) + 0.1
    UpdateWebhook.model_validate(dict(advice.change.body))


def test_what_a_longer_schedule_does_not_mend_is_left_alone() -> None:
    policy = replace(POLICY, max_retries=3)
    assert longer_retries(webhook_facts([], _with_lost(9), retry_policy=policy)) is None
    refused = [
        replace(outcome, http_status_code=422) if outcome.status == DeliveryStatus.Failed else outcome
        for outcome in _with_lost(20)
    ]
    assert longer_retries(webhook_facts([], refused, retry_policy=policy)) is None
    short = [failed(NOW - HOUR, attempts=4) for _ in range(20)] + _outages(6, MINUTE)
    assert longer_retries(webhook_facts([], short, retry_policy=policy)) is None
