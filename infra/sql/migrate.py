"""Bring the database to the current schema. The fast path reads one row, so a start costs nothing."""

from __future__ import annotations

import fcntl
import sqlite3
from pathlib import Path

from infra.sql.engine import DATABASE_FILE

_ROOT = Path(__file__).resolve().parent
HEAD = "0001"


def upgrade_embedded(home: Path) -> bool:
    """Create or upgrade the SQLite database under `home`; True when anything was done.

    Safe when several processes start at once: one migrates, the others wait."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / DATABASE_FILE
    if _revision(path) == HEAD:
        return False
    with (home / "migrate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _revision(path) == HEAD:
            return False
        _use_wal(path)
        upgrade(f"sqlite:///{path}")
    return True


def upgrade(url: str, revision: str = "head", *, sql_only: bool = False) -> None:
    """Run Alembic against a SQLAlchemy URL; with `sql_only` print the statements instead."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_ROOT / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, revision, sql=sql_only)


def _use_wal(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _revision(path: Path) -> str | None:
    if not path.exists():
        return None
    connection = sqlite3.connect(path, timeout=30)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    finally:
        connection.close()
    return row[0] if row else None
