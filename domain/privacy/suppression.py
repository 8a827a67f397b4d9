"""The list of people whom synchronisation leaves out after their erasure, as keyed digests by tenant."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import SecretStore
from domain.core.transaction import Transactions
from domain.privacy.model import RecordRef
from domain.privacy.ports import PrivacyTransaction
from domain.privacy.rules import ERASED, DigestedPeople, Found, digest_of, record_name, without_person
from domain.sync.merging import IncomingRecord

_KEYS_KEPT = 4096


class SuppressionList:
    """Implements `domain.sync.ports.Suppression` by digests under the tenant's key in the secret store."""

    def __init__(self, transactions: Transactions[PrivacyTransaction], secret_store: SecretStore) -> None:
        self._transactions = transactions
        self._secrets = secret_store
        self._lock = threading.Lock()
        self._keys: dict[UUID, bytes] = {}

    def add(self, tx: PrivacyTransaction, tenant_id: UUID, names: Iterable[str], now: datetime) -> int:
        # The tenant's row is held, so two requests cannot make two keys.
        tx.users.lock_tenant(tenant_id)
        key = self._key(tenant_id)
        if key is None:
            key = secrets.token_bytes(32)
            self._secrets.set(_secret_name(tenant_id), key.hex())
        return tx.erasures.suppress(tenant_id, {digest_of(key, name) for name in names}, now)

    def lift(self, tx: PrivacyTransaction, tenant_id: UUID, names: Iterable[str]) -> int:
        key = self._key(tenant_id)
        if key is None:
            return 0
        return tx.erasures.allow(tenant_id, {digest_of(key, name) for name in names})

    def of_tenant(self, tenant_id: UUID) -> DigestFilter | None:
        with self._transactions.read() as tx:
            digests = tx.erasures.suppressed(tenant_id)
        if not digests:
            return None
        key = self._key(tenant_id)
        if key is None:
            raise Unavailable("The key of the suppression list is not in the secret store.")
        return DigestFilter(DigestedPeople(key, digests))

    def forget_key(self, tenant_id: UUID) -> bool:
        """Destroy the tenant's key, without which its list says nothing; return whether there was one."""
        with self._lock:
            self._keys.pop(tenant_id, None)
        return self._secrets.delete(_secret_name(tenant_id))

    def _key(self, tenant_id: UUID) -> bytes | None:
        with self._lock:
            if tenant_id not in self._keys:
                stored = self._secrets.get(_secret_name(tenant_id))
                if stored is None:
                    return None
                if len(self._keys) >= _KEYS_KEPT:
                    self._keys.pop(next(iter(self._keys)))
                self._keys[tenant_id] = bytes.fromhex(stored)
            return self._keys[tenant_id]


def names_of(identifiers: Sequence[str], records: Sequence[RecordRef]) -> list[str]:
    refs = [record_name(record.integration_id, record.stream, record.external_id) for record in records]
    return [*identifiers, *refs]


class DigestFilter:
    """Implements `domain.sync.ports.SuppressionFilter`: a person's record counts as deleted."""

    def __init__(self, people: DigestedPeople) -> None:
        self._people = people

    def leave_out(
        self, integration_id: UUID, stream: str, records: Sequence[IncomingRecord]
    ) -> tuple[list[IncomingRecord], int]:
        kept = [_left_out(self._people, integration_id, stream, record) for record in records]
        return kept, sum(new is not old for new, old in zip(kept, records, strict=True))

    def masked_id(self, integration_id: UUID, stream: str, external_id: str) -> str:
        return ERASED if self._people.holds(integration_id, stream, external_id) else external_id


def _left_out(
    people: DigestedPeople, integration_id: UUID, stream: str, record: IncomingRecord
) -> IncomingRecord:
    if record.data is None:
        return record
    if people.holds(integration_id, stream, record.external_id):
        return replace(record, data=None, hash="")
    text, found = without_person(record.data, people)
    if found == Found.About:
        return replace(record, data=None, hash="")
    # The hash stays that of the provider's record, so that the same record counts as unchanged next time.
    return record if found == Found.Nothing else replace(record, data=text)


def _secret_name(tenant_id: UUID) -> str:
    return f"suppression-key-{tenant_id.hex}"
