"""Erase a person (GDPR article 17): requested once, then done in batches that a crash does not lose."""

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
from domain.privacy.places import ErasureScope, Place, read_batch
from domain.privacy.ports import ChangedMeanwhile, PrivacyTransaction
from domain.privacy.rules import IdentifiedPerson
from domain.privacy.suppression import SuppressionList, names_of

logger = logging.getLogger("hub.privacy")

#: A sync batch that read the suppression list before the request has stored its records after this time.
SETTLES = timedelta(minutes=1)


class ErasureService:
    def __init__(
        self,
        transactions: Transactions[PrivacyTransaction],
        suppression: SuppressionList,
        places: Sequence[Place],
        *,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
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
        """Erase the named records, suppress the person, store the rest. Raises Forbidden, Unavailable."""
        principal.require(PRIVACY_MANAGE)
        tenant_id, now, erasure_id = principal.tenant_id, self._clock.now(), self._ids.new()
        sealed = None
        if command.identifiers:
            person = json.dumps({"identifiers": command.identifiers, "suppress": command.suppress})
            sealed = self._cipher.seal(person, context=erasure_context(erasure_id))
        erasure = Erasure(erasure_id, tenant_id, now, principal.user_id, sealed)
        with self._transactions.write() as tx:
            if command.suppress:
                names = names_of(command.identifiers, command.records)
                self._suppression.add(tx, tenant_id, names, now)
            erasure = replace(erasure, counts={"records": self._bury(tx, tenant_id, command, now)})
            if sealed is None:
                erasure = replace(erasure, status=ErasureStatus.Completed, completed_at=now)
            tx.erasures.add(tenant_id, erasure)
            requested = {
                "identifiers": len(command.identifiers),
                "records": len(command.records),
                "suppress": command.suppress,
            }
            _audit(tx, erasure, "privacy.erasure-requested", requested, principal=principal)
            if erasure.status == ErasureStatus.Completed:
                _audit(tx, erasure, "privacy.erased", erasure.counts)
            tx.commit()
        return erasure

    def allow(self, principal: Principal, command: AllowSubject) -> int:
        """Let sync import the person again; return the entries removed. Raises Forbidden, Unavailable."""
        principal.require(PRIVACY_MANAGE)
        with self._transactions.write() as tx:
            names = names_of(command.identifiers, command.records)
            lifted = self._suppression.lift(tx, principal.tenant_id, names)
            if lifted:
                after = {"lifted": lifted}
                entry = AuditEntry("privacy.allowed", "erasure", self._ids.new(), principal, after=after)
                tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return lifted

    def get(self, principal: Principal, erasure_id: UUID) -> Erasure:
        principal.require(PRIVACY_MANAGE)
        with self._transactions.read() as tx:
            return tx.erasures.get(principal.tenant_id, erasure_id)

    def page(self, principal: Principal, page: PageRequest) -> Page[Erasure]:
        principal.require(PRIVACY_MANAGE)
        with self._transactions.read() as tx:
            return tx.erasures.page(principal.tenant_id, page)

    def erase_requested(self) -> int:
        """Continue the open requests for about 20 seconds; return how many were completed. Raises Unavailable."""
        until = self._monotonic() + 20
        with self._transactions.read() as tx:
            erasures = tx.erasures.open(self._clock.now() - SETTLES, 20)
        completed = 0
        for erasure in erasures:
            fields = {"erasureId": str(erasure.erasure_id)}
            try:
                completed += self._continue(erasure, until)
            except ChangedMeanwhile:
                logger.info("erasure goes on later", extra=fields)
            except ValueError as error:
                logger.error("erasure cannot be read", extra=fields, exc_info=error)
        return completed

    def _continue(self, erasure: Erasure, until: float) -> bool:
        assert erasure.sealed is not None
        context = erasure_context(erasure.erasure_id)
        sought = json.loads(self._cipher.open(erasure.sealed, context=context))
        person = IdentifiedPerson(sought["identifiers"])
        while erasure.status == ErasureStatus.Running:
            if self._monotonic() > until:
                return False
            erasure = self._erase_batch(erasure, person, suppresses=bool(sought["suppress"]))
        return True

    def _erase_batch(self, erasure: Erasure, person: IdentifiedPerson, *, suppresses: bool) -> Erasure:
        """Erase the person from the next batch of rows, and return the request as it is then.

        Rows are read outside the write transaction, as parsing takes time; one that changed since is left."""
        place = self._places[erasure.place]
        after = json.loads(erasure.position) if erasure.position else None
        with self._transactions.read() as tx:
            holdings = read_batch(tx, place, erasure.tenant_id, after)
        found = [holding for holding in holdings if place.holds(holding, person)]
        scope = ErasureScope(erasure.tenant_id, person, self._clock.now())
        with self._transactions.write() as tx:
            names = [name for holding in found for name in place.erase(tx, holding, scope)]
            if names and suppresses:
                self._suppression.add(tx, erasure.tenant_id, names, scope.now)
            advanced = self._advanced(erasure, place, holdings, len(found))
            tx.erasures.save(erasure.tenant_id, advanced)
            if advanced.status == ErasureStatus.Completed:
                _audit(tx, advanced, "privacy.erased", advanced.counts)
            tx.commit()
        return replace(advanced, version=advanced.version + 1)

    def _advanced(self, erasure: Erasure, place: Place, holdings: Sequence[Holding], erased: int) -> Erasure:
        counts = Counter(erasure.counts)
        counts[place.name] += erased
        if holdings:
            position = json.dumps(holdings[-1].position)
            return replace(erasure, position=position, counts=dict(counts))
        further = replace(erasure, place=erasure.place + 1, position=None, counts=dict(counts))
        if further.place < len(self._places):
            return further
        return replace(further, status=ErasureStatus.Completed, sealed=None, completed_at=self._clock.now())

    @staticmethod
    def _bury(tx: PrivacyTransaction, tenant_id: UUID, command: EraseSubject, now: datetime) -> int:
        buried = 0
        for ref in command.records:
            record = tx.personal_data.record(tenant_id, ref.integration_id, ref.stream, ref.external_id)
            if record is None or record.data is None:
                continue
            try:
                tx.personal_data.bury_record(tenant_id, record, now)
            except ChangedMeanwhile:
                raise Unavailable("A record is being synchronised; try again.") from None
            buried += 1
        return buried


def _audit(
    tx: PrivacyTransaction,
    erasure: Erasure,
    action: str,
    after: Mapping[str, object],
    *,
    principal: Principal | None = None,
) -> None:
    """Audit numbers only, because the entry must not name the person."""
    entry = AuditEntry(action, "erasure", erasure.erasure_id, principal, after=after)
    tx.audit.append(erasure.tenant_id, entry)
