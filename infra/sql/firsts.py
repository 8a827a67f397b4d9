"""The next rows of an order, changed or removed by one statement that returns them.

On SQL Server it is the table's own rows that the order is read from:

    WITH first_rows AS (SELECT TOP n ... WHERE <state> ORDER BY ...) UPDATE first_rows SET ... OUTPUT inserted...

so each row is locked as it is read, and left out unless it is in that state then. A list of ids found by a subquery
would have come from versions: what another process took meanwhile would be on it. SQLite changes nothing through a
query's name and has one writer at a time; it gets `WHERE <key> IN (SELECT ... LIMIT n)`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, ColumnElement, Delete, Select, Table, Update, delete, select, tuple_, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.util import ClauseAdapter


class _UpdateFirst(Update):
    inherit_cache = True


class _DeleteFirst(Delete):
    inherit_cache = True


def update_first(
    table: Table, *state: ColumnElement[bool], order_by: ColumnElement[Any], limit: int
) -> Update:
    """Build an UPDATE of up to `limit` rows in this state, the first in this order.

    It takes `values` and `returning` and no further condition. What it returns is in no order."""
    return _UpdateFirst(table).where(_among_the_first(table, state, order_by, limit))


def delete_first(
    table: Table, *state: ColumnElement[bool], order_by: ColumnElement[Any], limit: int
) -> Delete:
    """Build the DELETE of the same rows; it takes `returning`."""
    return _DeleteFirst(table).where(_among_the_first(table, state, order_by, limit))


def _among_the_first(
    table: Table, state: tuple[ColumnElement[bool], ...], order_by: ColumnElement[Any], limit: int
) -> ColumnElement[bool]:
    key = list(table.primary_key)
    first = select(*key).where(*state).order_by(order_by).limit(limit)
    return (key[0] if len(key) == 1 else tuple_(*key)).in_(first)


@compiles(_UpdateFirst, "mssql")
def _update_first(statement: _UpdateFirst, compiler: SQLCompiler, **options: Any) -> str:
    first, of_first = _first_rows(statement)
    values = {name: of_first.traverse(value) for name, value in (statement._values or {}).items()}
    return compiler.process(_returning(statement, update(first).values(values), of_first), **options)


@compiles(_DeleteFirst, "mssql")
def _delete_first(statement: _DeleteFirst, compiler: SQLCompiler, **options: Any) -> str:
    first, of_first = _first_rows(statement)
    return compiler.process(_returning(statement, delete(first), of_first), **options)


def _first_rows(statement: Update | Delete) -> tuple[CTE, ClauseAdapter]:
    """Name the rows; also return what makes the table's columns those of that name."""
    (among,) = statement._where_criteria
    first: Select[Any] = among.right.element
    named = first.with_only_columns(*statement.table.c).cte("first_rows")
    return named, ClauseAdapter(named)


def _returning(statement: Any, changed: Any, of_first: ClauseAdapter) -> Any:
    returned = statement._returning
    return changed.returning(*(of_first.traverse(column) for column in returned)) if returned else changed
