"""What a driver's error means: try again later, try again at once, or that row exists already."""

from __future__ import annotations

import re
import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

#: SQLSTATEs: connection (08), transaction rolled back or deadlock (40), driver timeouts (HYT), admission (28000).
_STATES = ("08", "40", "HYT", "28000")
#: This transaction was chosen to give way: deadlock, lock timeout, conflict or changed schema under SNAPSHOT.
VICTIM = frozenset({1205, 1222, 3960, 3961, 3966})
#: The connection is gone, or its database moves, wakes up or restarts.
LOST = frozenset(
    {
        20,
        64,
        121,
        233,
        596,
        615,
        921,
        926,
        997,
        4060,
        4221,
        6005,
        10053,
        10054,
        10060,
        11001,
        17142,
        17197,
        18401,
    }
    | {40020, 40143, 40166, 40197, 40540, 40613, 42108, 42109}
)
#: Out of locks, memory, workers or its service level: it asks for a pause.
BUSY = frozenset({701, 1204, 8628, 8645, 8651, 10922, 10928, 10929, 10936, 40501, 49918, 49919, 49920})
#: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
#: https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
_TRANSIENT = VICTIM | LOST | BUSY
_DUPLICATE = frozenset((2601, 2627))
#: pyodbc ends each message with its number, and the first one with the ODBC function too; "; " stands between them.
#: Numbers elsewhere are part of a text that may come from a caller.
_NUMBER = re.compile(r"\((\d+)\)(?= \(SQL\w+\)|; \[\w{5}\]|$)")


def is_unavailable(error: DBAPIError) -> bool:
    """Return whether the database does not answer, is busy, or chose this transaction as a victim."""
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return True
    origin = error.orig
    if isinstance(origin, sqlite3.Error):
        # A damaged file, or one that is no database, comes as the bare class.
        return type(origin) is sqlite3.DatabaseError
    return _state(origin).startswith(_STATES) or not _TRANSIENT.isdisjoint(_numbers(origin))


def is_undone(error: DBAPIError) -> bool:
    """Return whether the transaction was rolled back for certain, and its repeat is likely to succeed at once.

    It gave way to another, or its connection was lost under a statement. Not so under COMMIT, which may have come
    through, nor while connecting, which is tried again elsewhere: SQLAlchemy names no statement for either."""
    if error.statement is None:
        return False
    state, numbers = _state(error.orig), _numbers(error.orig)
    if not BUSY.isdisjoint(numbers):
        return False
    return state.startswith(("08", "40001")) or not (VICTIM | LOST).isdisjoint(numbers)


def is_in_doubt(error: DBAPIError) -> bool:
    """Return whether a COMMIT that failed may have come through. An error of SQLite's own says that it did not."""
    if isinstance(error.orig, sqlite3.Error) or not VICTIM.isdisjoint(_numbers(error.orig)):
        return False
    return is_unavailable(error)


def is_transient(error: DBAPIError) -> bool:
    """Return whether another try within seconds is worth it: a connection lost, a service busy, moving or waking up.

    A login that is refused (18456) is not, although the driver gives it a state that admission errors share."""
    origin = error.orig
    return _state(origin).startswith(("08", "HYT")) or not _TRANSIENT.isdisjoint(_numbers(origin))


def is_duplicate(error: DBAPIError) -> bool:
    """Return whether a unique key is taken. SQL Server says 2601 for an index and 2627 for a constraint."""
    origin = error.orig
    if isinstance(origin, sqlite3.Error):
        return getattr(origin, "sqlite_errorcode", None) in (
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        )
    return not _DUPLICATE.isdisjoint(_numbers(origin))


def _state(origin: BaseException | None) -> str:
    # pyodbc's errors carry (SQLSTATE, text).
    return str(origin.args[0]) if origin is not None and origin.args else ""


def _numbers(origin: BaseException | None) -> set[int]:
    text = str(origin.args[1]) if origin is not None and len(origin.args) > 1 else ""
    return {int(number) for number in _NUMBER.findall(text)}
