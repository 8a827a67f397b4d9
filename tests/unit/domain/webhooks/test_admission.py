"""Whose deliveries go in a turn, which wait, and which are parked: a process with its clock, and no posts."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID, uuid4

from domain.core.turns import SharedTurns
from domain.webhooks.admission import RATE, Admission, Turn
from domain.webhooks.fan_out import DeliveryMessage
from domain.webhooks.throttle import BYTES_IN_FLIGHT, InFlightPosts


class Process:
    """What a process admits; posts end when they are told to."""

    def __init__(self, *, most: int = 4_000, most_per_webhook: int = 1_000) -> None:
        self.now = 1_000.0
        self.posts = InFlightPosts(most=most, most_per_webhook=most_per_webhook, monotonic=lambda: self.now)
        turns = SharedTurns(alone=256, together=64, rate=RATE, monotonic=lambda: self.now)
        self.admission = Admission(self.posts, turns)
        self.begun: list[tuple[UUID, UUID, float]] = []

    def queue(self, tenant: UUID, webhook: UUID, count: int, size: int = 0) -> list[DeliveryMessage]:
        """Let so many deliveries come; those that are sent back to the queue."""
        messages = []
        for first in range(0, count, 100):
            many = min(100, count - first)
            messages.append((tenant, DeliveryMessage(webhook, [uuid4() for _ in range(many)], size * many)))
        return [message for message, _ in self.admission.enter(messages)]

    def turn(self) -> Turn:
        turn = self.admission.turn()
        for tenant, message in turn.go:
            self.begun += [(tenant, message.webhook_id, self.now)] * len(message.delivery_ids)
        return turn

    def turns(self) -> None:
        """Take turns until none has anything that may go."""
        while self.turn().go:
            pass

    def went(self) -> Counter[UUID]:
        """Posts in flight of each webhook."""
        return Counter(webhook for _, webhook, _ in self.begun)

    def answer(self, webhook: UUID) -> None:
        """The receiver answers all that it has."""
        for post in [post for post in self.begun if post[1] == webhook]:
            self.posts.answered(webhook, is_welcome=True)
            self._end(post)

    def time_out(self, webhook: UUID) -> None:
        for post in [post for post in self.begun if post[1] == webhook]:
            self.posts.timed_out(webhook, post[2])
            self._end(post)

    def _end(self, post: tuple[UUID, UUID, float]) -> None:
        self.posts.release(post[0], post[1], 1, 0)
        self.begun.remove(post)


def parked(turn: Turn) -> int:
    return sum(len(message.delivery_ids) for message, _ in turn.parked)


A, B, C = (UUID(int=number) for number in (1, 2, 3))
HOOK, OTHER, THIRD = (UUID(int=number) for number in (11, 12, 13))


def test_whoever_asks_for_one_delivery_goes_first_beside_one_who_asks_for_thousands() -> None:
    process = Process()
    process.queue(A, HOOK, 3_000)
    process.queue(B, OTHER, 1)
    first = process.turn().go
    assert first[0][1].webhook_id == OTHER
    assert sum(len(message.delivery_ids) for _, message in first) <= 64


def test_a_tenant_with_twenty_endpoints_gets_no_more_of_a_turn_than_one_with_one() -> None:
    process = Process()
    for _ in range(20):
        process.queue(A, uuid4(), 200)
    process.queue(B, HOOK, 200)
    process.turn()
    assert process.went()[HOOK] == 32
    assert len(process.begun) == 64


def test_endpoints_of_one_tenant_share_its_turn() -> None:
    process = Process()
    process.queue(A, HOOK, 200)
    process.queue(A, OTHER, 3)
    process.queue(B, THIRD, 200)
    process.turn()
    assert process.went() == Counter({THIRD: 32, HOOK: 29, OTHER: 3})


def test_a_tenant_alone_may_have_half_of_all_posts_in_flight_and_the_next_as_many_as_are_left_to_it() -> None:
    process = Process(most=120)
    for _ in range(20):
        process.queue(A, uuid4(), 100)
    process.turns()
    assert 55 <= len(process.begun) <= 60
    process.queue(B, HOOK, 20)
    process.queue(B, OTHER, 20)
    process.turns()
    assert min(process.went()[HOOK], process.went()[OTHER]) >= 8
    assert process.went()[HOOK] + process.went()[OTHER] <= 30


def test_posts_that_hang_take_no_room_from_another_tenant_however_many_endpoints_they_have() -> None:
    process = Process(most=400)
    for tenant in (A, C):
        for _ in range(50):
            process.queue(tenant, uuid4(), 30)
    process.turns()
    assert len(process.begun) <= 2 * 400 // 3 + 2
    process.queue(B, HOOK, 20)
    process.turns()
    assert process.went()[HOOK] == 20


def test_payloads_of_one_tenant_leave_half_of_the_memory_to_others() -> None:
    process = Process()
    mebibyte = 1024 * 1024
    for _ in range(10):
        process.queue(A, uuid4(), 30, size=mebibyte)
    process.turns()
    assert len(process.begun) * mebibyte <= BYTES_IN_FLIGHT / 2
    process.queue(B, HOOK, 10, size=mebibyte)
    process.turns()
    assert process.went()[HOOK] == 10


def test_a_delivery_larger_than_all_of_the_memory_goes_alone_rather_than_never() -> None:
    process = Process()
    process.queue(A, HOOK, 1, size=8 * BYTES_IN_FLIGHT)
    process.turn()
    assert process.went()[HOOK] == 1


def test_events_of_an_endpoint_that_says_nothing_wait_without_a_message_after_five_seconds() -> None:
    process = Process()
    process.queue(A, HOOK, 100)
    process.turns()
    assert process.went()[HOOK] == 32
    assert parked(process.turn()) == 0
    process.now += 5.0
    assert parked(process.turn()) == 68
    process.queue(A, HOOK, 20)
    assert parked(process.turn()) == 20
    assert process.admission.count == 0


def test_an_endpoint_whose_last_posts_all_timed_out_gets_one_post_and_the_rest_is_parked_at_once() -> None:
    process = Process()
    process.queue(A, HOOK, 32)
    process.turns()
    process.now += 30.0
    process.time_out(HOOK)
    process.queue(A, HOOK, 500)
    turn = process.turn()
    assert process.went()[HOOK] == 1
    assert parked(turn) + parked(process.turn()) == 499


def test_what_is_parked_comes_back_as_soon_as_its_endpoint_answers() -> None:
    process = Process()
    process.queue(A, HOOK, 232)
    process.turns()
    process.now += 6.0
    assert parked(process.turn()) == 200
    assert process.admission.answered(HOOK) == []
    process.answer(HOOK)
    back = [message for _ in range(3) for message in process.admission.answered(HOOK)]
    assert [len(message.delivery_ids) for message in back] == [100, 100]
    assert len({delivery_id for message in back for delivery_id in message.delivery_ids}) == 200


def test_the_more_is_parked_the_later_it_is_looked_at_but_within_the_hour() -> None:
    process = Process()
    process.queue(A, HOOK, 32)
    process.turns()
    process.now += 6.0
    waits: list[timedelta] = []
    for _ in range(15):
        process.queue(A, HOOK, 100)
        waits += [wait for _, wait in process.turn().parked]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (timedelta(minutes=10), timedelta(minutes=55))


def test_a_receiver_that_answers_after_a_second_is_not_held_up_by_nine_that_hang() -> None:
    process = Process()
    stuck = [uuid4() for _ in range(9)]
    for webhook in stuck:
        process.queue(A, webhook, 200)
    process.queue(B, HOOK, 4_000)
    most = 0
    for _ in range(10):
        process.turns()
        most = max(most, process.went()[HOOK])
        process.now += 1.0
        process.answer(HOOK)
        process.queue(B, HOOK, 1_000)
    assert most >= 500
    assert sum(process.went()[webhook] for webhook in stuck) <= 9 * 32


def test_a_process_keeps_a_few_seconds_of_work_and_sends_the_rest_back_to_the_queue() -> None:
    process = Process()
    webhooks = [uuid4() for _ in range(20)]
    back = sum(len(message.delivery_ids) for hook in webhooks for message in process.queue(A, hook, 1_000))
    assert process.admission.count + back == 20_000
    assert process.admission.count <= 5_000
    assert process.queue(B, HOOK, 500) == []  # another tenant finds a place all the same


def test_a_delivery_that_comes_twice_waits_once() -> None:
    process = Process()
    message = DeliveryMessage(HOOK, [uuid4(), uuid4()], 10)
    process.admission.enter([(A, message), (A, message)])
    assert process.admission.count == 2
    process.turn()
    assert process.went()[HOOK] == 2
