"""The Ed25519 keys that sign heads of the audit log, in the secret store."""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
import time
from collections.abc import Callable

from domain.core.errors import Unavailable
from domain.core.ports import SecretStore

_CURRENT = "audit-key-current"
_PRIVATE = "audit-key-"
_PUBLIC = "audit-public-"
_FRESH_SECONDS = 60.0


def holds(public_key: bytes, signature: bytes, text: bytes) -> bool:
    """Return whether an Ed25519 signature (RFC 8032) holds. Implements VerifySignature."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


class SecretStoreSigner:
    """Implements HeadSigner; thread-safe.

    - `audit-key-<id>` are private keys, `audit-public-<id>` the public ones, which stay when a private key is
      destroyed. `audit-key-current` names the one that signs; the first use makes it.
    - What the store holds is read anew every 60 seconds at most, so that a rotation reaches every process.
    - Every method raises Unavailable when a needed key cannot be fetched."""

    def __init__(self, secret_store: SecretStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._secrets = secret_store
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._public: list[bytes] = []
        self._read_at = float("-inf")

    def sign(self, text: str) -> tuple[bytes, bytes]:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        with self._lock:
            key_id = self._secrets.get(_CURRENT) or self._create()
            seed = self._secrets.get(_PRIVATE + key_id)
        if seed is None:
            raise Unavailable(f"The key {_PRIVATE}{key_id} is not in the secret store")
        key = Ed25519PrivateKey.from_private_bytes(_decoded(_PRIVATE + key_id, seed))
        return key.public_key().public_bytes_raw(), key.sign(text.encode())

    def public_keys(self) -> list[bytes]:
        with self._lock:
            if self._monotonic() - self._read_at >= _FRESH_SECONDS:
                self._public = self._read_public()
                self._read_at = self._monotonic()
            return list(self._public)

    def rotate(self) -> str:
        """Make a new key sign from now on; return its id. What older keys signed still holds."""
        with self._lock:
            return self._create()

    def _create(self) -> str:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.generate()
        key_id = secrets.token_hex(8)
        # The keys are stored before anything names them. Of processes that race the last to write wins, and the
        # others' public keys stay, for what was signed in between.
        self._secrets.set(_PUBLIC + key_id, base64.b64encode(key.public_key().public_bytes_raw()).decode())
        self._secrets.set(_PRIVATE + key_id, base64.b64encode(key.private_bytes_raw()).decode())
        self._secrets.set(_CURRENT, key_id)
        self._read_at = float("-inf")
        return self._secrets.get(_CURRENT) or key_id

    def _read_public(self) -> list[bytes]:
        current = self._secrets.get(_CURRENT)
        names = self._secrets.names(_PUBLIC)
        names.sort(key=lambda name: name != f"{_PUBLIC}{current}")
        found = [(name, self._secrets.get(name)) for name in names]
        return [_decoded(name, text) for name, text in found if text is not None]


def _decoded(name: str, text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise Unavailable(f"{name} in the secret store is not 32 bytes in base64")
    return raw
