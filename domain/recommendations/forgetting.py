"""Decisions whose subject is gone, forgotten after a while (section 17.2). The audit log has them all the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid5

from domain.errors import NotFound
from domain.integrations.model import IntegrationStatus
from domain.ports import Clock
from domain.recommendations.decisions import Decision, subject_of
from domain.recommendations.model import Subject, SubjectType
from domain.unit_of_work import UnitOfWork, UnitsOfWork

#: After it was decided; until then it is shown as what became of it.
KEPT: Final = timedelta(days=90)
_TENANTS_A_TRANSACTION = 100
_TRANSACTIONS = 50
_FIRST = UUID(int=0)


class DecisionCleaner:
    def __init__(self, units: UnitsOfWork, clock: Clock) -> None:
        self._units = units
        self._clock = clock

    def forget_old(self, *, tenants: int = _TENANTS_A_TRANSACTION, transactions: int = _TRANSACTIONS) -> int:
        """Remove decisions of 90 days and older about webhooks that were deleted, keys that were revoked and
        integrations that were disconnected; returns how many. So many tenants a run, each day from another one on, so
        that in time all have their turn. Raises Unavailable; what was committed stays."""
        now = self._clock.now()
        start = uuid5(NAMESPACE_OID, now.date().isoformat())
        removed, after, has_wrapped = 0, start, False
        for _ in range(transactions):
            with self._units.write() as unit:
                some = unit.decisions.tenants(
                    after, until=start if has_wrapped else None, decided_before=now - KEPT, limit=tenants
                )
                removed += sum(_forget(unit, one, now - KEPT) for one in some)
                unit.commit()
            if len(some) == tenants:
                after = some[-1]
            elif has_wrapped:
                break
            else:
                after, has_wrapped = _FIRST, True
        return removed


def _forget(unit: UnitOfWork, tenant_id: UUID, before: datetime) -> int:
    old = [one for one in unit.decisions.of_tenant(tenant_id).values() if one.decided_at < before]
    gone = [one for one in old if _is_over(unit, tenant_id, one)]
    for one in gone:
        unit.decisions.remove(tenant_id, one.recommendation_id)
    return len(gone)


def _is_over(unit: UnitOfWork, tenant_id: UUID, decision: Decision) -> bool:
    subject = subject_of(decision)
    try:
        return _has_ended(unit, tenant_id, subject)
    except NotFound:
        return True


def _has_ended(unit: UnitOfWork, tenant_id: UUID, subject: Subject) -> bool:
    """Raises NotFound."""
    if subject.type == SubjectType.Webhook:
        unit.webhooks.get(tenant_id, subject.id)
    elif subject.type == SubjectType.ApiKey:
        return unit.api_keys.get(tenant_id, subject.id).revoked_at is not None
    elif subject.type == SubjectType.Integration:
        return unit.integrations.get(tenant_id, subject.id).status == IntegrationStatus.Disconnected
    return False  # a type of integration is always there
