"""A database of the tests' own on the SQL Server that `HUB_TEST_SQLSERVER` names, and gone after them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import delete

from infra.sql.engine import Database, sql_server_database
from infra.sql.migrate import migrate
from infra.sql.schema import metadata

VARIABLE = "HUB_TEST_SQLSERVER"
#: A server's ODBC connection string, of a login that may create databases. The database it names is left alone.
SERVER = os.environ.get(VARIABLE, "")
needs_sql_server = pytest.mark.skipif(
    not SERVER, reason=f"{VARIABLE} names no SQL Server (docs/testing-azure.md)"
)

_DATABASE = re.compile(r"(?:^|(?<=;))\s*(?:database|initial catalog)\s*=[^;]*(?:;|$)", re.IGNORECASE)
_AZURE_SQL = 5
_CREATION_SECONDS = 600


def named(connection_string: str, database: str) -> str:
    """The connection string with another database."""
    return f"{_DATABASE.sub('', connection_string).rstrip('; ')};Database={database}"


@contextmanager
def fresh_database(connection_string: str) -> Iterator[Database]:
    """Created, migrated as a deployment would, and dropped."""
    name = f"hub_test_{uuid4().hex[:12]}"
    is_azure = (
        _administer(connection_string, "SELECT CAST(SERVERPROPERTY('EngineEdition') AS int)") == _AZURE_SQL
    )
    smallest = " (EDITION = 'Standard', SERVICE_OBJECTIVE = 'S0')" if is_azure else ""
    _administer(connection_string, f"CREATE DATABASE [{name}]{smallest}")
    try:
        database = sql_server_database(named(connection_string, name), pool_size=10)
        try:
            migrate(database)
            yield database
        finally:
            database.close()
    finally:
        if not is_azure:
            alone = f"ALTER DATABASE [{name}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE"
            _administer(connection_string, alone)
        _administer(connection_string, f"DROP DATABASE [{name}]")


def empty(database: Database) -> None:
    """Delete every row, children first."""
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
        connection.commit()


def _administer(connection_string: str, statement: str) -> object:
    """On `master`, outside any transaction; the value of a query."""
    database = sql_server_database(
        named(connection_string, "master"), pool_size=1, statement_seconds=_CREATION_SECONDS
    )
    try:
        with database.engine.connect() as connection:
            result = connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(statement)
            return result.scalar() if result.returns_rows else None
    finally:
        database.close()
