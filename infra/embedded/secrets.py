"""Key Vault's model in an encrypted file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from domain.core.errors import Unavailable
from infra.azure.keyvault.limits import check_name, check_value
from infra.embedded.sqlite import SqliteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secrets (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, version TEXT NOT NULL,
    sealed BLOB NOT NULL, UNIQUE (name, version));
CREATE INDEX IF NOT EXISTS secrets_latest ON secrets (name, sequence)
"""
_LATEST = "SELECT version, sealed FROM secrets WHERE name = ? ORDER BY sequence DESC LIMIT 1"
_VERSION = "SELECT version, sealed FROM secrets WHERE name = ? AND version = ?"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class EmbeddedSecretStore:
    """Secrets in `secrets.db`, encrypted with the key in `master.key` (mode 0600). Implements SecretStore.

    - Each value is under AES-256-GCM, bound to its name and version. Safe for many threads and processes.
    - For development: whoever reads both files reads the secrets.
    - Raises ValueError for what Key Vault would refuse (`infra.azure.keyvault.limits`), Unavailable when the file or
      its key cannot be used."""

    def __init__(self, home: Path) -> None:
        self._file = SqliteFile(home / "secrets.db", _SCHEMA)
        self._key_file = home / "master.key"
        self._key: bytes | None = None

    def get(self, name: str, version: str | None = None) -> str | None:
        check_name(name)
        with self._file.reader() as connection:
            query, arguments = (_LATEST, (name,)) if version is None else (_VERSION, (name, version))
            row = connection.execute(query, arguments).fetchone()
        return None if row is None else self._open(name, *row)

    def set(self, name: str, value: str) -> str:
        check_name(name)
        check_value(value)
        version = secrets.token_hex(16)
        sealed = self._seal(name, version, value)
        with self._file.transaction() as connection:
            statement = "INSERT INTO secrets (name, version, sealed) VALUES (?, ?, ?)"
            connection.execute(statement, (name, version, sealed))
        return version

    def delete(self, name: str) -> bool:
        check_name(name)
        with self._file.transaction() as connection:
            return connection.execute("DELETE FROM secrets WHERE name = ?", (name,)).rowcount > 0

    def names(self, prefix: str = "") -> list[str]:
        # Names are ASCII: nothing that starts with the prefix sorts after it with the last code point added.
        statement = "SELECT DISTINCT name FROM secrets WHERE name BETWEEN ? AND ? ORDER BY name"
        with self._file.reader() as connection:
            return [row[0] for row in connection.execute(statement, (prefix, f"{prefix}\U0010ffff"))]

    def ping(self) -> None:
        """Read the file and its key. Raises Unavailable if either cannot be read."""
        self._file.ping()
        self._master_key()

    def close(self) -> None:
        self._file.close()

    def _seal(self, name: str, version: str, value: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self._master_key()).encrypt(nonce, value.encode(), f"{name}/{version}".encode())
        return nonce + sealed

    def _open(self, name: str, version: str, sealed: bytes) -> str:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            plain = AESGCM(self._master_key()).decrypt(nonce, ciphertext, f"{name}/{version}".encode())
        except InvalidTag:
            raise Unavailable("A secret does not open with master.key: altered, or another key") from None
        return plain.decode()

    def _master_key(self) -> bytes:
        if self._key is None:
            try:
                self._key = self._read_key() or self._create_key()
            except OSError as error:
                raise Unavailable(f"master.key cannot be used: {error.strerror}") from error
        return self._key

    def _read_key(self) -> bytes | None:
        try:
            key = self._key_file.read_bytes()
        except FileNotFoundError:
            return None
        if len(key) != _KEY_BYTES:
            raise Unavailable(f"master.key does not hold {_KEY_BYTES} bytes")
        return key

    def _create_key(self) -> bytes:
        # The database's write lock lets one process create the key; the others find it. A key is never made
        # for secrets that another one sealed.
        with self._file.transaction() as connection:
            if (key := self._read_key()) is not None:
                return key
            if connection.execute("SELECT EXISTS (SELECT 1 FROM secrets)").fetchone()[0]:
                raise Unavailable("master.key is missing, and the secrets cannot be opened without it")
            key = secrets.token_bytes(_KEY_BYTES)
            _write_durably(self._key_file, key)
            return key


def _write_durably(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
