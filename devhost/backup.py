"""`backup` and `restore`: the whole embedded state, taken while the host serves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from devhost.errors import HostError

MANIFEST = "backup.json"
_HUB = "hub.db"
_SECRETS = ("secrets.db", "master.key")
#: Of no use elsewhere or later, and gone at any moment: locks, logs, connections.
_LEFT_OUT = ("realtime.db",)
_LEFT_OUT_SUFFIXES = (".lock", ".turn", ".alive", "-wal", "-shm", "-journal", ".new")
_BUSY_SECONDS = 30.0


def backup(home: Path, target: Path) -> list[str]:
    """Copy the state of `home` to `target`, a directory that is new or empty; returns the names of the files.

    The queue and the orchestrations are copied first: what they then did already is in the database, and doing it
    again changes nothing. Then the secrets with a snapshot of the database, while no other process writes to it, so
    that every secret a row names is there. Raises HostError.
    """
    if not (home / _HUB).is_file():
        raise HostError(f"There is no state in {home}")
    _claim(target)
    names = sorted(file.name for file in home.iterdir() if file.is_file() and _is_kept(file.name))
    try:
        for name in names:
            if name != _HUB and name not in _SECRETS:
                copy_file(home / name, target / name)
        _copy_database(home, target, [name for name in _SECRETS if name in names])
    except (OSError, sqlite3.Error) as error:
        raise HostError(f"The backup failed: {error}") from error
    files = {name: _digest(target / name) for name in names}
    manifest = {"madeAt": datetime.now(UTC).isoformat(timespec="seconds"), "files": files}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return names


def restore(source: Path, home: Path) -> list[str]:
    """Copy a backup to `home`, which must be new or empty, and return the names of the files.

    Nothing is copied unless every file is the one that was backed up. Raises HostError."""
    try:
        files: dict[str, str] = json.loads((source / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError) as error:
        raise HostError(f"{source} is no backup: {error}") from error
    for name, digest in files.items():
        if Path(name).name != name or not (source / name).is_file() or _digest(source / name) != digest:
            raise HostError(f"{name} of the backup is missing or was changed; nothing was restored")
        if name.endswith(".db"):
            _check(source / name)
    _claim(home)
    for name in files:
        shutil.copyfile(source / name, home / name)
        (home / name).chmod(0o600)
    return sorted(files)


def _claim(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise HostError(f"{directory} is not empty; name a directory that is new or empty")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def _is_kept(name: str) -> bool:
    return name not in _LEFT_OUT and name != "log" and not name.endswith(_LEFT_OUT_SUFFIXES)


def copy_file(source: Path, target: Path) -> None:
    if source.suffix == ".db":
        with closing(_connect(source)) as connection:
            _online(connection, target)
    else:
        shutil.copyfile(source, target)
        target.chmod(0o600)


def _copy_database(home: Path, target: Path, secrets: list[str]) -> None:
    with closing(_connect(home / _HUB)) as snapshot, closing(_connect(home / _HUB)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        snapshot.execute("BEGIN")
        snapshot.execute("SELECT count(*) FROM sqlite_master").fetchone()
        for name in secrets:
            copy_file(home / name, target / name)
        lock.rollback()
        _online(snapshot, target / _HUB)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=_BUSY_SECONDS)


def _online(connection: sqlite3.Connection, target: Path) -> None:
    """SQLite's online backup: a consistent copy, whoever writes meanwhile."""
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(target)) as copy:
        connection.backup(copy)


def _check(path: Path) -> None:
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as connection:
            found = connection.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise HostError(f"{path.name} of the backup is damaged ({found}); nothing was restored")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
