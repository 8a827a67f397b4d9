"""One SQLAlchemy engine a process: SQLite for the embedded database, pyodbc for Azure SQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.core.errors import Unavailable, Undone
from infra.azure.credential import managed_identity
from infra.sql.failures import is_unavailable, is_undone
from infra.sql.login import LOGIN_SECONDS, Login, needs_token, packaged_driver, with_driver

if TYPE_CHECKING:
    from infra.embedded.turns import Turns

DATABASE_FILE = "hub.db"
_BUSY_SECONDS = 30
_NO_ANSWER = "The database does not answer; try again shortly."
#: NORMAL gives up only the last commits at a power cut; the journal shrinks to 64 MiB after a long reader.
_PRAGMAS = (
    "synchronous=NORMAL",
    "foreign_keys=ON",
    "cache_size=-32000",
    "temp_store=MEMORY",
    "journal_size_limit=67108864",
)
#: A statement's longest wait on SQL Server, where a lock is otherwise waited for without end.
_STATEMENT_SECONDS = 30
#: Errors are logged with their stack, and would quote payloads, addresses and hashes.
_DISCREET: Mapping[str, Any] = {"hide_parameters": True}
#: Many rows go as one array of parameters. SQLAlchemy's own way, VALUES lists, would compile a text for each length.
DIALECT: Mapping[str, Any] = {"use_insertmanyvalues": False, "fast_executemany": True, **_DISCREET}
#: pyodbc's dialect, which binds no NULL and declares few types.
SQL_SERVER = "mssql+lean"
registry.register("mssql.lean", "infra.sql.dialect", "LeanDialect")
#: Without it each statement of a read would see a moment of its own. The pool puts the level back on return, since
#: a level outlives transactions. Writes stay at READ COMMITTED, which is by versions too (see docs/sql.md).
SNAPSHOT: Mapping[str, Any] = {"isolation_level": "SNAPSHOT"}


class Database:
    """Opens transactions. `reads` are the execution options of a connection to read by.

    On SQLite, writers of one process take turns at a lock, those of other processes at a lock file, and BEGIN
    IMMEDIATE sees to it that no statement meets a lock half-way through a transaction."""

    def __init__(
        self, engine: Engine, turns: Turns | None = None, *, reads: Mapping[str, Any] | None = None
    ) -> None:
        self.engine = engine
        self._turns = turns
        self._away_at = float("-inf")
        self._reads = reads or {}

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection in a transaction that sees one moment. Raises Unavailable."""
        with self._unavailable(), self.engine.connect() as connection:
            yield connection.execution_options(**self._reads)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a connection in a transaction that rolls back unless committed. Raises Unavailable."""
        if self._turns is None:
            with self._unavailable(), self.engine.connect() as connection:
                yield connection
            return
        asked_at = time.monotonic()
        with self._turns.mine() as seconds, self._in_turn(asked_at), self.engine.connect() as connection:
            _wait_at_most(connection, seconds)
            yield connection.execution_options(hub_write=True)

    def ping(self) -> None:
        """Raise Unavailable when the database does not answer."""
        with self._unavailable(), self.engine.connect() as connection:
            # SQLite answers SELECT 1 without a look at its file.
            connection.exec_driver_sql("SELECT 1" if self._turns is None else "PRAGMA schema_version")

    def close(self) -> None:
        self.engine.dispose()
        if self._turns is not None:
            self._turns.close()

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        driver: Any = self.engine.dialect.dbapi
        try:
            yield
        except PoolTimeout as error:
            raise Unavailable("All database connections are in use; try again shortly.") from error
        except DBAPIError as error:
            meant = _meant(error)
            if meant is error:
                raise
            raise meant from error
        except driver.Error as error:
            # SQLAlchemy wraps none of those of a new connection's first moments.
            wrapped = DBAPIError.instance(None, None, error, driver.Error)
            raise _meant(wrapped) from error

    @contextmanager
    def _in_turn(self, asked_at: float) -> Iterator[None]:
        """Give up with a writer ahead in the queue that waited for the file in vain: the waits would add up.

        Raises Unavailable."""
        if self._away_at >= asked_at:
            raise Unavailable(_NO_ANSWER)
        try:
            with self._unavailable():
                yield
        except Unavailable as error:
            if isinstance(error.__cause__, DBAPIError) and not isinstance(error, Undone):
                self._away_at = time.monotonic()
            raise


def _meant(error: DBAPIError) -> Exception:
    """Return what an error of the database means to callers: itself where it is a fault of ours."""
    if is_undone(error):
        return Undone("The database gave this up for something else; try again.")
    return Unavailable(_NO_ANSWER) if is_unavailable(error) else error


def _wait_at_most(connection: Connection, seconds: float) -> None:
    """Limit the wait for SQLite's own lock, by the driver: SQLAlchemy would begin the transaction first."""
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA busy_timeout = {int(1000 * seconds)}").close()


def _refuse_untyped(moment: datetime) -> str:
    raise TypeError(
        f"{moment} reached SQLite without its column's type, which would store it in another form"
    )


def sqlite_database(path: Path, *, pool_size: int, busy_seconds: float = _BUSY_SECONDS) -> Database:
    """Open the embedded database. A writer of another process is waited for `busy_seconds`.

    The file is switched to WAL once, by the migration that creates it."""
    from infra.embedded.turns import Turns  # here: over Azure SQL no file is locked

    # The driver's own adapter writes a form that neither sorts nor compares with ours.
    sqlite3.register_adapter(datetime, _refuse_untyped)
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=pool_size,
        max_overflow=64,
        connect_args={"timeout": busy_seconds, "check_same_thread": False, "isolation_level": None},
        **_DISCREET,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("hub_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return Database(engine, Turns(path, most_seconds=busy_seconds))


def most_connections(pool_size: int) -> int:
    """Return how many connections a process opens under load: those that it keeps, and as many more."""
    return 2 * pool_size


def sql_server_database(
    connection_string: str,
    *,
    pool_size: int,
    client_id: str | None = None,
    statement_seconds: int = _STATEMENT_SECONDS,
) -> Database:
    """Open Azure SQL over pyodbc.

    - A connection string without credentials is entered with the managed identity `client_id` (none: see
      `managed_identity`).
    - The pool recycles well under the life of a token, and gives out what was used last, so that a quiet process
      closes what it does not need.
    - A statement that takes longer than `statement_seconds`, locks that it waits for included, fails; 0 lets it take
      any time.

    Raises ValueError when no driver is named and none is installed."""
    import pyodbc

    text = with_driver(connection_string, pyodbc.drivers(), packaged=packaged_driver())
    # SQLAlchemy pools; a second pool below it would hand on connections with a dead token.
    pyodbc.pooling = False
    engine = create_engine(
        f"{SQL_SERVER}:///?odbc_connect={quote_plus(text)}",
        pool_size=pool_size,
        max_overflow=most_connections(pool_size) - pool_size,
        pool_recycle=1500,
        pool_pre_ping=True,
        pool_use_lifo=True,
        connect_args={"timeout": LOGIN_SECONDS},
        **DIALECT,
    )
    credential = managed_identity(client_id) if needs_token(text) else None
    event.listen(engine, "do_connect", Login(credential).do_connect)

    @event.listens_for(engine, "connect")
    def _limit(connection: Any, record: Any) -> None:
        connection.timeout = statement_seconds

    return Database(engine, reads=SNAPSHOT)
