"""A stand-in for pyodbc, which takes what our dialect of it hands to the driver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Engine, create_engine

from infra.sql.engine import DIALECT, SQL_SERVER

_ERRORS = "Error InterfaceError DatabaseError OperationalError IntegrityError ProgrammingError DataError"


@dataclass
class Sent:
    """What reached the driver."""

    method: str
    text: str
    rows: list[tuple[Any, ...]]
    sizes: list[Any] | None = None
    is_array: bool = False
    #: Counts the calls of methods.
    call: int = 0


@dataclass
class Wire:
    """One module, connection and cursor that keep what they are given. `log` has the texts with `COMMIT` and
    `ROLLBACK` between them; `fault` may raise for one of these, with an error of `module()`."""

    sent: list[Sent] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    fault: Callable[[str], None] = lambda text: None
    method: str = ""
    call: int = 0
    description: None = None
    rowcount: int = 1
    fast_executemany: bool = False
    timeout: int = 0
    autocommit: bool = False
    sizes: list[Any] | None = None
    made: Any = None
    connections: int = 0

    def module(self) -> Any:
        if self.made is None:
            errors = {name: type(name, (Exception,), {}) for name in _ERRORS.split()}
            errors |= {
                name: type(name, (errors["Error"],), {}) for name in _ERRORS.split() if name != "Error"
            }
            types = dict.fromkeys(("SQL_WVARCHAR", "SQL_VARCHAR", "DATETIME", "NUMBER", "STRING", "BINARY"))
            types |= {name: name for name in types}  # type: ignore[misc]
            self.made = SimpleNamespace(
                paramstyle="qmark",
                version="5.0",
                Cursor=Wire,
                connect=lambda *_, **__: self._connected(),
                **errors,
                **types,
            )
        return self.made

    def cursor(self) -> Wire:
        self.fast_executemany = False
        self.sizes = None
        return self

    def execute(self, text: str, parameters: tuple[Any, ...] = ()) -> None:
        self._told(text)
        self.sent.append(Sent(self.method, text, [tuple(parameters)], self.sizes, call=self.call))

    def executemany(self, text: str, rows: list[tuple[Any, ...]]) -> None:
        self._told(text)
        array = self.fast_executemany
        self.sent.append(Sent(self.method, text, [tuple(row) for row in rows], self.sizes, array, self.call))

    def setinputsizes(self, sizes: Any) -> None:
        self.sizes = list(sizes)

    def fetchall(self) -> list[Any]:
        return []

    def commit(self) -> None:
        self._told("COMMIT")

    def rollback(self) -> None:
        self._told("ROLLBACK")

    def nextset(self) -> None: ...
    def close(self) -> None: ...

    def add_output_converter(self, type_: int, convert: Callable[[bytes], Any]) -> None: ...

    def _connected(self) -> Wire:
        self.connections += 1
        return self

    def _told(self, text: str) -> None:
        self.log.append(text)
        self.fault(text)


def sql_server_engine(wire: Wire, **options: Any) -> Engine:
    """An engine set up like `sql_server_database`'s, over the stand-in."""
    return create_engine(f"{SQL_SERVER}:///?odbc_connect=x", module=wire.module(), **DIALECT, **options)
