"""Messages are put off while a dependency is away, and handled once it is back."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from azure.functions.servicebus import ServiceBusMessage

from domain.core.errors import Unavailable
from domain.core.ports import QueueMessage
from domain.core.postponing import MOST_TIMES, POSTPONED, Postponement, Received, times_of, wait_of
from infra.app.build import build, serving
from infra.app.settings import Settings
from tests.worlds.builders import START, TENANT, FakeClock, FlakyDatabase, MemoryQueue, new_database

_BINDING = json.dumps({"taskHubName": "hub", "creationUrls": {}, "managementUrls": {"id": "1"}})
AWAY = Unavailable("The database does not answer.")


@pytest.mark.parametrize(
    ("times", "seconds"), [(0, 2), (1, 4), (2, 8), (6, 128), (7, 256), (8, 300), (9, 300), (299, 300)]
)
def test_waits_double_up_to_five_minutes(times: int, seconds: int) -> None:
    assert wait_of(times) == timedelta(seconds=seconds)


def test_a_message_may_wait_for_about_a_day() -> None:
    total = sum((wait_of(times) for times in range(MOST_TIMES)), timedelta())
    assert timedelta(hours=24) < total < timedelta(hours=26)


@pytest.mark.parametrize("count", ["", "x", "-1", "1.5", "²", "9" * 10, "9" * 30])
def test_a_count_that_is_none_is_nought(count: str) -> None:
    assert times_of(Received("{}", "m", {POSTPONED: count})) == 0


def test_a_count_of_nine_digits_is_one() -> None:
    assert times_of(Received("{}", "m", {POSTPONED: "9" * 9})) == 999_999_999


def test_a_copy_keeps_id_and_properties_and_counts() -> None:
    queue = MemoryQueue(FakeClock())
    message = Received("body", "m-1", {"traceparent": "00-1", POSTPONED: "3"})
    Postponement(queue, FakeClock()).put_off("alerts", [message, Received("other", "m-2")], AWAY)
    assert queue.sent == [
        (
            "alerts",
            QueueMessage(
                "body", "m-1", START + timedelta(seconds=16), {"traceparent": "00-1", POSTPONED: "4"}
            ),
        ),
        ("alerts", QueueMessage("other", "m-2", START + timedelta(seconds=2), {POSTPONED: "1"})),
    ]


def test_what_was_put_off_too_often_fails_for_the_reason_it_has() -> None:
    queue = MemoryQueue(FakeClock())
    postponement = Postponement(queue, FakeClock())
    often = Received("{}", "m", {POSTPONED: str(MOST_TIMES)})
    with pytest.raises(Unavailable, match="database"):
        postponement.put_off("alerts", [Received("{}", "n"), often], AWAY)
    assert queue.sent == []


def test_with_the_queue_away_too_the_messages_stay_where_they_are() -> None:
    queue = MemoryQueue(FakeClock())
    queue.down = True
    with pytest.raises(Unavailable, match="queue"):
        Postponement(queue, FakeClock()).put_off("alerts", [Received("{}", "n")], AWAY)


# -- the triggers -----------------------------------------------------------------------------------------


class Triggers:
    """The functions of the queues over a database that can be taken away."""

    def __init__(self, home: Path) -> None:
        new_database(home)
        self.clock = FakeClock()
        self.queue = MemoryQueue(self.clock)
        self.database = FlakyDatabase(home)
        self.hub = build(Settings(home=home), clock=self.clock, database=self.database, queue=self.queue)
        from functions import queues, sync_orchestration

        app = func.FunctionApp()
        app.register_functions(queues.bp)
        app.register_functions(sync_orchestration.bp)
        self._functions: dict[str, Callable[..., Any]] = {
            get_function.get_function_name(): get_function.get_user_function()
            for get_function in app.get_functions()
        }

    def call(self, name: str, messages: list[QueueMessage]) -> None:
        shaped = [
            ServiceBusMessage(
                body=message.body.encode(),
                message_id=message.message_id or "",
                application_properties=dict(message.properties),
                user_properties={},
            )
            for message in messages
        ]
        client = {"client": _BINDING} if name == "dispatch_sync_jobs" else {}
        returned = self._functions[name](messages=shaped, **client)
        if inspect.iscoroutine(returned):
            asyncio.run(returned)

    @contextmanager
    def database_away(self) -> Iterator[None]:
        self.database.down = True
        yield
        self.database.down = False


@pytest.fixture
def triggers(tmp_path: Path) -> Iterator[Triggers]:
    made = Triggers(tmp_path)
    with serving(made.hub):
        yield made
    made.database.close()


def test_an_event_of_another_module_outlasts_more_than_ten_failures(triggers: Triggers) -> None:
    event = {"tenantId": str(TENANT), "type": "BookingConfirmed", "data": {"n": 1}}
    waiting = [QueueMessage(json.dumps(event), "theirs-1")]
    with triggers.database_away():
        for times in range(12):
            triggers.call("fan_out_events", waiting)
            assert triggers.queue.take("domain-events") == [], "not at once"
            triggers.clock.advance(seconds=wait_of(times).total_seconds())
            waiting = triggers.queue.take("domain-events")
            assert [message.properties for message in waiting] == [
                {POSTPONED: str(times + 1), "hub-message-id": "theirs-1"}
            ]
    triggers.call("fan_out_events", waiting)
    [announced] = triggers.queue.take("domain-events")
    assert json.loads(announced.body) == {"tenantId": str(TENANT), "eventIds": ["theirs-1"]}
    triggers.call("fan_out_events", waiting)
    assert triggers.queue.take("domain-events") == [], "it was there already"


@pytest.mark.parametrize(
    ("function", "queue", "body"),
    [
        ("fan_out_events", "domain-events", {"tenantId": str(TENANT), "eventIds": ["e-1"]}),
        ("deliver_webhooks", "webhook-deliveries", {"webhookId": str(TENANT), "deliveryIds": [str(TENANT)]}),
        ("dispatch_sync_jobs", "sync-jobs", {}),
        (
            "raise_alerts",
            "alerts",
            {
                "kind": "unreadable-message",
                "tenantId": str(TENANT),
                "occurredAt": START.isoformat(),
                "data": {"subject": "domain-events", "messageId": "m", "detail": "It is none."},
            },
        ),
    ],
)
def test_every_queue_waits_for_the_database(
    triggers: Triggers, *, function: str, queue: str, body: dict[str, Any]
) -> None:
    message = QueueMessage(json.dumps(body), "m-1")
    with triggers.database_away():
        triggers.call(function, [message])
        triggers.clock.advance(seconds=2)
        [again] = triggers.queue.take(queue)
        assert (again.body, again.message_id) == (message.body, "m-1")
        triggers.queue.down = True
        with pytest.raises(Unavailable):
            triggers.call(function, [again])
    triggers.queue.down = False
    triggers.call(function, [again])
    triggers.clock.advance(hours=1)
    assert [message for message in triggers.queue.take(queue) if POSTPONED in message.properties] == []
