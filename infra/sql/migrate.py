"""Bring the database to the current schema. The fast path reads one row, so a start costs nothing.

`python -m infra.sql.migrate` upgrades the configured database; with `--sql` it prints the T-SQL instead."""

from __future__ import annotations

import io
import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from domain.core.errors import Unavailable
from infra.sql.engine import DATABASE_FILE, Database, sql_server_database, sqlite_database

if TYPE_CHECKING:
    from alembic.config import Config

_ROOT = Path(__file__).resolve().parent
_BUSY_SECONDS = 30
#: Reads are by SNAPSHOT and writes at READ COMMITTED by versions; Azure SQL has both on, a SQL Server has neither.
#: ALTER DATABASE takes part in no transaction. The first waits for nobody: others' transactions are undone.
SNAPSHOTS_ON = (
    "IF (SELECT is_read_committed_snapshot_on FROM sys.databases WHERE name = DB_NAME()) = 0"
    " ALTER DATABASE CURRENT SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE",
    "IF (SELECT snapshot_isolation_state FROM sys.databases WHERE name = DB_NAME()) = 0"
    " ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON",
)
HEAD = "0036"


def upgrade_embedded(home: Path) -> bool:
    """Create or upgrade the SQLite database under `home`; True when anything was done.

    Safe when several processes start at once: one migrates, the others wait. Raises Unavailable when the file
    cannot be opened or is no database."""
    path = home / DATABASE_FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        if _revision(path) == HEAD:
            return False
        from filelock import FileLock  # here: it is slow to import, and a start with nothing to do needs none

        with FileLock(home / "migrate.lock"):
            if _revision(path) == HEAD:
                return False
            _use_wal(path)
            database = sqlite_database(path, pool_size=1)
            try:
                migrate(database)
            finally:
                database.close()
    except (OSError, sqlite3.DatabaseError) as error:
        raise Unavailable(f"The database file {path.name} cannot be used: {error}") from error
    return True


def migrate(database: Database, revision: str = "head") -> None:
    """Upgrade, in one transaction; on SQL Server, first have the database keep versions. Raises Unavailable."""
    from alembic import command

    config = _config()
    if database.engine.dialect.name == "mssql":
        _turn_snapshots_on(database)
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def unmigrate(database: Database, revision: str = "base") -> None:
    """Go back, in one transaction; the data of what is dropped is lost. Raises Unavailable."""
    from alembic import command

    config = _config()
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        connection.commit()


def script(revision: str = "head") -> str:
    """Return the whole schema as T-SQL for SQL Server, to be run by `sqlcmd`; needs neither driver nor server."""
    from alembic import command

    text = io.StringIO()
    command.upgrade(_config(text), revision, sql=True)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).strip() + "\n"


def upgrade(url: str, revision: str = "head", *, sql_only: bool = False) -> None:
    """Upgrade the database at a SQLAlchemy URL; with `sql_only` print the statements instead."""
    if sql_only:
        sys.stdout.write(script(revision))
        return
    from sqlalchemy import create_engine

    database = Database(create_engine(url))
    try:
        migrate(database, revision)
    finally:
        database.close()


def main(arguments: list[str]) -> None:
    """Run the command line."""
    if "--sql" in arguments:
        sys.stdout.write(script())
        return
    from infra.app.settings import Settings

    settings = Settings()
    if settings.sql_connection is None:
        upgrade_embedded(settings.home)
        return
    database = sql_server_database(
        settings.sql_connection.get_secret_value(),
        pool_size=1,
        client_id=settings.managed_identity_client_id,
        statement_seconds=0,
    )
    try:
        migrate(database)
    finally:
        database.close()


def _config(output: TextIO | None = None) -> Config:
    from alembic.config import Config

    config = Config() if output is None else Config(output_buffer=output)
    config.set_main_option("script_location", str(_ROOT / "migrations"))
    return config


def _turn_snapshots_on(database: Database) -> None:
    """Turn both on. Needs a login that may alter the database, unless they are on already."""
    with database.write() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in SNAPSHOTS_ON:
            connection.exec_driver_sql(statement)


def _use_wal(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _revision(path: Path) -> str | None:
    if not path.exists():
        return None
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    try:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        if known is None:
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    finally:
        connection.close()
    return row[0] if row else None


if __name__ == "__main__":
    main(sys.argv[1:])
