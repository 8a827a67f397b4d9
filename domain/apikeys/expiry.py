"""The hourly expiry (BR-AK-04): expired keys are refused anyway; here they are revoked for the record. Rotations
end by the minute, because what the old key negotiated before may outlast it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from domain.apikeys import events
from domain.apikeys.audit import key_state
from domain.apikeys.model import ApiKey
from domain.apikeys.service import ROTATED
from domain.audit.model import AuditEntry
from domain.errors import PreconditionFailed
from domain.ports import Clock, IdGenerator
from domain.realtime.model import key_user
from domain.realtime.ports import NOBODY, Realtime
from domain.unit_of_work import UnitOfWork, UnitsOfWork

EXPIRED: Final = "Expired"
_PER_TRANSACTION = 100
_TRANSACTIONS = 200


class KeyExpiry:
    def __init__(
        self, units: UnitsOfWork, clock: Clock, ids: IdGenerator, realtime: Realtime = NOBODY
    ) -> None:
        self._units = units
        self._clock = clock
        self._ids = ids
        self._realtime = realtime

    def run(self) -> int:
        """Revoke what has expired, a bounded number a run; returns how many. Idempotent."""
        return self._revoke(rotated=False)

    def end_rotations(self) -> int:
        """The same for the old keys of rotations whose grace period is over."""
        return self._revoke(rotated=True)

    def _revoke(self, *, rotated: bool) -> int:
        done = 0
        for _ in range(_TRANSACTIONS):
            with self._units.write() as unit:
                keys = unit.api_keys.expired(self._clock.now(), _PER_TRANSACTION, rotated=rotated)
                revoked = [key for key in keys if self._expire(unit, key)]
                unit.commit()
            for key in revoked:
                self._realtime.close(key_user(key.api_key_id))
            done += len(revoked)
            if len(keys) < _PER_TRANSACTION:
                break
        return done

    def _expire(self, unit: UnitOfWork, key: ApiKey) -> bool:
        """False when somebody changed it since it was read; what is still to be done is found again."""
        now = self._clock.now()
        reason = ROTATED if key.rotated_to is not None else EXPIRED
        after = replace(
            key, is_active=False, revoked_at=now, revoked_by=None, revoke_reason=reason, modified_at=now
        )
        try:
            unit.api_keys.update(key.tenant_id, after)
        except PreconditionFailed:
            return False
        unit.outbox.append([events.expired(self._ids, after, now), events.revoked(self._ids, after, now)])
        unit.audit.append(
            key.tenant_id,
            AuditEntry(
                "apikey.expired",
                "apikey",
                key.api_key_id,
                None,
                before=key_state(key),
                after=key_state(after),
            ),
        )
        return True
