"""Whom synchronisation leaves out after an erasure: keyed digests of identifiers, by tenant."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.errors import Unavailable
from domain.ports import SecretStore
from domain.privacy.model import RecordRef
from domain.privacy.rules import Digested, Found, digest_of, record_name, without_person
from domain.sync.merging import Incoming
from domain.unit_of_work import UnitOfWork

_KEY_BYTES = 32


class Suppression:
    """The lists themselves hold no identifier, and cannot be searched for one without the tenant's key, which is
    a secret of the secret store."""

    def __init__(self, secret_store: SecretStore) -> None:
        self._secrets = secret_store
        self._lock = threading.Lock()
        self._keys: dict[UUID, bytes] = {}

    def add(self, unit: UnitOfWork, tenant_id: UUID, names: Iterable[str], now: datetime) -> int:
        """Raises Unavailable."""
        key = self._new_key(unit, tenant_id)
        return unit.erasures.suppress(tenant_id, {digest_of(key, one) for one in names}, now)

    def lift(self, unit: UnitOfWork, tenant_id: UUID, names: Iterable[str]) -> int:
        """How many were on the list. Raises Unavailable."""
        key = self._key(tenant_id)
        if key is None:
            return 0
        return unit.erasures.allow(tenant_id, {digest_of(key, one) for one in names})

    def of_tenant(self, unit: UnitOfWork, tenant_id: UUID) -> Digested | None:
        """None when nobody is left out. Raises Unavailable: better no batch than one with an erased person."""
        digests = unit.erasures.suppressed(tenant_id)
        if not digests:
            return None
        key = self._key(tenant_id)
        if key is None:
            raise Unavailable("The key of the suppression list is not in the secret store.")
        return Digested(key, digests)

    def _new_key(self, unit: UnitOfWork, tenant_id: UUID) -> bytes:
        # The tenant's row is held, so two requests cannot make two keys.
        unit.users.lock_tenant(tenant_id)
        key = self._key(tenant_id)
        if key is None:
            key = secrets.token_bytes(_KEY_BYTES)
            self._secrets.set(_secret_name(tenant_id), key.hex())
        return key

    def _key(self, tenant_id: UUID) -> bytes | None:
        with self._lock:
            if tenant_id not in self._keys:
                stored = self._secrets.get(_secret_name(tenant_id))
                if stored is None:
                    return None
                self._keys[tenant_id] = bytes.fromhex(stored)
            return self._keys[tenant_id]


def names_of(identifiers: Sequence[str], records: Sequence[RecordRef]) -> list[str]:
    """What is suppressed of a person."""
    refs = [record_name(one.integration_id, one.stream, one.external_id) for one in records]
    return [*identifiers, *refs]


def left_out(
    person: Digested | None, integration_id: UUID, stream: str, records: Sequence[Incoming]
) -> tuple[list[Incoming], int]:
    """A batch without the people on the list, and how many records that changed. A record about one of them counts
    as deleted at the provider: nothing of it is stored, and a tombstone stays one."""
    if person is None:
        return list(records), 0
    made = [_left_out(person, integration_id, stream, one) for one in records]
    changed = sum(new is not old for new, old in zip(made, records, strict=True))
    return made, changed


def _left_out(person: Digested, integration_id: UUID, stream: str, one: Incoming) -> Incoming:
    if one.data is None:
        return one
    if person.holds(integration_id, stream, one.external_id):
        return replace(one, data=None, hash="")
    text, found = without_person(one.data, person)
    if found == Found.About:
        return replace(one, data=None, hash="")
    # The provider's hash stays: the same record again is the same again.
    return one if found == Found.Nothing else replace(one, data=text)


def _secret_name(tenant_id: UUID) -> str:
    return f"suppression-key-{tenant_id.hex}"
