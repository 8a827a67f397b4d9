"""Small values sealed under data keys that live in the secret store."""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import threading
import time
from collections.abc import Callable

from domain.core.errors import Unavailable
from domain.core.ports import SecretStore

_CURRENT = "data-key-current"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_CURRENT_SECONDS = 60.0
_SEALED = re.compile(r"v1\.(?P<key_id>[0-9a-f]{16})\.(?P<payload>[A-Za-z0-9_-]+)")


class SecretStoreCipher:
    """AES-256-GCM (NIST SP 800-38D) with `context` as additional data. Implements Cipher; thread-safe.

    A sealed value reads `v1.<key id>.<base64url(nonce | ciphertext | tag)>`. Data keys are the secrets
    `data-key-<id>`; `data-key-current` names the one that seals, and is read anew every 60 seconds at most,
    so that a rotation reaches every process within a minute. The first use creates a key. Every method
    raises Unavailable when a needed key cannot be fetched.

    Nonces are random: rotate long before 2^32 values are sealed under one key.
    """

    def __init__(self, secret_store: SecretStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._secrets = secret_store
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._keys: dict[str, bytes] = {}
        self._current: str | None = None
        self._read_at = float("-inf")

    def seal(self, plaintext: str, *, context: str) -> str:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key_id = self.current_key_id()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + AESGCM(self._keys[key_id]).encrypt(nonce, plaintext.encode(), context.encode())
        return f"v1.{key_id}.{_encode(sealed)}"

    def open(self, sealed: str, *, context: str) -> str:
        """As the port says; ValueError also for a value whose key is no longer in the secret store."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key_id, payload = _parse(sealed)
        key = self._key(key_id)
        if key is None:
            raise ValueError(f"The value is sealed under data key {key_id}, which is not in the secret store")
        nonce, ciphertext = payload[:_NONCE_BYTES], payload[_NONCE_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, ciphertext, context.encode()).decode()
        except (InvalidTag, ValueError):
            raise ValueError("The sealed value was altered, or belongs to another context") from None

    def key_id(self, sealed: str) -> str:
        """Return the id of the data key that the value is sealed under. Raises ValueError if it is not sealed."""
        return _parse(sealed)[0]

    def rotate(self) -> str:
        """Make a new data key the current one; returns its id. Values sealed under older keys still open."""
        with self._lock:
            return self._create()

    def current_key_id(self) -> str:
        """Of the data key that seals, which is made where there is none."""
        current = self._current
        if current is not None and self._monotonic() - self._read_at < _CURRENT_SECONDS:
            return current
        with self._lock:
            if self._current is None or self._monotonic() - self._read_at >= _CURRENT_SECONDS:
                self._refresh()
            assert self._current is not None
            return self._current

    def _refresh(self) -> None:
        try:
            named = self._secrets.get(_CURRENT)
            if named is None:
                self._create()
            else:
                self._use(named)
        except Unavailable:
            # The key in use was fetched from the store, so values sealed under it can be opened again.
            if self._current is None:
                raise
            self._read_at = self._monotonic()

    def _create(self) -> str:
        # The key is stored before anything names it. Of processes that race the last to write wins; each
        # uses what it then reads, and the others' keys stay readable for what was sealed in between.
        key_id = secrets.token_hex(8)
        self._secrets.set(f"data-key-{key_id}", _encode(os.urandom(_KEY_BYTES)))
        self._secrets.set(_CURRENT, key_id)
        winner = self._secrets.get(_CURRENT) or key_id
        self._use(winner)
        return winner

    def _use(self, key_id: str) -> None:
        if self._key(key_id) is None:
            raise Unavailable(f"The current data key {key_id} is not in the secret store")
        self._current = key_id
        self._read_at = self._monotonic()

    def _key(self, key_id: str) -> bytes | None:
        if key_id not in self._keys:
            stored = self._secrets.get(f"data-key-{key_id}")
            if stored is None:
                return None
            self._keys[key_id] = _data_key(key_id, stored)
        return self._keys[key_id]


def _parse(sealed: str) -> tuple[str, bytes]:
    match = _SEALED.fullmatch(sealed)
    if match is None:
        raise ValueError("Not a sealed value")
    payload = _decode(match["payload"])
    # Spare bits of the last character may differ without changing the bytes; only one spelling is sealed.
    if _encode(payload) != match["payload"]:
        raise ValueError("Not a sealed value")
    return match["key_id"], payload


def _data_key(key_id: str, stored: str) -> bytes:
    try:
        key = _decode(stored)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise Unavailable(f"Data key {key_id} in the secret store is not {_KEY_BYTES} bytes in base64")
    return key


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("Not a sealed value") from None
