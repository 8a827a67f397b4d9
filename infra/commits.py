"""How many transactions the request at hand has committed, whichever threads it worked in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Commits:
    """Shared by the threads of a request: they get copies of its context, which hold this same object."""

    count: int = 0


_current: ContextVar[Commits | None] = ContextVar("commits", default=None)


@contextmanager
def counted() -> Iterator[Commits]:
    """Count the commits of the block."""
    commits = Commits()
    token = _current.set(commits)
    try:
        yield commits
    finally:
        _current.reset(token)


def note() -> None:
    """A transaction was committed."""
    commits = _current.get()
    if commits is not None:
        commits.count += 1
