"""The hub's key for the header `webhook-hops`, in the secret store; apart, so that it is audited alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import threading

from domain.core.ports import SecretStore

_NAME = "webhook-hops-key"
_KEY_BYTES = 32


class SecretStoreHopKey:
    """HMAC-SHA256 by a key that the first use makes. Implements HopKey; thread-safe.

    It is fetched once a process. Headers under another key, as of processes that raced to make it, count as none."""

    def __init__(self, secret_store: SecretStore) -> None:
        self._secrets = secret_store
        self._lock = threading.Lock()
        self._key: bytes | None = None

    def mac(self, text: str) -> str:
        key = self._key or self._fetch()
        return base64.urlsafe_b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).rstrip(b"=").decode()

    def _fetch(self) -> bytes:
        with self._lock:
            if self._key is None:
                stored = self._secrets.get(_NAME)
                if stored is None:
                    made = base64.b64encode(os.urandom(_KEY_BYTES)).decode()
                    self._secrets.set(_NAME, made)
                    stored = self._secrets.get(_NAME) or made
                self._key = hashlib.sha256(stored.encode()).digest()
            return self._key
