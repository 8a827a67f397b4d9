"""Echoes and loop brakes: tables of inputs and decisions."""

from __future__ import annotations

import json
from datetime import timedelta
from uuid import UUID

import pytest

from domain.journal.echoes import Marks, content_digest, marks_of
from domain.webhooks.loops import (
    Delivered,
    Echo,
    LoopBrake,
    LoopState,
    after_held,
    after_waiting,
    confirmed_by_probe,
    echo_of,
    is_held,
    released,
    tripped,
    trips,
)
from tests.worlds.builders import START, TENANT

S = LoopState
OWN = "019a0000-0000-7000-8000-000000000001"


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def brake(state: LoopState = S.Suspected, **fields: object) -> LoopBrake:
    told = {"since": START, "last_seen_at": START, **fields}
    return LoopBrake(UUID(int=1), TENANT, "Ping", state, **told)  # type: ignore[arg-type]


def echo(laps: int = 8, *, equals: int = 1, at: float = 0, is_sure: bool = True) -> Echo:
    return Echo(laps, equals, START + seconds(at), is_sure)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":[1,2]}', '{ "b": [1, 2], "a": 1 }'),
        ('{"a":1.0}', '{"a":1}'),
        ('{"a":"\\u00e9"}', '{"a":"é"}'),
        ('{"a":1e2}', '{"a":100}'),
    ],
)
def test_data_has_one_digest_however_it_is_written(one: str, other: str) -> None:
    assert content_digest(one) == content_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":[1,2]}', '{"a":[2,1]}'),
        ('{"a":{"b":1}}', '{"a":1,"b":1}'),
        ('{"a":null}', "{}"),
        ('{"a":true}', '{"a":1}'),
        ('{"a":0.1}', '{"a":0.10000001}'),
    ],
)
def test_other_data_has_another_digest(one: str, other: str) -> None:
    assert content_digest(one) != content_digest(other)


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        ({"of": OWN}, {OWN}),
        ({"text": json.dumps({"id": OWN})}, {OWN}),
        ({"of": f"{OWN}.2"}, {f"{OWN}.2"}),
        ({"type": "A", "timestamp": "t", "id": "booking-42", "data": {}}, {"booking-42"}),
        ({"id": "booking-42", "type": "A"}, set()),
        ({"id": "0b7c9a0e-0000-4000-8000-000000000001"}, set()),
        ({"type": "A", "timestamp": "t", "id": 7, "data": {}}, set()),
    ],
)
def test_ids_of_what_was_delivered_are_found_in_data(data: dict[str, object], ids: set[str]) -> None:
    assert set(marks_of(json.dumps(data)).event_ids) == ids


def test_an_object_counts_as_delivered_data_when_it_is_more_than_half_of_all() -> None:
    inner = {"booking": 42, "room": "Blue"}
    digest = content_digest(json.dumps(inner))
    assert digest in marks_of(json.dumps({"payload": inner}, separators=(",", ":"))).digests
    assert digest not in marks_of(json.dumps({"payload": inner, "more": "x" * 60})).digests


@pytest.mark.parametrize("text", ['{"a":' * 5_000 + "1" + "}" * 5_000, '{"a":"' + "x" * 70_000 + '"}'])
def test_data_too_deep_or_too_large_to_read_is_compared_as_text(text: str) -> None:
    assert list(marks_of(text).digests) == [content_digest(text)]
    assert content_digest(text) != content_digest(text + " ")


def test_an_event_names_at_most_32_ids() -> None:
    data = {"ids": [f"019a0000-0000-7000-8000-{number:012x}" for number in range(40)]}
    assert len(marks_of(json.dumps(data)).event_ids) == 32


def test_an_echo_has_one_lap_more_than_what_it_repeats() -> None:
    known = {
        7: [Delivered(2, 3, START, START), Delivered(4, 1, START, START + seconds(5))],
        "id": [Delivered(1, 1, START + seconds(1), START + seconds(1))],
    }
    found = echo_of(Marks({7}, ["id"]), known, whole=7, accepted_at=START + seconds(9))
    assert found == Echo(laps=5, equals=4, delivered_at=START + seconds(5), is_sure=True)
    equal = echo_of(Marks({7}), known, whole=7, accepted_at=None)
    assert equal == Echo(laps=5, equals=4, delivered_at=START + seconds(5), is_sure=False)


@pytest.mark.parametrize(("accepted", "is_echo"), [(-1, False), (0, True)])
def test_what_was_accepted_before_the_delivery_is_no_echo_of_it(accepted: float, is_echo: bool) -> None:
    known = {7: [Delivered(2, 1, START, START)]}
    found = echo_of(Marks({7}), known, whole=7, accepted_at=START + seconds(accepted))
    assert (found is not None) == is_echo


