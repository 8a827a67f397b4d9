"""Events in: validated, stored once, announced."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.core.errors import Forbidden, TooLarge, Unavailable, ValidationFailed
from domain.core.json_text import MalformedJson
from domain.core.principal import Principal
from domain.journal.events import RaiseEvent, RaiseEvents, event_data
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE, announcements
from domain.journal.ports import EventRef
from domain.journal.raising import read_raised
from tests.worlds.builders import OTHER_TENANT, TENANT, USER
from tests.worlds.json_texts import objects
from tests.worlds.webhook_world import WebhookWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


def an_event(**fields: object) -> RaiseEvent:
    return RaiseEvent.model_validate_json(json.dumps({"type": "BookingConfirmed", "data": {}, **fields}))


def announced(world: WebhookWorld) -> list[str]:
    return [
        event_id
        for message in world.queue.take(DOMAIN_EVENTS_QUEUE)
        for event_id in json.loads(message.body)["eventIds"]
    ]


def test_an_event_is_stored_once_however_often_it_is_raised(world: WebhookWorld) -> None:
    first = world.events.accept(world.principal, [an_event(id="e-1", data={"n": 1})])
    again = world.events.accept(world.principal, [an_event(id="e-1", data={"n": 2})])
    assert (first.accepted, first.duplicates, first.event_ids) == (1, 0, ["e-1"])
    assert (again.accepted, again.duplicates, again.event_ids) == (0, 1, ["e-1"])
    assert world.raised("BookingConfirmed") == [{"n": 1}]
    assert announced(world) == ["e-1"]


def test_a_repeat_within_one_request_counts_as_a_duplicate(world: WebhookWorld) -> None:
    events = [an_event(id="e-1"), an_event(id="e-2"), an_event(id="e-1")]
    accepted = world.events.accept(world.principal, events)
    assert (accepted.accepted, accepted.duplicates, accepted.event_ids) == (2, 1, ["e-1", "e-2", "e-1"])


def test_two_tenants_may_use_the_same_id(world: WebhookWorld) -> None:
    for owner in (world.principal, world.other):
        assert world.events.accept(owner, [an_event(id="e-1")]).accepted == 1


def test_an_event_without_an_id_is_given_one(world: WebhookWorld) -> None:
    ids = world.events.accept(world.principal, [an_event(), an_event()]).event_ids
    assert len(set(ids)) == 2


def test_raising_needs_the_permission(world: WebhookWorld) -> None:
    with pytest.raises(Forbidden):
        world.events.accept(Principal(TENANT, USER, frozenset({"webhook:manage"})), [an_event()])


@pytest.mark.parametrize("type_", ["a", "BookingConfirmed", "booking.created", "a_b-c.d", "A" * 100])
def test_a_type_is_a_name_of_up_to_100_characters(type_: str) -> None:
    assert an_event(type=type_).type == type_


@pytest.mark.parametrize("type_", ["", "1a", ".a", "*", "a.*", "a b", "a/b", "é", "a\n", "A" * 101, None, 5])
def test_any_other_type_is_refused(type_: object) -> None:
    with pytest.raises(ValidationError):
        an_event(type=type_)


@pytest.mark.parametrize("id_", ["e", "0", "order:42", "a.b_c-d:e", "x" * 100])
def test_an_id_is_up_to_100_plain_characters(id_: str) -> None:
    assert an_event(id=id_).id == id_


@pytest.mark.parametrize("id_", ["", "-a", "a b", "a/b", "a\n", "é", "x" * 101, 5])
def test_any_other_id_is_refused(id_: object) -> None:
    with pytest.raises(ValidationError):
        an_event(id=id_)


def test_unknown_members_are_refused() -> None:
    with pytest.raises(ValidationError):
        an_event(payload={})


def test_a_request_holds_1_to_1000_events() -> None:
    one = {"type": "A", "data": {}}
    assert len(RaiseEvents.model_validate({"events": [one] * 1000}).events) == 1000
    for count in (0, 1001):
        with pytest.raises(ValidationError):
            RaiseEvents.model_validate({"events": [one] * count})


def test_a_payload_of_exactly_1_mib_is_taken_and_one_byte_more_is_not__BR_WH_08(world: WebhookWorld) -> None:
    fits = {"x": "é" * ((1024 * 1024 - len('{"x":""}')) // 2)}
    assert len(event_data(fits).encode()) == 1024 * 1024
    assert world.events.accept(world.principal, [an_event(data=fits)]).accepted == 1
    with pytest.raises(TooLarge) as refused:
        world.events.accept(
            world.principal, [an_event(id="e-1"), an_event(id="e-2", data={"x": fits["x"] + "a"})]
        )
    assert refused.value.code == "BR-WH-08"
    assert [error.pointer for error in refused.value.errors] == ["/events/1/data"]


def test_one_bad_event_refuses_the_whole_request(world: WebhookWorld) -> None:
    too_large = an_event(id="e-2", data={"x": "a" * 2_000_000})
    with pytest.raises(TooLarge):
        world.events.accept(world.principal, [an_event(id="e-1"), too_large])
    assert world.raised("BookingConfirmed") == []


def test_the_pointer_of_a_single_event_begins_at_the_body(world: WebhookWorld) -> None:
    with pytest.raises(TooLarge) as refused:
        world.events.accept(world.principal, [an_event(data={"x": "a" * 2_000_000})], in_batch=False)
    assert [error.pointer for error in refused.value.errors] == ["/data"]


HOSTILE = [
    '{"type":"A","data":{"x":NaN}}',
    '{"type":"A","data":{"x":Infinity}}',
    '{"type":"A","data":{"x":1,"\\u0078":1}}',
    '{"type":"A","type":"B","data":{}}',
    '{"type":"A","data":{},"data":{}}',
    '{"type":"A","data":{"x":"\\ud800"}}',
    '{"type":"A","data":{"\\udfff":1}}',
    '{"type":"A","data":{"x":' + "9" * 5_000 + "}}",
    '{"type":"A","data":{"x":' + "[" * 50_000 + "]" * 50_000 + "}}",
    '{"type":"A","data":' + '{"a":' * 2_000 + "1" + "}" * 2_000 + "}",
    '{"type":"A","data":{},"occurredAt":"0001-01-01T00:00:00+14:00"}',
    '{"type":"A","data":{},"occurredAt":"9999-12-31T23:59:59-14:00"}',
    '{"type":"A","data":{},"occurredAt":"2026-01-01T00:00:00"}',
    '{"type":"A","data":{},"occurredAt":"yesterday"}',
    '{"type":"A","data":[]}',
    '{"type":"A"',
    "[]",
    "null",
    "",
]


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: body[:50])
def test_what_json_cannot_carry_is_refused_and_breaks_nothing(world: WebhookWorld, body: str) -> None:
    with pytest.raises((ValidationError, ValidationFailed, MalformedJson)):
        world.events.accept(world.principal, [RaiseEvent.of_json(body.encode())])
    assert world.raised("A") == []


def test_integers_and_texts_keep_their_value_exactly(world: WebhookWorld) -> None:
    data = {"n": 2**63, "negative": -(10**30), "text": "a\u0000b\u2028🎉", "empty": {}, "list": [None, 1.5]}
    world.events.accept(world.principal, [an_event(data=data)])
    assert world.raised("BookingConfirmed") == [data]


@given(
    moment=st.datetimes().filter(lambda moment: 1 < moment.year < 9999),
    offset=st.integers(-14 * 60, 14 * 60),
)
def test_when_it_happened_is_kept_in_utc(moment: datetime, offset: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    kept = an_event(occurredAt=local.isoformat()).occurred_at
    assert kept == local
    assert kept.utcoffset() == timedelta(0)


def test_an_event_happened_now_unless_it_says_otherwise(world: WebhookWorld) -> None:
    world.events.accept(
        world.principal, [an_event(id="e-1"), an_event(id="e-2", occurredAt="2026-02-01T00:00:00+02:00")]
    )
    with world.transactions.read() as tx:
        events = tx.outbox.pending([EventRef(TENANT, "e-1"), EventRef(TENANT, "e-2")])
    moments = {event.event_id: event.occurred_at.isoformat() for event in events}
    assert moments == {"e-1": "2026-03-01T09:00:00+00:00", "e-2": "2026-01-31T22:00:00+00:00"}


def test_announcements_carry_ids_of_one_tenant_at_most_100_at_a_time() -> None:
    refs = [EventRef(TENANT, f"e-{n}") for n in range(250)] + [EventRef(OTHER_TENANT, "e-0")]
    bodies = [json.loads(message.body) for message in announcements(refs)]
    assert [(body["tenantId"], len(body["eventIds"])) for body in bodies] == [
        (str(TENANT), 100),
        (str(TENANT), 100),
        (str(TENANT), 50),
        (str(OTHER_TENANT), 1),
    ]


def test_an_event_is_accepted_while_the_queue_is_down_and_announced_by_the_sweeper(
    world: WebhookWorld,
) -> None:
    world.queue.down = True
    assert world.events.accept(world.principal, [an_event(id="e-1")]).accepted == 1
    world.queue.down = False
    assert world.events.sweep() == 0  # it may still be on its way
    world.clock.advance(seconds=31)
    assert world.events.sweep() == 1
    assert announced(world) == ["e-1"]
    assert world.events.sweep() == 0


def test_a_sweep_that_finds_the_queue_down_leaves_the_events_to_the_next(world: WebhookWorld) -> None:
    world.queue.down = True
    world.events.accept(world.principal, [an_event(id="e-1")])
    world.clock.advance(seconds=31)
    with pytest.raises(Unavailable):
        world.events.sweep()
    world.queue.down = False
    world.clock.advance(seconds=15)
    assert world.events.sweep() == 1
    assert announced(world) == ["e-1"]


def test_nothing_is_accepted_while_the_database_is_down(world: WebhookWorld) -> None:
    world.database.down = True
    with pytest.raises(Unavailable):
        world.events.accept(world.principal, [an_event()])


# -- straight from the queue ------------------------------------------------------------------------------


def a_message(**fields: object) -> str:
    return json.dumps({"tenantId": str(TENANT), "type": "BookingConfirmed", "data": {"n": 1}, **fields})


def test_a_message_is_an_event_of_the_tenant_it_names(world: WebhookWorld) -> None:
    ref = world.events.accept_message(a_message(id="e-1", occurredAt="2026-01-01T00:00:00Z"), "m-1")
    assert ref == EventRef(TENANT, "e-1")
    assert world.raised("BookingConfirmed") == [{"n": 1}]


@given(texts=st.lists(objects, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
def test_the_text_of_the_data_is_stored_as_it_came(world: WebhookWorld, texts: list[str]) -> None:
    listed = ",".join(f'{{"type":"A","data":{text}}}' for text in texts)
    events = read_raised(f'{{"events":[{listed}]}}'.encode(), payload_at_most=1024).events
    ids = list(world.events.accept(world.principal, events).event_ids)
    for text in texts:
        message = f'{{"tenantId":"{TENANT}","type":"A","data": {text}}}'
        ids.append(world.events.accept_message(message, str(uuid4())).event_id)
    with world.transactions.read() as tx:
        stored = {
            event.event_id: event.data for event in tx.outbox.pending([EventRef(TENANT, id_) for id_ in ids])
        }
    assert [stored[id_] for id_ in ids] == texts * 2


def test_the_size_of_a_payload_is_that_of_the_text_kept__BR_WH_08(world: WebhookWorld) -> None:
    inner = '"é":1.0' + " " * (1024 * 1024 - len('{"é":1.0}'.encode()))
    for text, fits in ((f"{{{inner}}}", True), (f"{{{inner} }}", False)):
        event = RaiseEvent.of_json(f'{{"type":"A","data":   {text}   }}'.encode())
        if fits:
            assert world.events.accept(world.principal, [event]).accepted == 1
            continue
        with pytest.raises(TooLarge):
            world.events.accept(world.principal, [event])


@pytest.mark.parametrize("fields", [{}, {"id": None}], ids=["no id", "a null id"])
@pytest.mark.parametrize("message_id", ["m-1", "{7c9e/66}", "x" * 128, "-starts wrongly"])
def test_a_message_without_an_id_is_stored_once_by_its_message_id(
    world: WebhookWorld, fields: dict[str, object], message_id: str
) -> None:
    first = world.events.accept_message(a_message(**fields), message_id)
    assert world.events.accept_message(a_message(**fields), message_id) == first
    assert world.events.accept_message(a_message(**fields), "another") != first
    assert len(world.raised("BookingConfirmed")) == 2


def test_a_subject_counts_utf_16_units_over_http_and_over_the_queue(world: WebhookWorld) -> None:
    fits = "\N{GRINNING FACE}" * 100
    world.events.accept(world.principal, [an_event(id="e-1", subject=fits)])
    assert world.events.accept_message(a_message(id="e-2", subject=fits), "m-1") == EventRef(TENANT, "e-2")
    with pytest.raises(ValidationError, match=r"events\.0\.subject\n.*at most 200 characters"):
        RaiseEvents.model_validate({"events": [{"type": "A", "data": {}, "subject": fits + "x"}]})
    with pytest.raises(ValidationFailed):
        world.events.accept_message(a_message(subject=fits + "x"), "m-2")


GARBAGE = [
    "",
    "not json",
    "null",
    "[1]",
    "5",
    '"text"',
    "[" * 100_000,
    '{"a":' * 100_000,
    "{}",
    a_message(tenantId="not-a-guid"),
    a_message(tenantId=5),
    a_message(tenantId=None),
    a_message(type="1"),
    a_message(data=None),
    a_message(data="text"),
    a_message(data={"x": "a" * 1_100_000}),
    a_message(more=1),
    a_message().replace('{"n": 1}', '{"n": NaN}'),
    a_message().replace('{"n": 1}', '{"n": 1, "n": 1}'),
    a_message().replace('{"n": 1}', '{}, "data": {}'),
    a_message().replace('{"n": 1}', '{"n": "\\ud800"}'),
    a_message(subject="s").replace('"s"', '"\\ud800"'),
    a_message().replace('{"n": 1}', '{"n": ' + "9" * 5_000 + "}"),
    '{"eventIds": ["e-1"]}',
    '{"eventIds": ["e-1"], "tenantId": 5}',
    '{"eventIds": ["e-1"], "tenantId": "not-a-guid"}',
    '{"eventIds": 5, "tenantId": "' + str(TENANT) + '"}',
    '{"eventIds": [5, {}], "tenantId": "' + str(TENANT) + '"}',
]


@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: body[:60])
def test_a_message_that_is_no_event_becomes_an_alert_and_the_others_go_on(
    world: WebhookWorld, body: str
) -> None:
    world.fan_out.handle([(a_message(id="e-1"), "m-1"), (body, "m-2"), (a_message(id="e-3"), "m-3")])
    assert len(world.raised("BookingConfirmed")) == 2
    [alert] = world.alerts()
    assert (alert["kind"], alert["data"]["messageId"]) == ("unreadable-message", "m-2")


@given(
    body=st.text(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda s: (
            st.lists(s) | st.dictionaries(st.sampled_from(["tenantId", "eventIds", "type", "data", "id"]), s)
        ),
    ).map(json.dumps)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_no_message_ever_breaks_the_batch(world: WebhookWorld, body: str) -> None:
    world.fan_out.handle([(body, "m-1")])
