"""What only Service Bus has, over AMQP 1.0: links and connections that break, a service that is away, and the
operations that an operator's tools use. By the real azure-servicebus against the endpoint on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiveMode
from azure.servicebus.exceptions import MessageLockLostError, ServiceBusError

from devhost import azure_listener
from domain.core.errors import Unavailable
from domain.core.ports import QueueMessage
from infra.azure.servicebus.queue import PAUSE_SECONDS, ServiceBusQueue
from tests.loopback.amqp import MISSING
from tests.worlds.queue_worlds import JOBS, LOCK_SECONDS, AzureWorld, Heard, eventually, listening, numbers

pytestmark = [pytest.mark.azure, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]

_AWAY_SECONDS = 10.0
"""The longest that a send or a ping may take to find out that the service is away."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureWorld]:
    made = AzureWorld(monkeypatch)
    yield made
    made.close()


@pytest.fixture
def client(world: AzureWorld) -> Iterator[ServiceBusClient]:
    with ServiceBusClient.from_connection_string(world.namespace.connection_string, retry_total=0) as made:
        yield made


def send(world: AzureWorld, *bodies: str) -> None:
    world.sender.send(JOBS, [QueueMessage(body) for body in bodies])


def sent(world: AzureWorld, body: str) -> bool:
    try:
        send(world, body)
    except Unavailable:
        return False
    return True


def answers(world: AzureWorld) -> bool:
    try:
        world.sender.ping()
    except Unavailable:
        return False
    return True


def test_links_that_the_service_detaches_are_opened_anew(world: AzureWorld) -> None:
    heard = Heard()
    with listening(world, heard):
        send(world, "0")
        heard.wait(1)
        world.namespace.detach_links()
        send(world, "1")
        heard.wait(2)
        eventually(lambda: world.left() == 0, "completion")
    assert sorted(set(numbers(heard.bodies))) == [0, 1]


def test_connections_that_break_cost_no_message(world: AzureWorld) -> None:
    heard = Heard()
    with listening(world, heard):
        send(world, "0")
        world.namespace.break_connections()
        send(world, "1")
        eventually(lambda: world.left() == 0, "completion")
    assert set(numbers(heard.bodies)) == {0, 1}


def test_a_service_that_is_away_is_unavailable_soon_and_taken_up_when_it_is_back(world: AzureWorld) -> None:
    heard = Heard()
    with listening(world, heard):
        send(world, "before")
        heard.wait(1)
        world.namespace.pull()
        for attempt in (lambda: send(world, "during"), world.sender.ping):
            started = time.monotonic()
            with pytest.raises(Unavailable) as caught:
                attempt()
            assert time.monotonic() - started < _AWAY_SECONDS
            assert "c2VjcmV0" not in str(caught.value)
        world.namespace.restore()
        eventually(lambda: answers(world), "a ping after the pause")
        eventually(lambda: sent(world, "after"), "a send after the pause")
        eventually(lambda: "after" in heard.bodies, "the message after the outage")


def test_while_the_service_is_away_only_the_first_send_of_a_while_waits_to_learn_it(
    world: AzureWorld,
) -> None:
    send(world, "before")
    world.namespace.pull()
    with pytest.raises(Unavailable):
        send(world, "one finds out")
    started = time.monotonic()
    for _ in range(20):
        with pytest.raises(Unavailable, match="a moment ago"):
            send(world, "the others are told")
    assert time.monotonic() - started < 0.5


