"""What a driver's error means."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from infra.sql.failures import is_duplicate, is_unavailable


def _from_pyodbc(state: str, text: str, kind: type[DBAPIError] = DBAPIError) -> DBAPIError:
    return kind("SELECT 1", None, Exception(state, text))


@pytest.mark.parametrize(
    "error",
    [
        _from_pyodbc("08S01", "[08S01] Communication link failure (10054) (SQLExecDirectW)"),
        _from_pyodbc("40001", "[40001] Transaction was deadlocked (1205) (SQLExecDirectW)"),
        _from_pyodbc("HYT00", "[HYT00] Login timeout expired (0) (SQLDriverConnect)"),
        _from_pyodbc("42000", "[42000] Database 'hub' is not currently available (40613)", ProgrammingError),
        _from_pyodbc("HY000", "[HY000] The service is currently busy (40501)"),
        _from_pyodbc(
            "42000", "[42000] Resource ID : 1. The request limit is reached (10928)", ProgrammingError
        ),
        OperationalError("SELECT 1", None, sqlite3.OperationalError("database is locked")),
        DBAPIError("SELECT 1", None, sqlite3.DatabaseError("file is not a database")),
        DBAPIError("SELECT 1", None, Exception(), connection_invalidated=True),
    ],
    ids=lambda error: str(error.orig)[:40],
)
def test_trouble_that_passes_is_unavailable(error: DBAPIError) -> None:
    assert is_unavailable(error)
    assert not is_duplicate(error)


@pytest.mark.parametrize(
    "error",
    [
        _from_pyodbc(
            "42S02", "[42S02] Invalid object name 'Nothing'. (208) (SQLExecDirectW)", ProgrammingError
        ),
        _from_pyodbc("22001", "[22001] String or binary data would be truncated (2628)"),
        _from_pyodbc("23000", "[23000] The INSERT conflicted with the FOREIGN KEY (547)", IntegrityError),
        IntegrityError("INSERT", None, sqlite3.IntegrityError("FOREIGN KEY constraint failed")),
    ],
    ids=lambda error: str(error.orig)[:40],
)
def test_a_mistake_of_ours_is_neither_unavailable_nor_a_duplicate(error: DBAPIError) -> None:
    assert not is_unavailable(error)
    assert not is_duplicate(error)


@pytest.mark.parametrize("number", [2601, 2627])
def test_a_unique_key_that_is_taken_is_a_duplicate_for_an_index_and_for_a_constraint(number: int) -> None:
    error = _from_pyodbc("23000", f"[23000] Cannot insert duplicate key ({number})", IntegrityError)
    assert is_duplicate(error)
    assert not is_unavailable(error)


def test_sqlites_duplicates_are_told_by_their_code() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT UNIQUE, other TEXT NOT NULL)")
    connection.execute("INSERT INTO t VALUES ('a', 'b', 'c')")

    def failure(values: str) -> DBAPIError:
        with pytest.raises(sqlite3.IntegrityError) as caught:
            connection.execute(f"INSERT INTO t VALUES ({values})")
        return IntegrityError("INSERT", None, caught.value)

    assert is_duplicate(failure("'a', 'z', 'c'"))
    assert is_duplicate(failure("'z', 'b', 'c'"))
    assert not is_duplicate(failure("'z', 'z', NULL"))