@pytest.mark.parametrize(
    ("laps", "equals", "goes_round"),
    [(8, 0, True), (7, 0, False), (3, 100, True), (3, 99, False), (2, 1_000, False)],
)
def test_an_echo_goes_round_at_eight_laps(laps: int, equals: int, goes_round: bool) -> None:
    assert echo(laps, equals=equals).goes_round == goes_round


@pytest.mark.parametrize(
    ("found", "of_type", "of_tenant", "does"),
    [
        (echo(8), 100, 100, False),
        (echo(8), 101, 101, True),
        (echo(40), 1, 10, True),
        (echo(40), 1, 9, False),
        (echo(39), 1, 99, False),
        (echo(299, is_sure=False), 50, 50, False),
        (echo(300, is_sure=False), 50, 50, True),
    ],
)
def test_the_brake_takes_hold_of_what_is_frequent_or_goes_on_for_long(
    found: Echo, of_type: int, of_tenant: int, does: bool
) -> None:
    assert trips(found, of_type=of_type, of_tenant=of_tenant, most_a_minute=100) == does


@pytest.mark.parametrize(("hours", "count"), [(23, 2), (24, 1)])
def test_a_brake_knows_how_often_it_took_hold_within_a_day(hours: int, count: int) -> None:
    before = brake(S.Released)
    moment = START + timedelta(hours=hours)
    fresh = LoopBrake(UUID(int=2), TENANT, "Ping", S.Suspected, moment, moment)
    after = tripped(before, fresh)
    assert (after.loop_brake_id, after.trips) == (before.loop_brake_id, count)


@pytest.mark.parametrize(
    ("state", "laps", "held"),
    [
        (S.Suspected, 8, True),
        (S.Suspected, 7, False),
        (S.Probed, 8, True),
        (S.Confirmed, 1, True),
        (S.Released, 50, False),
    ],
)
def test_a_brake_holds_what_goes_round_and_in_a_loop_every_echo(
    state: LoopState, laps: int, held: bool
) -> None:
    assert is_held(brake(state), echo(laps)) == held


def test_three_events_that_no_delivery_can_have_caused_release_the_brake() -> None:
    one = after_held(brake(), echo(at=0), START + seconds(3))
    two = after_held(one, echo(at=0), START + seconds(4))
    three = after_held(two, echo(at=0), START + seconds(5))
    assert [each.state for each in (one, two, three)] == [S.Suspected, S.Suspected, S.Released]
    assert three.trusts(START + timedelta(minutes=5))
    assert not three.trusts(START + timedelta(minutes=5, seconds=5))


def test_events_soon_after_a_delivery_show_no_source() -> None:
    seen = brake()
    for second in range(20):
        seen = after_held(seen, echo(at=second), START + seconds(second + 2))
    assert (seen.state, seen.unprovoked) == (S.Suspected, 0)


@pytest.mark.parametrize(("at", "state"), [(9, S.Probed), (10, S.Confirmed)])
def test_what_comes_back_after_the_probe_confirms_the_loop(at: float, state: LoopState) -> None:
    probed = brake(S.Probed, since=START + seconds(10))
    assert confirmed_by_probe(probed, echo(at=at), START + seconds(11)).state is state
    assert after_held(probed, echo(at=at), START + seconds(11)).state is state


@pytest.mark.parametrize(
    ("before", "after_seconds", "state"),
    [
        (brake(), 1.9, S.Suspected),
        (brake(), 2, S.Probed),
        (brake(trips=2), 2, S.Suspected),
        (brake(trips=2), 15, S.Probed),
        (brake(last_seen_at=START + seconds(29)), 29.9, S.Suspected),
        (brake(last_seen_at=START + seconds(29)), 30, S.Confirmed),
        (brake(S.Probed), 3.9, S.Probed),
        (brake(S.Probed), 4, S.Released),
        (brake(S.Probed, trips=2), 29, S.Probed),
        (brake(S.Confirmed), 3_600, S.Confirmed),
        (brake(S.Released), 3_600, S.Released),
    ],
)
def test_time_alone_probes_confirms_or_releases(
    before: LoopBrake, after_seconds: float, state: LoopState
) -> None:
    assert after_waiting(before, START + seconds(after_seconds)).state is state


@pytest.mark.parametrize(("times", "trusted"), [(1, timedelta(minutes=5)), (2, timedelta(hours=1))])
def test_a_released_brake_trusts_for_as_long_as_it_waited(times: int, trusted: timedelta) -> None:
    assert released(brake(trips=times), START).trusted_until == START + trusted