def test_a_service_that_hangs_is_waited_for_by_one_and_taken_up_when_it_answers(world: AzureWorld) -> None:
    now, seconds = [0.0], 0.8
    queue = ServiceBusQueue(
        world.namespace.connection_string, answer_seconds=seconds, monotonic=lambda: now[0]
    )

    def asked(call: Callable[[], object]) -> float:
        """Seconds until it was known that the service is away."""
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            call()
        return time.monotonic() - begun

    def sending() -> float:
        return asked(lambda: queue.send(JOBS, [QueueMessage("during")]))

    queue.send(JOBS, [QueueMessage("before")])
    before = threading.active_count()
    world.namespace.hold()
    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(lambda _: sending(), range(8))) < 3 * seconds, "over the link there is"
        now[0] += PAUSE_SECONDS
        took = sorted(pool.map(lambda _: sending(), range(8)))
    assert took[6] < seconds / 2, "seven did not wait"
    assert seconds <= took[7] < 3 * seconds, "for the one who asked, over a new link"
    assert seconds <= asked(queue.ping) < 3 * seconds
    assert asked(queue.ping) < seconds / 2
    assert asked(queue.dead_letter_counts) < seconds / 2
    eventually(lambda: threading.active_count() <= before, "the end of all who waited for an answer")
    world.namespace.restore()
    now[0] += PAUSE_SECONDS
    queue.ping()
    queue.send(JOBS, [QueueMessage("after")])
    assert world.namespace.stored(JOBS)[-1].message.body == b"after"
    queue.close()


def test_a_listener_goes_on_when_a_service_that_hung_answers(world: AzureWorld) -> None:
    heard = Heard()
    with listening(world, heard):
        send(world, "before")
        heard.wait(1)
        world.namespace.hold()
        time.sleep(0.5)
        world.namespace.restore()
        send(world, "after")
        eventually(lambda: "after" in heard.bodies, "the message after the outage")
        eventually(lambda: world.left() == 0, "completion")


def test_a_listener_that_is_not_answered_can_be_stopped(
    world: AzureWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_listener, "OPEN_SECONDS", 0.3)
    world.namespace.hold()
    started = time.monotonic()
    with listening(world, Heard()):
        time.sleep(0.1)
    assert time.monotonic() - started < 5


def test_a_message_that_was_locked_when_the_plug_was_pulled_comes_again(world: AzureWorld) -> None:
    pulled = threading.Event()

    def pull_once(messages: object) -> None:
        if not pulled.is_set():
            world.namespace.pull()
            pulled.set()

    heard = Heard(pull_once)
    send(world, "a")
    with listening(world, heard):
        assert pulled.wait(10)
        time.sleep(LOCK_SECONDS)
        world.namespace.restore()
        eventually(lambda: world.left() == 0, "completion")
    assert heard.bodies == ["a", "a"]


def test_a_lock_that_ran_out_cannot_be_settled_and_the_count_has_risen(
    world: AzureWorld, client: ServiceBusClient
) -> None:
    send(world, "a")
    with client.get_queue_receiver(JOBS) as receiver:
        (first,) = receiver.receive_messages(1, max_wait_time=5)
        (second,) = receiver.receive_messages(1, max_wait_time=LOCK_SECONDS + 5)
        assert (first.delivery_count or 0, second.delivery_count) == (0, 1)
        with pytest.raises(MessageLockLostError):
            receiver.complete_message(first)
        receiver.complete_message(second)
    assert world.left() == 0


def test_a_lock_is_renewed_by_management(world: AzureWorld, client: ServiceBusClient) -> None:
    send(world, "a")
    with client.get_queue_receiver(JOBS) as receiver:
        (message,) = receiver.receive_messages(1, max_wait_time=5)
        until = message.locked_until_utc
        time.sleep(LOCK_SECONDS / 2)
        assert receiver.renew_message_lock(message) > until
        time.sleep(LOCK_SECONDS * 0.7)
        receiver.complete_message(message)
    assert world.left() == 0


def test_a_deferred_message_is_had_by_its_number_alone(world: AzureWorld, client: ServiceBusClient) -> None:
    send(world, "a")
    with client.get_queue_receiver(JOBS) as receiver:
        (message,) = receiver.receive_messages(1, max_wait_time=5)
        receiver.defer_message(message)
        assert receiver.receive_messages(1, max_wait_time=0.3) == []
        (deferred,) = receiver.receive_deferred_messages([message.sequence_number])
        assert str(deferred) == "a"
        receiver.complete_message(deferred)
        with pytest.raises(ServiceBusError):
            receiver.receive_deferred_messages([message.sequence_number])


