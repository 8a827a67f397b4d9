"""Let the app's identity read and write rows of Azure SQL: `python -m infra.sql.grant <name> <client id>`.

An administrator of the database runs it. The identity cannot change the schema. Runs again harmlessly."""

from __future__ import annotations

import sys
from uuid import UUID

ROLES = ("db_datareader", "db_datawriter")


def statements(name: str, client_id: UUID) -> list[str]:
    """Return the T-SQL that makes a database user of a managed identity, in the order to run it.

    The user is named by its client id rather than FROM EXTERNAL PROVIDER, which asks the directory and fails for a
    pipeline that may not read it: https://learn.microsoft.com/sql/t-sql/statements/create-user-transact-sql. A user
    left by an identity of the same name that is gone makes way. Raises ValueError for a name that no identity has."""
    if not name or len(name) > 128 or any(character in name for character in "[]'\0"):
        raise ValueError(f"Not the name of a managed identity: {name!r}")
    sid = f"0x{client_id.bytes_le.hex()}"
    of_that_name = f"SELECT 1 FROM sys.database_principals WHERE name = N'{name}'"  # noqa: S608 - DDL takes no parameters
    return [
        f"IF EXISTS ({of_that_name} AND sid <> {sid}) DROP USER [{name}]",
        f"IF NOT EXISTS ({of_that_name}) CREATE USER [{name}] WITH SID = {sid}, TYPE = E",
        *(f"ALTER ROLE {role} ADD MEMBER [{name}]" for role in ROLES),
    ]


def main(arguments: list[str]) -> None:
    """Run the command line; the database is that of HUB_SQL_CONNECTION."""
    from infra.app.settings import Settings
    from infra.sql.engine import sql_server_database

    settings = Settings()
    if len(arguments) != 2 or settings.sql_connection is None:
        sys.exit("usage: HUB_SQL_CONNECTION=... python -m infra.sql.grant <identity's name> <client id>")
    name, client_id = arguments
    database = sql_server_database(settings.sql_connection.get_secret_value(), pool_size=1)
    try:
        with database.write() as connection:
            for statement in statements(name, UUID(client_id)):
                connection.exec_driver_sql(statement)
            connection.commit()
    finally:
        database.close()


if __name__ == "__main__":
    main(sys.argv[1:])
