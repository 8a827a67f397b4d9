"""What a driver's error means."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from infra.sql.failures import BUSY, LOST, VICTIM, is_duplicate, is_transient, is_unavailable, is_undone


def _from_pyodbc(state: str, text: str, kind: type[DBAPIError] = DBAPIError) -> DBAPIError:
    return kind("SELECT 1", None, Exception(state, text))


def _numbered(number: int) -> DBAPIError:
    """As the driver shows an error of the server."""
    text = f"[42000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]Text. ({number}) (SQLExecDirectW)"
    return _from_pyodbc("42000", text, ProgrammingError)


@pytest.mark.parametrize("number", sorted(VICTIM | LOST | BUSY))
def test_each_number_that_passes_is_unavailable_and_tried_again_when_connecting(number: int) -> None:
    assert is_unavailable(_numbered(number))
    assert is_transient(_numbered(number))
    assert not is_duplicate(_numbered(number))


@pytest.mark.parametrize("number", sorted(VICTIM | LOST))
def test_whoever_gave_way_or_lost_the_connection_may_go_again_at_once(number: int) -> None:
    assert is_undone(_numbered(number))
    assert not is_undone(DBAPIError(None, None, _numbered(number).orig)), "under COMMIT, or connecting"  # type: ignore[arg-type]


@pytest.mark.parametrize("number", sorted(BUSY))
def test_who_is_asked_for_a_pause_may_not(number: int) -> None:
    assert not is_undone(_numbered(number))


def test_the_numbers_that_azure_sql_documents_are_told_apart() -> None:
    """https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues"""
    assert {1205, 3960} <= VICTIM
    assert {615, 926, 4060, 4221, 10053, 10054, 10060, 40197, 40613} <= LOST
    assert {10928, 10929, 40501, 49918, 49919, 49920} <= BUSY
    assert not VICTIM & LOST | VICTIM & BUSY | LOST & BUSY


@pytest.mark.parametrize("state", ["HYT00", "HYT01", "40003"])
def test_a_timeout_and_an_unknown_end_are_unavailable_and_not_done_again_at_once(state: str) -> None:
    error = _from_pyodbc(state, f"[{state}] [Microsoft][ODBC Driver 18 for SQL Server]Text (0) (SQLExecute)")
    assert is_unavailable(error)
    assert not is_undone(error)


def test_a_number_in_the_text_of_an_error_is_not_the_errors() -> None:
    """Such as in a value that did not fit, which its writer chose."""
    text = "[22001] [SQL Server]String or binary data would be truncated. Truncated value: '(1205) (40613)'."
    error = _from_pyodbc("22001", f"{text} (2628) (SQLExecDirectW); [01000] The statement has ended. (3621)")
    assert not is_unavailable(error)
    assert not is_undone(error)


def test_the_number_of_a_second_message_counts_too() -> None:
    text = "[23000] Violation of UNIQUE KEY. The duplicate key value is (a). (2627) (SQLExecDirectW)"
    assert is_duplicate(_from_pyodbc("23000", f"{text}; [01000] The statement has been terminated. (3621)"))


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
