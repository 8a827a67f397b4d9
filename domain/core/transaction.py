"""Transactions: enter one, use its repositories, `commit()`; leaving without it rolls back.

Each capability declares a Protocol of the repositories it may touch (`WebhookTransaction`, ...); one SQL class
satisfies them all."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import ParamSpec, Protocol, TypeVar
from uuid import UUID

from domain.core.errors import Undone

logger = logging.getLogger("hub.transactions")

P = ParamSpec("P")
T = TypeVar("T")
Tx = TypeVar("Tx", bound="Transaction")
Tx_co = TypeVar("Tx_co", bound="Transaction", covariant=True)
_TRIES = 3


class Transaction(Protocol):
    """Sees one tenant at a time, unless a repository's own contract says that it serves the product itself."""

    def commit(self) -> None:
        """Make the changes durable, then announce the events appended.

        Raises Unavailable when the database is down, OutcomeUnknown when they may be durable all the same."""


class Transactions(Protocol[Tx_co]):
    """Opens transactions. Raises Undone where the use case may be done again at once (`repeated`), else Unavailable."""

    def write(self) -> AbstractContextManager[Tx_co]:
        """Open a transaction that may change rows."""

    def read(self) -> AbstractContextManager[Tx_co]:
        """Open a snapshot to read from; it takes no write lock."""


class Users(Protocol):
    """The tenants and users that the hub has met: User Management owns them, but the hub's rows refer to them."""

    def see(self, tenant_id: UUID, user_id: UUID, name: str, at: datetime) -> None:
        """Remember the tenant and the user; a name is only given to one who has none yet."""

    def lock_tenant(self, tenant_id: UUID) -> None:
        """Hold the tenant's row until the transaction ends, so that a limit cannot be raced."""

    def tenants(self) -> Sequence[UUID]:
        """Return every tenant met so far."""


class UserTransaction(Transaction, Protocol):
    """A transaction that may lock a tenant, list the tenants, or remember a user."""

    @property
    def users(self) -> Users: ...


def each_step(
    transactions: Transactions[Tx], step: Callable[[Tx], tuple[int, T]], size: int, *, most: int | None = None
) -> Iterator[T]:
    """Do `step` in one transaction after another, and yield its result after each commit.

    - `step` returns how many rows it found, and its result. It asks for `size` rows; fewer are the last ones.
    - `most` bounds the number of transactions.
    - Raises Unavailable; what was committed stays."""
    for _ in count() if most is None else range(most):
        with transactions.write() as tx:
            found, result = step(tx)
            tx.commit()
        yield result
        if found < size:
            return


def in_steps(
    transactions: Transactions[Tx], step: Callable[[Tx], int], size: int, *, most: int | None = None
) -> int:
    def counted(tx: Tx) -> tuple[int, int]:
        found = step(tx)
        return found, found

    return sum(each_step(transactions, counted, size, most=most))


def repeated(use_case: Callable[P, T]) -> Callable[P, T]:
    """Do `use_case` again, three times in all, when the database undid its transaction.

    For functions of one transaction that do nothing outside it before it has ended, and raise Undone for nothing
    after it: each time they start from their arguments. docs/adr/0011-repeated-transactions.md has the reasons."""

    @functools.wraps(use_case)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_TRIES - 1):
            try:
                return use_case(*args, **kwargs)
            except Undone as reason:
                logger.info("transaction repeated", extra={"of": use_case.__qualname__, "why": reason.detail})
        return use_case(*args, **kwargs)

    return tried


@dataclass(slots=True)
class Effects:
    """How many effects of the request nothing undoes: transactions committed, messages and charges at a provider.

    A request that loses a dependency after one was not simply refused. The threads of a request share this object."""

    count: int = 0


_current: ContextVar[Effects | None] = ContextVar("effects", default=None)


@contextmanager
def counted_effects() -> Iterator[Effects]:
    effects = Effects()
    token = _current.set(effects)
    try:
        yield effects
    finally:
        _current.reset(token)


def note_effect() -> None:
    """Count an effect of the request at hand, done or about to be done, that nothing undoes."""
    effects = _current.get()
    if effects is not None:
        effects.count += 1
