"""Statements that every repository shares."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    case,
    func,
    insert,
    literal_column,
    select,
    type_coerce,
    update,
)
from sqlalchemy.exc import IntegrityError

from domain.core.errors import NotFound, Undone, modified
from domain.core.paging import Page, PageRequest
from infra.sql.failures import is_duplicate

T = TypeVar("T")
K = TypeVar("K", bound="Any")

#: Before everything that is stored: a range that names an index on moments.
EVER = datetime(1970, 1, 1, tzinfo=UTC)

#: Values in one IN list; SQL Server takes 2,100 parameters a statement.
CHUNK = 512
_WILDCARD = re.compile(r"([/%_\[])")


def key_lists(values: Iterable[K]) -> Iterator[Sequence[K]]:
    """Yield the values once each for IN lists of at most CHUNK, in the order of keys.

    - All who change several rows lock them in that one order, so that they wait for each other and do not deadlock.
    - A list is filled up to a power of two with its last value: SQL Server makes and keeps a plan for each text."""
    keys = sorted(set(values))
    for start in range(0, len(keys), CHUNK):
        some = keys[start : start + CHUNK]
        filled = 1 << (len(some) - 1).bit_length()
        yield [*some, *([some[-1]] * (filled - len(some)))]


def in_key_order(rows: Iterable[dict[str, Any]], *key: str) -> list[dict[str, Any]]:
    """Return rows for one array of parameters in the order of their keys, for the reason of `key_lists`."""
    return sorted(rows, key=itemgetter(*key))


def unindexed(column: Column[Any]) -> ColumnElement[Any]:
    """Return a number column for a condition on rows found by their ids, so that no index serves it.

    SQLite, which keeps no statistics, would otherwise read all rows of a common status rather than look the ids up."""
    return type_coerce(column + literal_column("0"), column.type)


def checked_last(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return a condition for rows that the index of another one finds, so that no index serves this one."""
    return case((condition, literal_column("1")), else_=literal_column("0")) == literal_column("1")


def containing(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    """Return the condition that the column holds `wanted` as it is: LIKE of SQL Server takes `[` for a wildcard too."""
    return column.like("%" + _WILDCARD.sub(r"/\1", wanted) + "%", escape="/")


def beginning(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    """Return the condition that the column begins with `wanted` as it is."""
    return column.like(_WILDCARD.sub(r"/\1", wanted) + "%", escape="/")


def within(
    statement: Select[Any], column: ColumnElement[Any], since: datetime | None, until: datetime | None
) -> Select[Any]:
    """Narrow a statement to rows from `since` on and before `until`, where they are given."""
    if since is not None:
        statement = statement.where(column >= since)
    return statement.where(column < until) if until is not None else statement


def row_of(connection: Connection, statement: Select[Any], what: str) -> Row[Any]:
    """Return the one row. Raises NotFound, which names `what` there is none of."""
    row = connection.execute(statement).first()
    if row is None:
        raise NotFound(f"There is no such {what}.")
    return row


def page_of(
    connection: Connection, ordered: Select[Any], page: PageRequest, read: Callable[[Any], T]
) -> Page[T]:
    """Return one page of an ordered statement, each row read by `read`, and how many rows there are in all."""
    rows = connection.execute(ordered.offset(page.offset).limit(page.page_size))
    items = [read(row) for row in rows]
    counted = select(func.count()).select_from(ordered.order_by(None).subquery())
    return Page(items, page.page, page.page_size, connection.execute(counted).scalar_one())


def update_version(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    version: int,
    what: str,
) -> None:
    """Update the row if its version is still the one that was read, and count it up.

    Raises PreconditionFailed, which names `what` was modified."""
    here = [table.c[name] == value for name, value in key.items()]
    statement = update(table).where(*here, table.c.Version == version).values(**values, Version=version + 1)
    if connection.execute(statement).rowcount != 1:
        raise modified(what)


def put_version(
    connection: Connection,
    table: Table,
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    version: int,
    what: str,
) -> None:
    """Insert the row as version 1 when none was read (`version` 0), else update the version that was read.

    Raises PreconditionFailed, which names `what` was modified."""
    if version:
        update_version(connection, table, key, values, version=version, what=what)
        return
    with raising_when_taken(modified(what)):
        connection.execute(insert(table).values(**key, **values, Version=1))


@contextmanager
def raising_when_taken(refusal: Exception | type[Exception]) -> Iterator[None]:
    """Store rows, and raise `refusal` when a unique key of theirs is taken."""
    try:
        yield
    except IntegrityError as error:
        if is_duplicate(error):
            raise refusal from error
        raise


def guarded_by_unique_key() -> AbstractContextManager[None]:
    """Insert rows that were not there a moment ago. Raises Undone.

    On SQL Server another transaction may store the same ones meanwhile: then this one is undone, and its repeat finds
    them."""
    return raising_when_taken(Undone("The same thing is being stored by another request; try again."))
