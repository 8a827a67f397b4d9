"""Expressions over many records, up to a bound here; apart, because imports, exports, events and previews share it.

What is beyond the bound runs in a process that can be ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from domain.providers.untrusted import TenantWork

#: The effort of expressions that this process makes for one batch: it takes a thread some two seconds.
EFFORT_HERE: Final = 1_000_000

TOO_EXPENSIVE: Final = "mapping-too-expensive"
EXPLANATION: Final = "The mapping's expressions take too long for the records of a batch; simplify them."

A = TypeVar("A")
B = TypeVar("B")


class Spending(Protocol):
    """What evaluates expressions, and counts the effort."""

    @property
    def spent(self) -> int: ...


async def for_each(
    work: TenantWork, step: Callable[[A], B], spending: Spending, items: Sequence[A]
) -> list[B]:
    """Return what `step`, which can be pickled, makes of each item. Raises WorkStopped, and what the step raises."""
    done = await asyncio.to_thread(_while_cheap, step, spending, items)
    rest = items[len(done) :]
    return [*done, *(await work.perform(_each, step, rest))] if rest else done


def _while_cheap(step: Callable[[A], B], spending: Spending, items: Sequence[A]) -> list[B]:
    done: list[B] = []
    most = spending.spent + EFFORT_HERE
    for item in items:
        if spending.spent > most:
            break
        done.append(step(item))
    return done


def _each(step: Callable[[A], B], items: Sequence[A]) -> list[B]:
    return [step(item) for item in items]
