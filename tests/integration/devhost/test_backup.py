"""Backup and restore of the embedded state."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import pytest

from devhost.backup import MANIFEST, backup, restore
from devhost.errors import HostError
from infra.embedded.secrets import EmbeddedSecretStore
from tests.worlds.builders import new_database

LOCKS = ("timers.lock", "hub.db.turn", "durable.db.worker.alive")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    state = tmp_path / "hub"
    new_database(state)
    EmbeddedSecretStore(state).set("a-secret", "value")
    (state / "dev-issuer.json").write_text("{}")
    (state / "log").write_text("a log")
    for lock in LOCKS:
        (state / lock).touch()
    return state


def test_secrets_open_from_the_copy(home: Path, tmp_path: Path) -> None:
    names = backup(home, tmp_path / "copy")
    assert {"hub.db", "secrets.db", "master.key", "dev-issuer.json"} <= set(names)
    assert not {"log", *LOCKS} & set(names)
    assert restore(tmp_path / "copy", tmp_path / "new") == names
    assert EmbeddedSecretStore(tmp_path / "new").get("a-secret") == "value"


def test_nothing_but_the_owner_reads_a_copy(home: Path, tmp_path: Path) -> None:
    names = backup(home, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "new")
    for directory in (tmp_path / "copy", tmp_path / "new"):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {(directory / name).stat().st_mode & 0o777 for name in names} == {0o600}


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_what_a_database_writes_beside_itself_is_not_copied(home: Path, tmp_path: Path, suffix: str) -> None:
    """It is gone at any moment, and of no use without the database as it was."""
    (home / f"other.db{suffix}").write_bytes(b"half a transaction")
    assert f"other.db{suffix}" not in backup(home, tmp_path / "copy")
    assert not (tmp_path / "copy" / f"other.db{suffix}").exists()


def test_the_copy_is_of_one_moment(home: Path, tmp_path: Path) -> None:
    with sqlite3.connect(home / "hub.db") as connection:
        connection.execute("CREATE TABLE Marks (Mark INTEGER)")
        connection.execute("INSERT INTO Marks VALUES (1)")
    backup(home, tmp_path / "copy")
    with sqlite3.connect(home / "hub.db") as connection:
        connection.execute("INSERT INTO Marks VALUES (2)")
    with sqlite3.connect(tmp_path / "copy" / "hub.db") as connection:
        assert connection.execute("SELECT Mark FROM Marks").fetchall() == [(1,)]


def test_a_row_committed_while_the_secrets_are_copied_waits_and_is_not_in_the_copy(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no row of the copy names a secret that came after its secrets."""
    import devhost.backup as module

    copy, refused = module.copy_file, []

    def copies(source: Path, target: Path) -> None:
        if source.name == "secrets.db":
            with sqlite3.connect(home / "hub.db", timeout=0) as writer:
                try:
                    writer.execute("CREATE TABLE Late (Mark INTEGER)")
                except sqlite3.OperationalError as error:
                    refused.append(str(error))
        copy(source, target)

    monkeypatch.setattr(module, "copy_file", copies)
    backup(home, tmp_path / "copy")
    assert refused == ["database is locked"]
    with sqlite3.connect(home / "hub.db", timeout=0) as writer:
        writer.execute("CREATE TABLE Late (Mark INTEGER)")


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_backup_restores_nothing(home: Path, tmp_path: Path, damage: str) -> None:
    backup(home, tmp_path / "copy")
    file = tmp_path / "copy" / "hub.db"
    if damage == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    else:
        file.unlink()
    with pytest.raises(HostError, match=r"hub\.db of the backup is missing or was changed"):
        restore(tmp_path / "copy", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_no_database_is_noticed(home: Path, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    (tmp_path / "copy" / "hub.db").write_bytes(b"not a database" * 500)
    manifest = json.loads((tmp_path / "copy" / MANIFEST).read_text())
    manifest["files"]["hub.db"] = hashlib.sha256((tmp_path / "copy" / "hub.db").read_bytes()).hexdigest()
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(HostError, match="damaged"):
        restore(tmp_path / "copy", tmp_path / "new")


def test_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    with pytest.raises(HostError, match="not empty"):
        backup(home, tmp_path / "copy")
    with pytest.raises(HostError, match="not empty"):
        restore(tmp_path / "copy", home)


def test_what_is_no_state_or_no_backup_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no state"):
        backup(tmp_path / "nowhere", tmp_path / "copy")
    with pytest.raises(HostError, match="no backup"):
        restore(tmp_path / "nowhere", tmp_path / "new")


def test_a_manifest_cannot_name_a_file_elsewhere(home: Path, tmp_path: Path) -> None:
    backup(home, tmp_path / "copy")
    (tmp_path / "copy" / MANIFEST).write_text(json.dumps({"files": {"../hub/hub.db": "0"}}))
    with pytest.raises(HostError, match="nothing was restored"):
        restore(tmp_path / "copy", tmp_path / "new")
