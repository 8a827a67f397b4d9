"""What one caller finds out about a service that is away spares the others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.azure.outage import Away, Outage


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def failing(outage: Outage, error: Exception) -> None:
    with pytest.raises(type(error)), outage.asked():
        raise error


def outage_of(clock: Clock, *, in_turn: bool = False) -> Outage:
    return Outage(
        "The post",
        lambda error: isinstance(error, OSError),
        pause_seconds=2,
        monotonic=clock,
        in_turn=in_turn,
    )


def test_after_an_outage_nobody_asks_for_a_while_and_then_one() -> None:
    clock = Clock()
    outage = outage_of(clock)
    failing(outage, OSError())
    failing(outage, Away("The post"))
    clock.seconds = 2
    with outage.asked(), pytest.raises(Away, match="The post cannot be reached"), outage.asked():
        pass
    with outage.asked(), outage.asked():
        pass


def test_who_finds_it_still_away_begins_the_pause_anew() -> None:
    clock = Clock()
    outage = outage_of(clock)
    failing(outage, OSError())
    clock.seconds = 2
    failing(outage, OSError())
    clock.seconds = 3
    failing(outage, Away("The post"))


def test_an_answer_is_no_outage_and_ends_one() -> None:
    clock = Clock()
    outage = outage_of(clock)
    failing(outage, ValueError())
    with outage.asked():
        pass
    failing(outage, OSError())
    clock.seconds = 2
    failing(outage, ValueError())
    with outage.asked(), outage.asked():
        pass


def test_those_who_wait_for_their_turn_learn_from_the_one_before() -> None:
    outage = outage_of(Clock(), in_turn=True)
    asking, answered = threading.Event(), threading.Event()

    def first() -> None:
        with pytest.raises(OSError, match="away"), outage.asked():
            asking.set()
            answered.wait(5)
            raise OSError("away")

    def later() -> None:
        with pytest.raises(Away), outage.asked():
            pass

    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(first)]
        assert asking.wait(5)
        ends += [pool.submit(later) for _ in range(3)]
        answered.set()
        for end in ends:
            end.result()
