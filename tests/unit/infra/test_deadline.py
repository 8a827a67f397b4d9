"""A bound on calls that have none of their own."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from infra.deadline import in_time

WORD: ContextVar[str] = ContextVar("word")


def never() -> None:
    raise AssertionError("it was in time")


def test_a_call_in_time_is_as_if_it_were_made_here() -> None:
    token = WORD.set("here")
    assert in_time(5, WORD.get, never) == "here"
    WORD.reset(token)
    for error in (KeyError("x"), TimeoutError("its own")):
        with pytest.raises(type(error), match=str(error.args[0])):
            in_time(5, lambda error=error: (_ for _ in ()).throw(error), never)  # type: ignore[misc]


def test_a_call_that_takes_too_long_is_given_up() -> None:
    given_up, ended = threading.Event(), threading.Event()

    def call() -> None:
        given_up.wait(5)
        ended.set()

    with pytest.raises(TimeoutError):
        in_time(0.01, call, given_up.set)
    assert ended.wait(5)
