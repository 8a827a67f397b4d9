"""Erase a person (GDPR article 17): asked once, then done in batches that survive any crash."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.paging import Page, PageRequest
from domain.core.permissions import PRIVACY_MANAGE
from domain.core.ports import Cipher, Clock, IdGenerator
from domain.core.principal import Principal
from domain.core.transaction import Transactions
from domain.journal.audit import AuditEntry
from domain.privacy.model import AllowSubject, EraseSubject, Erasure, ErasureStatus, Holding, erasure_context
from domain.privacy.places import ErasureScope, Place
from domain.privacy.ports import ChangedMeanwhile, PrivacyTransaction
from domain.privacy.rules import IdentifiedPerson
from domain.privacy.suppression import SuppressionList, names_of

logger = logging.getLogger("hub.privacy")

#: A sync batch that read the suppression list before the request stores what it fetched within this time.
SETTLES = timedelta(minutes=1)
_ROUND_SECONDS = 20.0
_AT_A_TIME = 20


class ErasureService:
    def __init__(
        self,
        transactions: Transactions[PrivacyTransaction],
        suppression: SuppressionList,
        places: Sequence[Place],
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transactions = transactions
        self._suppression = suppression
        self._places = places
        self._cipher = cipher
        self._clock = clock
        self._ids = ids
        self._monotonic = monotonic

    def request(self, principal: Principal, command: EraseSubject) -> Erasure:
        """Erases the records that are named, leaves the person out of syncs from now on, and remembers what is
        still to be searched for. Raises Forbidden, Unavailable."""
        principal.require(PRIVACY_MANAGE)
        tenant_id, now, erasure_id = principal.tenant_id, self._clock.now(), self._ids.new()
        sealed = None
        if command.identifiers:
            whom = json.dumps({"identifiers": command.identifiers, "suppress": command.suppress})
            sealed = self._cipher.seal(whom, context=erasure_context(erasure_id))
        erasure = Erasure(erasure_id, tenant_id, now, principal.user_id, sealed)
        with self._transactions.write() as tx:
            if command.suppress:
                names = names_of(command.identifiers, command.records)
                self._suppression.add(tx, tenant_id, names, now)
            erasure = replace(erasure, counts={"records": self._bury(tx, tenant_id, command, now)})
            if sealed is None:
                erasure = replace(erasure, status=ErasureStatus.Completed, completed_at=now)
            tx.erasures.add(tenant_id, erasure)
            asked = {
                "identifiers": len(command.identifiers),
                "records": len(command.records),
                "suppress": command.suppress,
            }
            _audit(tx, erasure, "privacy.erasure-requested", asked, principal)
            if erasure.status == ErasureStatus.Completed:
                _audit(tx, erasure, "privacy.erased", erasure.counts)
            tx.commit()
        return erasure

    def allow(self, principal: Principal, command: AllowSubject) -> int:
        """Lets synchronisation bring the person again; returns how many entries were lifted. Raises Forbidden,
        Unavailable."""
        principal.require(PRIVACY_MANAGE)
        with self._transactions.write() as tx:
            names = names_of(command.identifiers, command.records)
            lifted = self._suppression.lift(tx, principal.tenant_id, names)
            if lifted:
                entry = AuditEntry(
                    "privacy.allowed", "erasure", self._ids.new(), principal, after={"lifted": lifted}
                )
                tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return lifted

    def get(self, principal: Principal, erasure_id: UUID) -> Erasure:
        """Raises Forbidden, NotFound."""
        principal.require(PRIVACY_MANAGE)
        with self._transactions.read() as tx:
            return tx.erasures.get(principal.tenant_id, erasure_id)

    def page(self, principal: Principal, page: PageRequest) -> Page[Erasure]:
        """Newest first. Raises Forbidden."""
        principal.require(PRIVACY_MANAGE)
        with self._transactions.read() as tx:
            return tx.erasures.page(principal.tenant_id, page)

    # -- the work -----------------------------------------------------------------------------------------

    def run(self) -> int:
        """Go on with what was asked, for some 20 seconds; what is left waits for the next run. Returns how many
        requests were completed. Raises Unavailable."""
        until = self._monotonic() + _ROUND_SECONDS
        with self._transactions.read() as tx:
            waiting = tx.erasures.open(self._clock.now() - SETTLES, _AT_A_TIME)
        completed = 0
        for erasure in waiting:
            try:
                completed += self._finish(erasure, until)
            except ChangedMeanwhile:
                logger.info("erasure goes on later", extra={"erasureId": str(erasure.erasure_id)})
            except ValueError as error:
                logger.error(
                    "erasure cannot be read", extra={"erasureId": str(erasure.erasure_id)}, exc_info=error
                )
        return completed

    def _finish(self, erasure: Erasure, until: float) -> bool:
        assert erasure.sealed is not None
        opened = self._cipher.open(erasure.sealed, context=erasure_context(erasure.erasure_id))
        whom = json.loads(opened)
        person = IdentifiedPerson(whom["identifiers"])
        while erasure.status == ErasureStatus.Running:
            if self._monotonic() > until:
                return False
            erasure = self._batch(erasure, person, suppresses=bool(whom["suppress"]))
        return True

    def _batch(self, erasure: Erasure, person: IdentifiedPerson, *, suppresses: bool) -> Erasure:
        """Read outside the transaction, because opening and parsing take time; each row is changed only if it is
        still the one that was read."""
        place = self._places[erasure.place]
        after = json.loads(erasure.position) if erasure.position else None
        with self._transactions.read() as tx:
            rows = place.read(tx, erasure.tenant_id, after, place.batch)
        held = [row for row in rows if place.holds(row, person)]
        erasing = ErasureScope(erasure.tenant_id, person, self._clock.now())
        with self._transactions.write() as tx:
            names = [name for one in held for name in place.erase(tx, one, erasing)]
            if names and suppresses:
                self._suppression.add(tx, erasure.tenant_id, names, erasing.now)
            after_it = self._after(erasure, place, rows, len(held))
            tx.erasures.save(erasure.tenant_id, after_it)
            if after_it.status == ErasureStatus.Completed:
                _audit(tx, after_it, "privacy.erased", after_it.counts)
            tx.commit()
        return replace(after_it, version=after_it.version + 1)

    def _after(self, erasure: Erasure, place: Place, rows: Sequence[Holding], erased: int) -> Erasure:
        counts = Counter(erasure.counts)
        counts[place.name] += erased
        if rows:
            position = json.dumps(rows[-1].position)
            return replace(erasure, position=position, counts=dict(counts))
        further = replace(erasure, place=erasure.place + 1, position=None, counts=dict(counts))
        if further.place < len(self._places):
            return further
        return replace(further, status=ErasureStatus.Completed, sealed=None, completed_at=self._clock.now())

    @staticmethod
    def _bury(tx: PrivacyTransaction, tenant_id: UUID, command: EraseSubject, now: datetime) -> int:
        buried = 0
        for one in command.records:
            record = tx.personal_data.record(tenant_id, one.integration_id, one.stream, one.external_id)
            if record is None or record.data is None:
                continue
            try:
                tx.personal_data.bury_record(tenant_id, record, now)
            except ChangedMeanwhile:
                raise Unavailable("A record is being synchronised at the moment; try again.") from None
            buried += 1
        return buried


def _audit(
    tx: PrivacyTransaction,
    erasure: Erasure,
    action: str,
    after: Mapping[str, object],
    principal: Principal | None = None,
) -> None:
    """Without the person: how many identifiers, how many rows."""
    entry = AuditEntry(action, "erasure", erasure.erasure_id, principal, after=after)
    tx.audit.append(erasure.tenant_id, entry)
