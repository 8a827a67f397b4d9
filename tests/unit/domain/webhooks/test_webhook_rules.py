"""Webhook rules: tables of inputs and decisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.core.errors import Conflict, ValidationFailed
from domain.core.ports import OutboundFailure
from domain.journal.event_types import FROM_HUB, FROM_PLATFORM
from domain.journal.events import DomainEvent
from domain.webhooks.model import CreateWebhook, DeliveryStatus, RetryPolicy, Webhook, WebhookState
from domain.webhooks.retry_policy import (
    ReceiverAnswer,
    RetryDecision,
    decide,
    effective_max_retries,
    parse_retry_after,
    retry_delay,
)
from domain.webhooks.rules import check_url, is_about, set_active, should_disable, subscriptions_for
from tests.worlds.builders import START, TENANT, USER

STEADY = RetryPolicy(jitter=False)
GUESTS = UUID("0a7b6c5d-0000-4000-8000-00000000abcd")
EXPIRES = START + timedelta(hours=24)


def decided(
    answer: ReceiverAnswer, *, retries_used: int = 0, policy: RetryPolicy = STEADY, cap: int = 5
) -> RetryDecision:
    return decide(
        answer,
        policy=policy,
        retries_used=retries_used,
        platform_cap=cap,
        expires_at=EXPIRES,
        now=START,
        spread=0.0,
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/hook?tenant=1",
        "HTTPS://EXAMPLE.COM/hook",
        "https://[2001:db8::1]/hook",
        "https://bücher.example/hook",
    ],
)
@pytest.mark.parametrize("development", [True, False])
def test_an_https_address_is_taken__BR_WH_01(url: str, development: bool) -> None:
    check_url(url, allow_localhost=development)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9000/hook",
        "http://127.0.0.1/hook",
        "http://[::1]:8080/",
    ],
)
def test_http_is_taken_only_to_localhost_and_only_in_development__BR_WH_01(url: str) -> None:
    check_url(url, allow_localhost=True)
    with pytest.raises(ValidationFailed) as refused:
        check_url(url, allow_localhost=False)
    assert refused.value.code == "BR-WH-01"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://example.com/hook", "BR-WH-01"),
        ("http://localhost.example.com/hook", "BR-WH-01"),
        ("http://api.localhost/hook", "BR-WH-01"),
        ("http://128.0.0.1/hook", "BR-WH-01"),
        ("ftp://example.com/hook", "BR-WH-01"),
        ("javascript://example.com/%0aalert(1)", "BR-WH-01"),
        ("//example.com/hook", "BR-WH-01"),
        ("example.com/hook", "validation-failed"),
        ("https://", "validation-failed"),
        ("https:///hook", "validation-failed"),
        ("https://user@example.com/", "validation-failed"),
        ("https://user:secret@example.com/", "validation-failed"),
        ("https://@example.com/", "validation-failed"),
        ("https://example.com/#part", "validation-failed"),
        ("https://example.com:0/", "validation-failed"),
        ("https://example.com:65536/", "validation-failed"),
        ("https://example.com:port/", "validation-failed"),
        ("https://[::1/", "validation-failed"),
        ("https://exa mple.com/", "validation-failed"),
        (" https://example.com/", "validation-failed"),
        ("https://example.com/\n", "validation-failed"),
        ("https://example.com/\x00", "validation-failed"),
        ("https://example.com/\u200b", "validation-failed"),
    ],
)
def test_any_other_address_is_refused_and_the_field_is_named__BR_WH_01(url: str, code: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_url(url, allow_localhost=True)
    assert refused.value.code == code
    assert [error.pointer for error in refused.value.errors] == ["/url"]
    assert "secret" not in refused.value.detail


def test_an_address_has_at_most_500_characters() -> None:
    longest = "https://example.com/" + "a" * 480
    assert CreateWebhook(url=longest, event_types=["*"]).url == longest
    with pytest.raises(ValidationError):
        CreateWebhook(url=longest + "a", event_types=["*"])


def test_the_default_schedule_waits_1_2_4_8_and_16_minutes__BR_WH_04() -> None:
    delays = [retry_delay(STEADY, retry, spread=0.7) for retry in range(1, 6)]
    assert delays == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 16)]


@given(
    retry=st.integers(1, 10),
    spread=st.floats(-1, 1),
    first=st.integers(1, 3600),
    factor=st.floats(1, 10),
)
def test_jitter_moves_a_delay_by_at_most_a_tenth__BR_WH_04(
    retry: int, spread: float, first: int, factor: float
) -> None:
    exact = retry_delay(RetryPolicy(10, factor, first, jitter=False), retry, spread=spread)
    varied = retry_delay(RetryPolicy(10, factor, first, jitter=True), retry, spread=spread)
    assert timedelta(0) < exact <= timedelta(days=30)
    assert abs(varied - exact) <= exact * 0.1 + timedelta(microseconds=2)
    assert varied <= timedelta(days=30)


@pytest.mark.parametrize(
    ("wanted", "cap", "done"), [(0, 5, 0), (3, 5, 3), (5, 5, 5), (10, 5, 5), (10, 10, 10)]
)
def test_the_platform_bounds_a_policys_retries__BR_WH_03(wanted: int, cap: int, done: int) -> None:
    assert effective_max_retries(RetryPolicy(max_retries=wanted), platform_cap=cap) == done


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert decided(ReceiverAnswer(status=status), retries_used=5) == RetryDecision(DeliveryStatus.Delivered)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_a_status_that_may_pass_is_retried(status: int) -> None:
    assert decided(ReceiverAnswer(status=status)) == RetryDecision(
        DeliveryStatus.Retrying, retry_at=START + timedelta(minutes=1)
    )


@pytest.mark.parametrize("failure", ["timeout", "connect", "tls", "protocol"])
def test_no_answer_is_retried(failure: OutboundFailure) -> None:
    assert decided(ReceiverAnswer(failure=failure), retries_used=2).retry_at == START + timedelta(minutes=4)


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 405, 409, 422, 451])
def test_a_status_that_will_not_pass_fails_at_once(status: int) -> None:
    assert decided(ReceiverAnswer(status=status)) == RetryDecision(DeliveryStatus.Failed)


def test_an_address_that_is_refused_fails_at_once() -> None:
    assert decided(ReceiverAnswer(failure="blocked")) == RetryDecision(DeliveryStatus.Failed)


def test_410_gone_fails_at_once_and_gives_the_endpoint_up() -> None:
    assert decided(ReceiverAnswer(status=410)) == RetryDecision(DeliveryStatus.Failed, gone=True)


@pytest.mark.parametrize(
    ("used", "cap", "status"),
    [
        (4, 5, DeliveryStatus.Retrying),
        (5, 5, DeliveryStatus.Failed),
        (2, 2, DeliveryStatus.Failed),
        (0, 0, DeliveryStatus.Failed),
    ],
)
def test_a_delivery_fails_for_good_once_its_retries_are_spent__BR_WH_06(
    used: int, cap: int, status: DeliveryStatus
) -> None:
    assert decided(ReceiverAnswer(status=500), retries_used=used, cap=cap).status == status


def test_a_retry_that_would_come_after_the_expiry_is_not_made__BR_WH_05() -> None:
    slow = RetryPolicy(max_retries=5, initial_delay_seconds=3600, backoff_multiplier=10, jitter=False)
    assert decided(ReceiverAnswer(status=500), policy=slow, retries_used=1).status == DeliveryStatus.Retrying
    assert decided(ReceiverAnswer(status=500), policy=slow, retries_used=2) == RetryDecision(
        DeliveryStatus.Expired
    )


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120),
        (" 300 ", 300),
        ("10", 10),  # sooner than the policy's own first delay
        ("59", 59),
        ("4", 5),
        ("0", 5),
        (format_datetime(START + timedelta(minutes=10), usegmt=True), 600),
        ("Sun, 01 Mar 2026 09:10:00 GMT", 600),
        ("Sunday, 01-Mar-26 09:10:00 GMT", 600),
        ("Sun Mar  1 09:10:00 2026", 600),
        (format_datetime(START - timedelta(minutes=10), usegmt=True), 5),
        ("85800", 85_800),  # ten minutes before the expiry
    ],
)
def test_retry_after_moves_the_first_retry(status: int, retry_after: str, seconds: int) -> None:
    decision = decided(ReceiverAnswer(status=status, retry_after=retry_after))
    assert decision == RetryDecision(DeliveryStatus.Retrying, retry_at=START + timedelta(seconds=seconds))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "why"),
    [
        ("85801", "too late"),
        ("86400", "too late"),
        ("604800", "too late"),
        (str(int(START.timestamp()) + 120), "too late"),  # a Unix time
        (str(int(START.timestamp() * 1000)), "too late"),
        ("999999999999999999999", "too late"),
        ("Fri, 31 Dec 2027 00:00:00 GMT", "too late"),
        ("-5", "neither"),
        ("1.5", "neither"),
        ("PT2M", "neither"),
        ("2026-03-01T09:10:00+00:00x", "neither"),
        ("soon", "neither"),
        ("", "neither"),
        ("x" * 5_000, "neither"),
    ],
)
def test_a_retry_after_that_cannot_be_followed_leaves_the_schedule_and_is_recorded(
    status: int, retry_after: str, why: str
) -> None:
    for used, minutes in ((0, 1), (3, 8)):
        decision = decided(ReceiverAnswer(status=status, retry_after=retry_after), retries_used=used)
        assert decision.status == DeliveryStatus.Retrying
        assert decision.retry_at == START + timedelta(minutes=minutes)
        assert decision.note is not None
        assert why in decision.note
        assert len(decision.note) < 200


@pytest.mark.parametrize(("retry_after", "minutes"), [("0", 4), ("30", 4), ("239", 4), ("600", 10)])
def test_retry_after_brings_no_later_retry_forward(retry_after: str, minutes: int) -> None:
    decision = decided(ReceiverAnswer(status=429, retry_after=retry_after), retries_used=2)
    assert decision == RetryDecision(DeliveryStatus.Retrying, retry_at=START + timedelta(minutes=minutes))


def test_a_first_step_of_less_than_five_seconds_stays_as_it_is() -> None:
    quick = RetryPolicy(initial_delay_seconds=1, jitter=False)
    for asked, seconds in (("0", 1), ("1", 1), ("2", 2)):
        decision = decided(ReceiverAnswer(status=503, retry_after=asked), policy=quick)
        assert decision.retry_at == START + timedelta(seconds=seconds)


@given(spread=st.floats(-1, 1), asked=st.integers(60, 85_800))
def test_the_jitter_of_a_retry_after_never_costs_the_delivery(spread: float, asked: int) -> None:
    decision = decide(
        ReceiverAnswer(status=429, retry_after=str(asked)),
        policy=RetryPolicy(),
        retries_used=0,
        platform_cap=5,
        expires_at=EXPIRES,
        now=START,
        spread=spread,
    )
    assert decision.retry_at is not None
    assert START + timedelta(seconds=asked) <= decision.retry_at <= EXPIRES - timedelta(minutes=10)


@pytest.mark.parametrize("status", [408, 500, 502])
def test_retry_after_counts_only_with_429_and_503(status: int) -> None:
    assert decided(ReceiverAnswer(status=status, retry_after="600")).retry_at == START + timedelta(minutes=1)


@pytest.mark.parametrize(
    "value", ["Fri, 31 Dec 9999 23:59:59 -0500", "Mon, 01 Jan 2020 00:00:00 +99999", "1 Jan 99999 00:00:00"]
)
def test_a_retry_after_that_no_calendar_holds_is_ignored(value: str) -> None:
    assert parse_retry_after(value, START) is None


@given(value=st.text(max_size=60) | st.datetimes().map(format_datetime))
def test_no_retry_after_ever_breaks_an_attempt(value: str) -> None:
    moment = parse_retry_after(value, START)
    assert moment is None or moment.utcoffset() == timedelta(0)


@given(
    status=st.none() | st.integers(100, 599),
    used=st.integers(0, 10),
    policy=st.builds(RetryPolicy, st.integers(0, 10), st.floats(1, 10), st.integers(1, 3600), st.booleans()),
    spread=st.floats(-1, 1),
    retry_after=st.none() | st.integers(0, 200_000).map(str),
)
def test_a_retry_is_always_later_than_now_and_sooner_than_the_expiry(
    *, status: int | None, used: int, policy: RetryPolicy, spread: float, retry_after: str | None
) -> None:
    answer = ReceiverAnswer(status, None if status else "connect", retry_after)
    decision = decide(
        answer, policy=policy, retries_used=used, platform_cap=5, expires_at=EXPIRES, now=START, spread=spread
    )
    assert (decision.status == DeliveryStatus.Retrying) == (decision.retry_at is not None)
    if decision.retry_at is not None:
        assert START < decision.retry_at < EXPIRES
        assert used < min(5, policy.max_retries)


@pytest.mark.parametrize(
    ("consecutive", "failing_for", "disables"),
    [
        (1, timedelta(), False),
        (49, timedelta(days=4, hours=23), False),
        (50, timedelta(minutes=59, seconds=59), False),
        (5_000, timedelta(seconds=1), False),
        (50, timedelta(hours=1), True),
        (2, timedelta(days=5), True),
        (2, timedelta(days=5) - timedelta(seconds=1), False),
        (50, None, False),
    ],
)
def test_an_endpoint_is_disabled_after_50_failures_over_an_hour_or_failures_5_days_apart(
    consecutive: int, failing_for: timedelta | None, disables: bool
) -> None:
    reason = should_disable(
        consecutive_failures=consecutive,
        failing_since=None if failing_for is None else START - failing_for,
        last_failure_at=START,
        after_failures=50,
        after_days=5,
    )
    assert (reason is not None) == disables


@pytest.mark.parametrize(
    ("event_type", "names"),
    [
        ("BookingConfirmed", ["BookingConfirmed", "*"]),
        ("booking.created", ["booking.created", "booking.*", "*"]),
        ("a.b.c", ["a.b.c", "a.*", "a.b.*", "*"]),
        ("WebhookDisabled", ["WebhookDisabled", "*"]),
        ("WebhookSent", ["WebhookSent"]),
        ("WebhookDeliveryFailed", ["WebhookDeliveryFailed"]),
    ],
)
def test_an_event_matches_its_name_its_prefixes_and_the_star__but_delivery_events_only_their_name(
    event_type: str, names: list[str]
) -> None:
    event = DomainEvent("e1", TENANT, event_type, "{}", START, origin=FROM_HUB)
    assert subscriptions_for(event) == names
    assert subscriptions_for(replace(event, origin=None)) == names, "it may be of the hub"
    assert subscriptions_for(replace(event, origin=FROM_PLATFORM))[-1] == "*"


def a_webhook(state: WebhookState) -> Webhook:
    return Webhook(
        webhook_id=USER,
        tenant_id=TENANT,
        url="https://example.com",
        event_types=["*"],
        sealed_secret="",
        state=state,
        retry_policy=STEADY,
        timeout_seconds=30,
        created_at=START,
        created_by=USER,
        disabled_reason="It failed." if state == WebhookState.Disabled else None,
        consecutive_failures=3,
        failing_since=START,
    )


@pytest.mark.parametrize("state", [WebhookState.Active, WebhookState.Paused, WebhookState.Disabled])
def test_resuming_makes_a_verified_webhook_active_with_a_clean_record(state: WebhookState) -> None:
    resumed = set_active(a_webhook(state), True)
    assert resumed.state == WebhookState.Active
    assert (resumed.disabled_reason, resumed.consecutive_failures, resumed.failing_since) == (None, 0, None)


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (WebhookState.Active, WebhookState.Paused),
        (WebhookState.Paused, WebhookState.Paused),
        (WebhookState.Disabled, WebhookState.Disabled),
        (WebhookState.PendingVerification, WebhookState.PendingVerification),
    ],
)
def test_pausing_stops_an_active_webhook_and_leaves_the_others(
    state: WebhookState, after: WebhookState
) -> None:
    assert set_active(a_webhook(state), False).state == after


def test_a_webhook_that_was_never_verified_cannot_be_activated() -> None:
    with pytest.raises(Conflict) as refused:
        set_active(a_webhook(WebhookState.PendingVerification), True)
    assert refused.value.code == "verification-pending"


@pytest.mark.parametrize(
    ("subject", "data", "about"),
    [
        (None, f'{{"integrationId":"{GUESTS}"}}', True),
        (None, f'{{"integrationId":"{str(GUESTS).upper()}"}}', True),
        (str(GUESTS), '{"id":"evt_1"}', True),
        (str(GUESTS).upper(), '{"id":"evt_1"}', True),
        (None, f'{{"integrationId":"{UUID(int=8)}"}}', False),
        (None, f'{{"of":{{"integrationId":"{GUESTS}"}}}}', False),
        (None, f'{{"integrationId":["{GUESTS}"]}}', False),
        (None, f'["{GUESTS}"]', False),
        (None, f'{{"note":"{GUESTS}"}}', False),
        (f"guest/{GUESTS}", "{}", False),
        ("booking/42", "{}", False),
        (None, '{"a":' * 100_000 + f'"{GUESTS}"' + "}" * 100_000, False),
    ],
)
def test_an_event_is_about_the_integration_that_it_names(subject: str | None, data: str, about: bool) -> None:
    event = DomainEvent("e1", TENANT, "BookingConfirmed", data, START, subject, origin=FROM_PLATFORM)
    assert is_about(event, GUESTS) is about


@pytest.mark.parametrize(
    ("left_seconds", "status"), [(59, "Expired"), (60, "Expired"), (61, "Retrying"), (86_400, "Retrying")]
)
def test_a_retry_that_would_fall_on_the_expiry_is_none__BR_WH_05(left_seconds: int, status: str) -> None:
    decision = decide(
        ReceiverAnswer(status=500),
        policy=STEADY,
        retries_used=0,
        platform_cap=5,
        expires_at=START + timedelta(seconds=left_seconds),
        now=START,
        spread=0.0,
    )
    assert decision.status.name == status
