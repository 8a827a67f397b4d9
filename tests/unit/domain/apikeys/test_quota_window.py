"""The sliding window, against the plainest description of it: the times of the last hour's uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.apikeys.rate_limit import Charge, ChargeKind, QuotaWindow, RateStatus

START = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def charge(window: QuotaWindow, at: float, limit: int = 3, kind: ChargeKind = ChargeKind.Use) -> RateStatus:
    now = START + timedelta(seconds=at)
    window.closed_hour(now)
    [status] = window.charge([Charge("k", limit, kind)], now)
    return status


@given(st.integers(1, 5), st.lists(st.integers(0, 900_000), min_size=1, max_size=60))
def test_no_sixty_minutes_ever_hold_more_than_the_limit(limit: int, pauses_ms: list[int]) -> None:
    window, now, accepted = QuotaWindow(), 0.0, list[float]()
    for pause in pauses_ms:
        now += pause / 1000
        status = charge(window, now, limit)
        recent = [moment for moment in accepted if moment > now - 3600]
        if status.allowed:
            assert len(recent) < limit
            accepted.append(now)
        else:
            # Slots are a minute wide, so a use may count for a minute more, never for longer.
            assert len([moment for moment in accepted if moment > now - 3660]) >= limit
            assert 1 <= status.retry_after_seconds <= 3600
        window = QuotaWindow.of(window.properties())


@given(st.integers(1, 5), st.lists(st.integers(0, 300), min_size=1, max_size=40))
def test_waiting_as_long_as_told_is_enough(limit: int, pauses: list[int]) -> None:
    window, now = QuotaWindow(), 0.0
    for pause in pauses:
        now += pause
        status = charge(window, now, limit)
        if not status.allowed:
            now += status.retry_after_seconds
            assert charge(window, now, limit).allowed


def test_a_used_up_quota_is_back_sixty_minutes_later() -> None:
    window = QuotaWindow()
    assert [charge(window, 0).remaining for _ in range(3)] == [2, 1, 0]
    refused = charge(window, 0)
    assert (refused.allowed, refused.retry_after_seconds, refused.reset_seconds) == (False, 3600, 3600)
    assert not charge(window, 3599).allowed
    assert charge(window, 3600).remaining == 2


def test_refused_and_limited_calls_burn_nothing() -> None:
    window = QuotaWindow()
    for _ in range(10):
        charge(window, 0, kind=ChargeKind.Refused)
    for _ in range(3):
        charge(window, 0)
    for _ in range(10):
        assert not charge(window, 1800).allowed
    assert charge(window, 3600).allowed
    use = window.uses["k"]
    assert (use.accepted, use.total) == (1, 4)
    assert (use.total_limited, use.total_refused) == (10, 10)


def test_a_window_stored_before_refusals_were_totalled_is_read() -> None:
    stored = QuotaWindow().properties() | {"uses": '{"k":[1,2,3,4,5]}'}
    use = QuotaWindow.of(stored).uses["k"]
    assert (use.refused, use.total, use.last_ms, use.total_limited, use.total_refused) == (3, 4, 5, 0, 0)


def test_looking_takes_nothing_and_counts_nothing() -> None:
    window = QuotaWindow()
    assert charge(window, 0, kind=ChargeKind.Peek).remaining == 3
    assert window.uses == {}


def test_an_ended_hour_is_handed_over_once_and_totals_go_on() -> None:
    window = QuotaWindow()
    charge(window, 0)
    charge(window, 0, kind=ChargeKind.Refused)
    ended = window.closed_hour(START + timedelta(hours=1))
    assert ended is not None
    hour, uses = ended
    assert hour == int(START.timestamp()) // 3600
    assert (uses["k"].accepted, uses["k"].refused) == (1, 1)
    assert (window.uses["k"].accepted, window.uses["k"].total) == (0, 1)
    assert window.closed_hour(START + timedelta(hours=1)) is None


def test_a_clock_that_lags_a_little_gains_nothing() -> None:
    window = QuotaWindow()
    for _ in range(3):
        charge(window, 100)
    assert not charge(window, 40).allowed


def test_a_lowered_limit_holds_at_once_and_says_when_it_is_met() -> None:
    window = QuotaWindow()
    for at in (0, 600, 1200):
        charge(window, at, limit=3)
    lowered = charge(window, 1200, limit=1)
    assert (lowered.allowed, lowered.remaining, lowered.retry_after_seconds) == (False, 0, 3600)
