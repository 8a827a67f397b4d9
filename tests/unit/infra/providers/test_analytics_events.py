"""What a call to GA4 or Segment takes: at each limit, and one past it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.providers.analytics import AnalyticsEvent
from infra.providers.ga4.events import RESERVED_EVENTS, GA4Events
from infra.providers.segment.events import SegmentEvents
from tests.worlds.analytics_doubles import MeasurementProtocol, SegmentTracking

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(
    number: int = 1, name: str = "booking", user: str | None = None, at: datetime = NOW, **properties: Any
) -> AnalyticsEvent:
    return AnalyticsEvent(f"e{number}", name, at, properties, "source", user)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (event(at=NOW - timedelta(hours=72)), None),
        (event(at=NOW - timedelta(hours=72, microseconds=1)), "72 hours"),
        (event(name="a" * 40), None),
        (event(name="a" * 41), "41 characters"),
        (event(name="order.paid"), "letters, digits and underscores"),
        (event(name="1st"), "a letter first"),
        (event(name="ga_booking"), "reserved"),
        (event(name="firebase_booking"), "reserved"),
        (event(name="session_start"), "reserved"),
        (event(name="Session_start"), None),
        (event(**{f"p{number}": number for number in range(25)}), None),
        (event(**{f"p{number}": number for number in range(26)}), "26 parameters"),
        (event(**{f"p{number}": [] for number in range(26)}), None),
        (event(**{"p" * 40: 1}), None),
        (event(**{"p" * 41: 1}), "41 characters"),
        (event(google_id=1), "reserved"),
        (event(**{"gtag.x": 1}), "reserved"),
        (event(firebase_conversion=1), "reserved"),
        (event(note="x" * 100), None),
        (event(note="x" * 101), "101 characters"),
        (event(note="\U0001f600" * 51), "102 characters"),
        (event(value=float("inf")), "JSON cannot represent"),
        (event(paid=True, guests={"count": 2}, none=None), None),
    ],
)
def test_ga4_gets_what_it_documents_to_take(given: AnalyticsEvent, reason: str | None) -> None:
    call = GA4Events().pack([given], NOW)
    if reason is not None:
        assert reason in call.refused["e1"]
        assert (call.sent, call.taken) == ([], 1)
        return
    assert (list(call.sent), dict(call.refused)) == ([given], {})
    double = MeasurementProtocol(NOW)
    double.take(call.body)
    assert (len(double.events), double.problems) == (1, [])


def test_true_and_false_become_texts_and_what_is_no_parameter_stays_out() -> None:
    body = json.loads(GA4Events().pack([event(paid=True, guests={"n": 2}, list=[1], price=9.5)], NOW).body)
    assert body["events"][0]["params"] == {"paid": "true", "price": 9.5}
    assert body["events"][0]["timestamp_micros"] == int(NOW.timestamp() * 1_000_000)


@pytest.mark.parametrize(("given", "taken"), [(25, 25), (26, 25), (60, 25)])
def test_a_call_to_ga4_has_at_most_25_events(given: int, taken: int) -> None:
    call = GA4Events().pack([event(number) for number in range(given)], NOW)
    assert (len(call.sent), call.taken) == (taken, taken)


def test_a_call_to_ga4_is_of_one_user() -> None:
    events = [event(1, user="ada"), event(2, user="ada"), event(3), event(4, user="ada")]
    call = GA4Events().pack(events, NOW)
    assert [sent.event_id for sent in call.sent] == ["e1", "e2"]
    assert json.loads(call.body)["user_id"] == "ada"
    assert "user_id" not in json.loads(GA4Events().pack(events[2:], NOW).body)


def test_a_call_to_ga4_stays_below_130_kb() -> None:
    wide = {f"p{number:02d}": "\U0001f600" * 50 for number in range(25)}
    call = GA4Events().pack([event(number, **wide) for number in range(25)], NOW)
    assert 1 < len(call.sent) < 25
    double = MeasurementProtocol(NOW)
    double.take(call.body)
    assert double.problems == []


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_no_reserved_event_goes_to_ga4(name: str) -> None:
    assert "reserved" in GA4Events().pack([event(name=name)], NOW).refused["e1"]


def _of_bytes(size: int) -> AnalyticsEvent:
    rest = len(SegmentEvents().pack([event(note="")], NOW).body) - len('{"batch":[]}')
    return event(note="x" * (size - rest))


@pytest.mark.parametrize(("size", "is_taken"), [(32 * 1024, True), (32 * 1024 + 1, False)])
def test_segment_takes_32_kb_an_event(size: int, is_taken: bool) -> None:
    call = SegmentEvents().pack([_of_bytes(size)], NOW)
    assert bool(call.sent) is is_taken
    if is_taken:
        assert SegmentTracking().take(call.body).status == 200
    else:
        assert "32 KB" in call.refused["e1"]


def test_segment_takes_500_kb_a_call_and_the_rest_comes_with_the_next() -> None:
    events = [event(number, note="é" * 10_000) for number in range(30)]
    call = SegmentEvents().pack(events, NOW)
    assert (len(call.sent), call.taken) == (24, 24)
    assert len(call.body) <= 500_000
    double = SegmentTracking()
    assert double.take(call.body).status == 200
    following = SegmentEvents().pack(events[call.taken :], NOW)
    assert [sent.event_id for sent in following.sent] == [f"e{number}" for number in range(24, 30)]


def test_segment_knows_an_event_by_its_id_and_its_user_or_source() -> None:
    double = SegmentTracking()
    call = SegmentEvents().pack([event(1, user="ada"), event(2)], NOW)
    for _ in range(2):
        double.take(call.body)
    assert [(kept.get("userId"), kept.get("anonymousId")) for kept in double.events.values()] == [
        ("ada", None),
        (None, "source"),
    ]
    assert double.dropped == ["e1", "e2"], "the repeat counts nothing"
    assert double.events["e1"]["timestamp"] == "2026-03-01T12:00:00.000000Z"


def test_segment_is_sent_only_what_json_can_represent() -> None:
    call = SegmentEvents().pack([event(1, value=float("nan")), event(2)], NOW)
    assert ([sent.event_id for sent in call.sent], list(call.refused)) == (["e2"], ["e1"])
