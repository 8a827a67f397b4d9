"""SQLAlchemy's dialect of pyodbc, with parameters of few types: few plans, and no questions to the server.

- A NULL is written into the text. pyodbc asks the server for the type of every `None`, whatever `setinputsizes` said,
  which is a round trip of its own before the statement.
- Text is declared as NVARCHAR(4000), or NVARCHAR(MAX) where its column is. pyodbc otherwise declares it by the length
  of the value, and SQL Server makes a plan for each.

Arrays (`fast_executemany`) are left alone: the driver asks once for all their types.

The server is not asked who it is when a process first connects, and a connection that fails costs the pool no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects.mssql.pyodbc import MSDialect_pyodbc
from sqlalchemy.engine import ExceptionContext

#: (type, size, digits) as pyodbc's setinputsizes takes them; 4000 is NVARCHAR's most short of MAX.
_SHORT_TEXT = 4000
_Size = tuple[Any, Any, Any]


class LeanDialect(MSDialect_pyodbc):
    supports_statement_cache = True
    #: Of SQL Server 2022 and Azure SQL; every version that is served has what SQLAlchemy asks the number for.
    server_version_info = (16, 0)  # type: ignore[assignment]
    default_isolation_level = "READ COMMITTED"
    default_schema_name = "dbo"

    def initialize(self, connection: Connection) -> None:
        """Take what a process would otherwise ask with its first connection, which may be lost meanwhile."""
        self._setup_version_attributes()  # type: ignore[no-untyped-call]

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        event.listen(engine, "handle_error", _discard_one)

    def do_set_input_sizes(
        self, cursor: Any, list_of_tuples: Sequence[tuple[str, Any, Any]], context: Any
    ) -> None:
        """Keep the sizes for `do_execute`, which tells them; arrays have none."""
        context.lean_sizes = [wanted for _, wanted, _ in list_of_tuples]

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        sizes: Sequence[Any] | None = getattr(context, "lean_sizes", None)
        if parameters and None in parameters:
            if sizes is not None:
                sizes = [size for size, value in zip(sizes, parameters, strict=True) if value is not None]
            statement = _with_nulls(statement, parameters)
            parameters = tuple(value for value in parameters if value is not None)
        if sizes:
            cursor.setinputsizes(
                [self._size(wanted, value) for wanted, value in zip(sizes, parameters, strict=True)]
            )
        cursor.execute(statement, parameters)

    def _size(self, wanted: Any, value: object) -> _Size:
        module: Any = self.dbapi
        if isinstance(wanted, tuple):
            return wanted
        if wanted != module.SQL_WVARCHAR:
            return wanted, None, None
        # What is only compared may be longer than any column.
        is_long = isinstance(value, str) and 2 * len(value) > _SHORT_TEXT
        return wanted, 0 if is_long else _SHORT_TEXT, 0


def _discard_one(context: ExceptionContext) -> None:
    """Throw away the connection that failed or timed out; each other one is tested before it is used."""
    context.invalidate_pool_on_disconnect = False


def _with_nulls(statement: str, parameters: Sequence[object]) -> str:
    """Write NULL where the parameter is None. No statement has a question mark in a literal; a test counts them."""
    first, *rest = statement.split("?")
    written = [
        ("NULL" if value is None else "?") + part for value, part in zip(parameters, rest, strict=True)
    ]
    return "".join([first, *written])