def test_a_dead_letter_is_read_from_the_sub_queue_with_its_reason(
    world: AzureWorld, client: ServiceBusClient
) -> None:
    send(world, "a")
    with client.get_queue_receiver(JOBS) as receiver:
        (message,) = receiver.receive_messages(1, max_wait_time=5)
        receiver.dead_letter_message(message, reason="Broken", error_description="It does not parse")
    with client.get_queue_receiver(JOBS, sub_queue="deadletter") as receiver:
        (dead,) = receiver.receive_messages(1, max_wait_time=5)
        assert (str(dead), dead.dead_letter_reason) == ("a", "Broken")
        assert dead.dead_letter_error_description == "It does not parse"
        receiver.complete_message(dead)
    assert world.dead() == []


def test_a_schedule_by_management_is_peeked_at_and_cancelled(
    world: AzureWorld, client: ServiceBusClient
) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    with client.get_queue_sender(JOBS) as sender, client.get_queue_receiver(JOBS) as receiver:
        numbers = sender.schedule_messages([ServiceBusMessage("x"), ServiceBusMessage("y")], moment)
        send(world, "z")
        peeked = receiver.peek_messages(10)
        assert [(str(each), each.state.name) for each in peeked] == [
            ("x", "SCHEDULED"),
            ("y", "SCHEDULED"),
            ("z", "ACTIVE"),
        ]
        sender.cancel_scheduled_messages(numbers[0])
        assert [str(each) for each in receiver.peek_messages(10, sequence_number=1)] == ["y", "z"]
        with pytest.raises(ServiceBusError):
            sender.cancel_scheduled_messages(numbers[0])


def test_receive_and_delete_takes_a_message_for_good(world: AzureWorld, client: ServiceBusClient) -> None:
    send(world, "a")
    mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
    with client.get_queue_receiver(JOBS, receive_mode=mode) as receiver:
        assert [str(each) for each in receiver.receive_messages(1, max_wait_time=5)] == ["a"]
    assert world.left() == 0


def test_a_queue_with_duplicate_detection_takes_an_id_once_in_its_window() -> None:
    from tests.loopback.servicebus import QueueRules, running

    with running({JOBS: QueueRules(duplicate_seconds=60)}) as namespace:
        queue = ServiceBusQueue(namespace.connection_string)
        queue.send(JOBS, [QueueMessage("a", "same"), QueueMessage("b", "same"), QueueMessage("c", "other")])
        queue.send(JOBS, [QueueMessage("d", "same")])
        assert [each.message.body for each in namespace.stored(JOBS)] == [b"a", b"c"]
        queue.close()


class EntraID:
    """A credential that knows one token; `scopes` is what it was asked for."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.scopes += scopes
        return AccessToken(self._token, int(time.time()) + 3600)


def entering(world: AzureWorld, credential: EntraID) -> ServiceBusQueue:
    """As with a namespace and a managed identity, but without TLS."""
    address = f"127.0.0.1:{world.namespace.port}"
    return ServiceBusQueue(
        connect=lambda: ServiceBusClient(address, credential, use_tls=False, retry_total=0)  # type: ignore[arg-type]
    )


def test_a_token_of_entra_id_is_put_before_a_link_is_opened(world: AzureWorld) -> None:
    from tests.loopback.servicebus import tokens

    credential = EntraID(tokens.ENTRA_TOKEN)
    queue = entering(world, credential)
    queue.send(JOBS, [QueueMessage("a")])
    queue.close()
    assert world.left() == 1
    assert set(credential.scopes) == {"https://servicebus.azure.net//.default"}


@pytest.mark.parametrize("how", ["key", "identity"])
def test_a_token_that_does_not_hold_opens_nothing(world: AzureWorld, how: str) -> None:
    good = world.namespace.connection_string
    queue = {
        "key": lambda: ServiceBusQueue(good.replace("SharedAccessKey=", "SharedAccessKey=b3RoZXI")),
        "identity": lambda: entering(world, EntraID("a-token-for-something-else")),
    }[how]()
    started = time.monotonic()
    with pytest.raises(Unavailable) as refused:
        queue.ping(JOBS)
    assert time.monotonic() - started < _AWAY_SECONDS
    assert "a-token" not in str(refused.value)
    assert "b3RoZXI" not in str(refused.value)
    queue.close()
