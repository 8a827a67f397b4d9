"""What the request at hand has done that lasts whatever becomes of the rest: transactions committed, messages and
charges made at a provider. A request that loses a dependency after that was not simply refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Effects:
    """Shared by the threads of a request: they get copies of its context, which hold this same object."""

    count: int = 0


_current: ContextVar[Effects | None] = ContextVar("effects", default=None)


@contextmanager
def counted() -> Iterator[Effects]:
    """Count the effects of the block."""
    effects = Effects()
    token = _current.set(effects)
    try:
        yield effects
    finally:
        _current.reset(token)


def note() -> None:
    """Something was done, or is about to be, that nothing undoes."""
    effects = _current.get()
    if effects is not None:
        effects.count += 1
