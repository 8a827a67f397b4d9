"""Which database errors mean "try again later", and which mean "that row exists already"."""

from __future__ import annotations

import re
import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

#: SQLSTATEs: connection (08), transaction rolled back or deadlock (40), driver timeouts (HYT), admission (28000).
_STATES = ("08", "40", "HYT", "28000")
#: Azure SQL's transient errors, throttling, failover, deadlock, lock timeout and snapshot conflict.
#: https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
_TRANSIENT = frozenset(
    {64, 233, 926, 1205, 1222, 3960, 4060, 4221, 10053, 10054, 10060, 10928, 10929, 40020, 40143}
    | {40166, 40197, 40501, 40540, 40613, 49918, 49919, 49920}
)
_DUPLICATE = frozenset((2601, 2627))
_NUMBER = re.compile(r"\((\d+)\)")


def is_unavailable(error: DBAPIError) -> bool:
    """The database does not answer, is busy, or chose this transaction as a victim: nothing was changed."""
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return True
    origin = error.orig
    if isinstance(origin, sqlite3.Error):
        # A damaged file, or one that is no database, comes as the bare class.
        return type(origin) is sqlite3.DatabaseError
    return _state(origin).startswith(_STATES) or not _TRANSIENT.isdisjoint(_numbers(origin))


def is_transient(error: DBAPIError) -> bool:
    """Worth another try within seconds: the connection was lost, or the service is busy, moving or waking up. A login
    that is refused (18456) is not, although the driver gives it a state that admission errors share."""
    origin = error.orig
    return _state(origin).startswith(("08", "HYT")) or not _TRANSIENT.isdisjoint(_numbers(origin))


def is_duplicate(error: DBAPIError) -> bool:
    """A unique key is taken. SQL Server says 2601 for an index and 2627 for a constraint."""
    origin = error.orig
    if isinstance(origin, sqlite3.Error):
        return getattr(origin, "sqlite_errorcode", None) in (
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        )
    return not _DUPLICATE.isdisjoint(_numbers(origin))


def _state(origin: BaseException | None) -> str:
    """pyodbc's errors carry (SQLSTATE, text)."""
    return str(origin.args[0]) if origin is not None and origin.args else ""


def _numbers(origin: BaseException | None) -> set[int]:
    """The native error numbers, which pyodbc leaves in the text as `(1205)`."""
    text = str(origin.args[1]) if origin is not None and len(origin.args) > 1 else ""
    return {int(number) for number in _NUMBER.findall(text)}
