"""Timers that end keys: expired ones are revoked, and the connections of revoked ones closed.

An expired key is refused anyway (BR-AK-04); the hourly run records it. Old keys of rotations end by the minute,
because a connection that one of them negotiated may outlast it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from domain.apikeys import events
from domain.apikeys.events import audit_change
from domain.apikeys.model import ApiKey
from domain.apikeys.ports import ApiKeyTransaction
from domain.apikeys.service import ROTATED
from domain.core.errors import PreconditionFailed
from domain.core.ports import Clock, IdGenerator
from domain.core.realtime import NOBODY, Realtime, key_user
from domain.core.transaction import Transactions, each_step

EXPIRED: Final = "Expired"
PER_TRANSACTION = 100
_TRANSACTIONS = 200


class KeyExpiry:
    def __init__(
        self,
        transactions: Transactions[ApiKeyTransaction],
        clock: Clock,
        ids: IdGenerator,
        realtime: Realtime = NOBODY,
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._ids = ids
        self._realtime = realtime

    def revoke_expired(self) -> int:
        """Revoke the keys that expired, a bounded number a run, and return how many. Idempotent."""
        return self._revoke(rotated=False)

    def end_rotations(self) -> int:
        """Revoke the old keys of rotations whose grace period is over, and return how many. Idempotent."""
        return self._revoke(rotated=True)

    def _revoke(self, *, rotated: bool) -> int:
        def revoke_some(tx: ApiKeyTransaction) -> tuple[int, list[ApiKey]]:
            keys = tx.api_keys.expired(self._clock.now(), PER_TRANSACTION, rotated=rotated)
            return len(keys), [key for key in keys if self._expire(tx, key)]

        done = 0
        for revoked in each_step(self._transactions, revoke_some, PER_TRANSACTION, most=_TRANSACTIONS):
            for key in revoked:
                self._realtime.close(key_user(key.api_key_id))
            done += len(revoked)
        return done

    def _expire(self, tx: ApiKeyTransaction, key: ApiKey) -> bool:
        """Revoke one key. Return False when it was modified since it was read; the next run finds it again."""
        now = self._clock.now()
        reason = ROTATED if key.rotated_to is not None else EXPIRED
        after = replace(key, is_active=False, revoked_at=now, revoke_reason=reason, modified_at=now)
        try:
            tx.api_keys.update(key.tenant_id, after)
        except PreconditionFailed:
            return False
        tx.outbox.append([events.expired(self._ids, after, now), events.revoked(self._ids, after, now)])
        audit_change(tx, None, "apikey.expired", before=key, after=after)
        return True


#: A negotiation that was under way when its key was revoked is over by then, however slow the service.
SETTLED: Final = timedelta(minutes=1)


class KeyConnections:
    def __init__(
        self, transactions: Transactions[ApiKeyTransaction], clock: Clock, realtime: Realtime
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._realtime = realtime

    def sweep(self) -> int:
        """Close realtime connections of revoked keys until known to be closed; return for how many."""
        with self._transactions.read() as tx:
            keys = tx.api_keys.unclosed(self._clock.now() - SETTLED, 100)
        closed, failures = [], 0
        for key in keys:
            if self._realtime.close(key_user(key)):
                closed.append(key)
                failures = 0
            else:
                failures += 1
            if failures == 3:  # in a row: the service is away, and the next run tries again
                break
        if closed:
            with self._transactions.write() as tx:
                tx.api_keys.set_closed(closed, self._clock.now())
                tx.commit()
        return len(closed)
