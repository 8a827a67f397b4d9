"""Small pieces that every repository shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Select, func, select

from domain.paging import PageRequest

T = TypeVar("T")

#: Values in one IN list; SQL Server takes 2,100 parameters a statement.
CHUNK = 500


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Slices of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def total(connection: Connection, statement: Select[tuple[object, ...]]) -> int:
    """How many rows `statement` would return."""
    counted = select(func.count()).select_from(statement.order_by(None).subquery())
    return connection.execute(counted).scalar_one()


def paged(statement: Select[tuple[object, ...]], page: PageRequest) -> Select[tuple[object, ...]]:
    """The rows of one page; `statement` must be ordered."""
    return statement.offset(page.offset).limit(page.page_size)
