"""Small pieces that every repository shares."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Select, func, literal_column, select, type_coerce
from sqlalchemy.exc import IntegrityError

from domain.core.errors import Undone
from domain.core.paging import PageRequest
from infra.sql.failures import is_duplicate

T = TypeVar("T")

#: Values in one IN list; SQL Server takes 2,100 parameters a statement.
CHUNK = 500
_WILDCARD = re.compile(r"([/%_\[])")


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Slices of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def unindexed(column: Column[Any]) -> ColumnElement[Any]:
    """A number column in a condition on rows found by their ids. No index serves it: SQLite, which keeps no
    statistics, would otherwise rather read all rows of a common status than look the ids up."""
    return type_coerce(column + literal_column("0"), column.type)


def containing(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    """`wanted` stands somewhere in the column, as it is: SQL Server's LIKE takes `[` for a wildcard too."""
    return column.like("%" + _WILDCARD.sub(r"/\1", wanted) + "%", escape="/")


def beginning(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    """The column begins with `wanted`, as it is."""
    return column.like(_WILDCARD.sub(r"/\1", wanted) + "%", escape="/")


def total(connection: Connection, statement: Select[tuple[object, ...]]) -> int:
    """How many rows `statement` would return."""
    counted = select(func.count()).select_from(statement.order_by(None).subquery())
    return connection.execute(counted).scalar_one()


def paged(statement: Select[tuple[object, ...]], page: PageRequest) -> Select[tuple[object, ...]]:
    """The rows of one page; `statement` must be ordered."""
    return statement.offset(page.offset).limit(page.page_size)


@contextmanager
def guarded_by_unique_key() -> Iterator[None]:
    """Around the insert of rows that were not there a moment ago. On SQL Server another transaction may store
    the same ones meanwhile: then this one is undone, and its repeat finds them. Raises Undone."""
    try:
        yield
    except IntegrityError as error:
        if is_duplicate(error):
            raise Undone("The same thing is being stored by another request; try again.") from error
        raise
