"""Credentials in the secret store (BR-IM-07): written before the row that names them, swept when no row does."""

from __future__ import annotations

import json
import logging
import re
import secrets as randomness
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Cipher, Clock, SecretStore
from domain.core.transaction import Transactions
from domain.integrations.configuration import Split, read_plain
from domain.integrations.model import Integration, configuration_context
from domain.integrations.ports import IntegrationTransaction

logger = logging.getLogger("hub.integrations")

#: A secret that no integration names is an orphan after this time; a change that takes half of it is refused.
ORPHAN_AFTER = timedelta(minutes=15)
_PREFIX = "integration-"
_NAME = re.compile(r"integration-(?P<id>[0-9a-f]{32})-(?P<seconds>[0-9a-f]{8,12})-[0-9a-f]{12}")
CHUNK = 200


class SecretsMissing(Exception):
    """The row names a secret that the store does not hold."""


class CredentialStore:
    """The two halves of stored configurations.

    Every change of credentials goes to a fresh name, `integration-<id>-<unix time>-<random>`, before the transaction
    that makes the row name it: no row ever names a secret that is not there. After a crash `sweep` removes the name
    that no row refers to, the fresh one or the old one."""

    def __init__(self, secrets: SecretStore, cipher: Cipher, clock: Clock) -> None:
        self._secrets = secrets
        self._cipher = cipher
        self._clock = clock

    def seal(self, integration_id: UUID, text: str) -> str:
        return self._cipher.seal(text, context=configuration_context(integration_id))

    def open(self, integration_id: UUID, sealed: str) -> str:
        return self._cipher.open(sealed, context=configuration_context(integration_id))

    def put(self, integration_id: UUID, split: Split) -> str | None:
        """Store the secret half under a fresh name and return it; None without secrets. Raises Unavailable."""
        if not split.secrets:
            return None
        seconds = int(self._clock.now().timestamp())
        name = f"{_PREFIX}{integration_id.hex}-{seconds:08x}-{randomness.token_hex(6)}"
        self._secrets.set(name, split.secret_text())
        return name

    def check_fresh(self, name: str | None) -> None:
        """Raise Unavailable, inside the transaction that makes a row name it, for a name the sweep may remove."""
        if name is not None and self._clock.now() - _written_at(name) > ORPHAN_AFTER / 2:
            raise Unavailable("Storing the credentials took too long; nothing was changed. Try again.")

    def load(self, integration: Integration) -> Split:
        """Return both halves. Raises SecretsMissing, Unavailable, ValueError when the column was tampered with."""
        plain, _ = read_plain(self.open(integration.integration_id, integration.sealed_configuration))
        if integration.secret_name is None:
            return Split(plain, {})
        match = _NAME.fullmatch(integration.secret_name)
        if match is None or match["id"] != integration.integration_id.hex:
            # Else who can write the row could have another integration's secrets sent to an address of their own.
            raise ValueError("the row names a secret of another integration")
        text = self._secrets.get(integration.secret_name)
        if text is None:
            raise SecretsMissing(integration.secret_name)
        return Split(plain, json.loads(text))

    def discard(self, name: str | None) -> None:
        """Destroy a secret that no row names any more; leave it to the sweep when the store does not answer."""
        try:
            if name is not None:
                self._secrets.delete(name)
        except Unavailable:
            logger.warning("secret not destroyed, left to the sweep", extra={"secret": name})

    def sweep(self, transactions: Transactions[IntegrationTransaction]) -> int:
        """Destroy every secret that no row names; return how many. Those of running changes are too young."""
        horizon = self._clock.now() - ORPHAN_AFTER
        names = self._secrets.names(_PREFIX)
        old = [name for name in names if _NAME.fullmatch(name) and _written_at(name) < horizon]
        destroyed = 0
        for start in range(0, len(old), CHUNK):
            some = old[start : start + CHUNK]
            with transactions.read() as tx:
                named = tx.integrations.secret_names(some)
            for name in some:
                destroyed += name not in named and self._secrets.delete(name)
        return destroyed


def _written_at(name: str) -> datetime:
    match = _NAME.fullmatch(name)
    assert match is not None
    return datetime.fromtimestamp(int(match["seconds"], 16), UTC)
