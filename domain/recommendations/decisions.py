"""Decisions of people on recommendations: their effect on the list, applying them, and deleting old ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import NAMESPACE_OID, UUID, uuid5

from pydantic import Field, TypeAdapter

from domain.apikeys.model import Reason, RevokeApiKey, UpdateApiKey
from domain.apikeys.service import ApiKeyService
from domain.core.errors import NotFound
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions
from domain.core.wire import Command, UtcMoment
from domain.integrations.model import IntegrationStatus
from domain.recommendations.model import (
    Change,
    Decision,
    Operation,
    Recommendation,
    RecommendationKind,
    RecommendationStatus,
    RecommendationSubject,
    SubjectType,
)
from domain.recommendations.ports import RecommendationTransaction
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from domain.webhooks.model import UpdateWebhook
from domain.webhooks.service import WebhookService


@dataclass(frozen=True, slots=True)
class ListedRecommendation:
    """A recommendation with its status and decision, perhaps worded by a language model."""

    recommendation: Recommendation
    status: RecommendationStatus
    decision: Decision | None = None
    worded_by_model: bool = False


class DismissRecommendation(Command):
    """Body of `POST /api/insights/recommendations/{id}/dismiss`."""

    reason: Reason = Field(description="Why; kept in the audit log")
    until: UtcMoment | None = Field(
        None,
        strict=False,
        description="From then on the recommendation is shown again if it still holds; never when absent",
    )


@dataclass(frozen=True, slots=True)
class RecommendationFilter:
    statuses: Sequence[RecommendationStatus] = ()
    kinds: Sequence[RecommendationKind] = ()
    subject_types: Sequence[SubjectType] = ()
    subject_id: UUID | None = None

    def matches(self, listed: ListedRecommendation) -> bool:
        advice, subject = listed.recommendation.advice, listed.recommendation.subject
        return (
            (not self.statuses or listed.status in self.statuses)
            and (not self.kinds or advice.kind in self.kinds)
            and (not self.subject_types or subject.type in self.subject_types)
            and (self.subject_id is None or subject.id == self.subject_id)
        )


_JSON = TypeAdapter(Recommendation)


def snapshot_of(recommendation: Recommendation) -> str:
    return _JSON.dump_json(recommendation).decode()


def subject_of(decision: Decision) -> RecommendationSubject:
    return _JSON.validate_json(decision.snapshot).subject


def with_statuses(
    recommendations: Sequence[Recommendation], decisions: Mapping[UUID, Decision], now: datetime
) -> list[ListedRecommendation]:
    """Return the recommendations that hold now, then those decided upon that hold no longer, latest first.

    What was applied and holds again is open again: its evidence is newer than the change."""
    listed = [
        _with_status(recommendation, decisions.get(recommendation.recommendation_id), now)
        for recommendation in recommendations
    ]
    held = {recommendation.recommendation_id for recommendation in recommendations}
    past = [decision for decision in decisions.values() if decision.recommendation_id not in held]
    for decision in sorted(past, key=lambda decision: decision.decided_at, reverse=True):
        is_applied = decision.status == RecommendationStatus.Applied
        status = decision.status if is_applied else RecommendationStatus.Gone
        listed.append(ListedRecommendation(_JSON.validate_json(decision.snapshot), status, decision))
    return listed


def _with_status(
    recommendation: Recommendation, decision: Decision | None, now: datetime
) -> ListedRecommendation:
    is_dismissed = decision is not None and decision.status == RecommendationStatus.Dismissed
    if decision is not None and is_dismissed and (decision.until is None or now < decision.until):
        return ListedRecommendation(recommendation, RecommendationStatus.Dismissed, decision)
    return ListedRecommendation(recommendation, RecommendationStatus.Open)


class Applier:
    """Applies changes; `schedules` is called only where needed, because it loads all of synchronisation."""

    def __init__(
        self, webhooks: WebhookService, keys: ApiKeyService, schedules: Callable[[], ScheduleService]
    ) -> None:
        self._schedules = schedules
        self._webhooks = webhooks
        self._keys = keys

    async def apply(self, principal: Principal, subject: RecommendationSubject, change: Change) -> None:
        """Change the subject, if it is unmodified since its evidence was read.

        Raises Forbidden, NotFound, PreconditionFailed, ValidationFailed, Conflict, Unavailable."""
        body = dict(change.body)
        if change.operation == Operation.UpdateWebhook:
            webhook = UpdateWebhook.model_validate(body)
            await self._webhooks.update(principal, subject.id, webhook, subject.version)
        elif change.operation == Operation.UpdateApiKey:
            update = UpdateApiKey.model_validate(body)
            await asyncio.to_thread(self._keys.update, principal, subject.id, update, subject.version)
        elif change.operation == Operation.PutSyncSchedule:
            schedule = PutSchedule.model_validate(body)
            await asyncio.to_thread(self._schedules().put, principal, subject.id, schedule, subject.version)
        else:
            reason = RevokeApiKey.model_validate(body).reason
            await asyncio.to_thread(self._keys.revoke, principal, subject.id, reason, subject.version)


#: How long a decision is kept and shown with its outcome.
KEPT: Final = timedelta(days=90)


class DecisionCleaner:
    def __init__(self, transactions: Transactions[RecommendationTransaction], clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock

    def forget_old(self, *, tenants: int = 100, transactions: int = 50) -> int:
        """Remove decisions of 90 days whose subject has ended, and return how many. Raises Unavailable.

        A run looks at some tenants, from another one each day; what it committed stays."""
        now = self._clock.now()
        start = uuid5(NAMESPACE_OID, now.date().isoformat())
        removed, after, has_wrapped = 0, start, False
        for _ in range(transactions):
            with self._transactions.write() as tx:
                page = tx.decisions.tenants(
                    after, until=start if has_wrapped else None, decided_before=now - KEPT, limit=tenants
                )
                removed += sum(_forget(tx, tenant_id, now - KEPT) for tenant_id in page)
                tx.commit()
            if len(page) == tenants:
                after = page[-1]
            elif has_wrapped:
                break
            else:
                after, has_wrapped = UUID(int=0), True
        return removed


def _forget(tx: RecommendationTransaction, tenant_id: UUID, before: datetime) -> int:
    decisions = tx.decisions.of_tenant(tenant_id).values()
    old = [decision for decision in decisions if decision.decided_at < before]
    over = [decision for decision in old if _has_ended(tx, tenant_id, subject_of(decision))]
    for decision in over:
        tx.decisions.remove(tenant_id, decision.recommendation_id)
    return len(over)


def _has_ended(tx: RecommendationTransaction, tenant_id: UUID, subject: RecommendationSubject) -> bool:
    try:
        if subject.type == SubjectType.Webhook:
            tx.webhooks.get(tenant_id, subject.id)
        elif subject.type == SubjectType.ApiKey:
            return tx.api_keys.get(tenant_id, subject.id).revoked_at is not None
        elif subject.type == SubjectType.Integration:
            return tx.integrations.get(tenant_id, subject.id).status == IntegrationStatus.Disconnected
    except NotFound:
        return True
    return False  # a type of integration is always there
