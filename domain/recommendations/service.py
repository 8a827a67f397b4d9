"""Use cases of recommendations: list, apply, dismiss, reopen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from domain.core.errors import Conflict, FieldError, NotFound, ValidationFailed, check_version
from domain.core.paging import Page, PageRequest
from domain.core.permissions import INSIGHTS_READ
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions
from domain.journal.audit import AuditEntry
from domain.recommendations.decisions import (
    Applier,
    DismissRecommendation,
    ListedRecommendation,
    RecommendationFilter,
    snapshot_of,
    with_statuses,
)
from domain.recommendations.engine import Adviser
from domain.recommendations.model import Decision, Recommendation, RecommendationStatus, SubjectType
from domain.recommendations.ports import RecommendationTransaction
from domain.recommendations.rules import SUBJECT_PERMISSIONS
from domain.recommendations.wording import Wording
from domain.recommendations.wording_rules import Suggestion

_S = RecommendationStatus


class RecommendationService:
    def __init__(
        self,
        transactions: Transactions[RecommendationTransaction],
        adviser: Adviser,
        applier: Applier,
        wording: Wording,
        *,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._adviser = adviser
        self._applier = applier
        self._wording = wording
        self._clock = clock

    async def page(
        self, principal: Principal, filter_: RecommendationFilter, page: PageRequest
    ) -> Page[ListedRecommendation]:
        """Return what the caller may manage, the most urgent first. Raises Forbidden, Unavailable."""
        found = [listed for listed in await self._worded(principal) if filter_.matches(listed)]
        shown = found[page.offset : page.offset + page.page_size]
        return Page(shown, page.page, page.page_size, len(found))

    async def get(self, principal: Principal, recommendation_id: UUID) -> ListedRecommendation:
        for listed in await self._worded(principal):
            if listed.recommendation.recommendation_id == recommendation_id:
                return listed
        raise _unknown()

    async def apply(
        self, principal: Principal, recommendation_id: UUID, if_match: int | None
    ) -> ListedRecommendation:
        """Make the advised change through the use case of its subject, whose errors it raises too.

        Raises Forbidden, NotFound, Conflict, PreconditionFailed."""
        listed = await asyncio.to_thread(self._decidable, principal, recommendation_id)
        if listed.status != _S.Open:
            status = listed.status.name
            raise Conflict(f"The recommendation is {status}, not Open; reopen it first if it was dismissed.")
        recommendation = listed.recommendation
        if recommendation.advice.change is None:
            raise Conflict("Only a person can do what the recommendation advises.", code="nothing-to-apply")
        check_version("subject of the recommendation", if_match, recommendation.subject.version)
        await self._applier.apply(principal, recommendation.subject, recommendation.advice.change)
        decision = self._decision(principal, recommendation, _S.Applied)
        body = {**_about(recommendation), "body": dict(recommendation.advice.change.body)}
        action = "recommendation.applied"
        await asyncio.to_thread(self._store, principal, listed, decision, action, about=body)
        return ListedRecommendation(recommendation, _S.Applied, decision)

    def dismiss(
        self, principal: Principal, recommendation_id: UUID, command: DismissRecommendation
    ) -> ListedRecommendation:
        """Dismiss for good or until a moment. Raises Forbidden, NotFound, Conflict, ValidationFailed."""
        if command.until is not None and command.until <= self._clock.now():
            detail = "Must be in the future."
            raise ValidationFailed(detail, [FieldError("/until", detail)])
        listed = self._decidable(principal, recommendation_id)
        if listed.status not in (_S.Open, _S.Dismissed):
            detail = f"The recommendation is {listed.status.name}, so it cannot be dismissed."
            raise Conflict(detail, code="recommendation-gone")
        recommendation = listed.recommendation
        decision = self._decision(principal, recommendation, _S.Dismissed)
        decision = replace(decision, reason=command.reason, until=command.until)
        body = {**_about(recommendation), "reason": command.reason, "until": command.until}
        self._store(principal, listed, decision, "recommendation.dismissed", about=body)
        return ListedRecommendation(recommendation, _S.Dismissed, decision)

    def reopen(self, principal: Principal, recommendation_id: UUID) -> ListedRecommendation:
        """Undo a dismissal. Raises Forbidden, NotFound, Conflict."""
        listed = self._decidable(principal, recommendation_id)
        if listed.status != _S.Dismissed:
            code = "recommendation-gone" if listed.status == _S.Gone else "conflict"
            raise Conflict(f"The recommendation is {listed.status.name}, not Dismissed.", code=code)
        recommendation = listed.recommendation
        with self._transactions.write() as tx:
            tx.decisions.remove(principal.tenant_id, recommendation_id)
            before, after = {"status": listed.status.name}, {"status": _S.Open.name, **_about(recommendation)}
            action, id_ = "recommendation.reopened", recommendation_id
            entry = AuditEntry(action, "recommendation", id_, principal, before, after)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return ListedRecommendation(recommendation, _S.Open)

    async def _worded(self, principal: Principal) -> list[ListedRecommendation]:
        principal.require(INSIGHTS_READ)
        types = [type_ for type_, needed in SUBJECT_PERMISSIONS.items() if needed in principal.permissions]
        found = await asyncio.to_thread(self._listed, principal.tenant_id, types)
        holding = [listed for listed in found if listed.status == _S.Open]
        open_ = {str(listed.recommendation.recommendation_id): listed for listed in holding}
        suggestions = [_suggestion(listed.recommendation) for listed in holding]
        worded = await self._wording.word(principal.tenant_id, suggestions)
        first = []
        for words in worded.suggestions:
            listed, by_model = open_[words.id], words.id in worded.by_model
            recommendation = listed.recommendation
            advice = replace(recommendation.advice, title=words.title, explanation=words.explanation)
            recommendation = replace(recommendation, advice=advice)
            first.append(replace(listed, recommendation=recommendation, worded_by_model=by_model))
        return [*first, *(listed for listed in found if listed.status != _S.Open)]

    def _listed(self, tenant_id: UUID, types: Sequence[SubjectType]) -> list[ListedRecommendation]:
        recommendations = self._adviser.advise(tenant_id, types)
        with self._transactions.read() as tx:
            decisions = tx.decisions.of_tenant(tenant_id)
        found = with_statuses(recommendations, decisions, self._clock.now())
        return [listed for listed in found if listed.recommendation.subject.type in types]

    def _decidable(self, principal: Principal, recommendation_id: UUID) -> ListedRecommendation:
        """Return it if the caller may decide. Raises Forbidden, NotFound, Conflict if it no longer holds."""
        principal.require(INSIGHTS_READ)
        for listed in self._listed(principal.tenant_id, list(SubjectType)):
            if listed.recommendation.recommendation_id == recommendation_id:
                principal.require(SUBJECT_PERMISSIONS[listed.recommendation.subject.type])
                return listed
        if self._adviser.could_recommend(principal.tenant_id, recommendation_id):
            raise Conflict("The recommendation no longer holds.", code="recommendation-gone")
        raise _unknown()

    def _decision(
        self, principal: Principal, recommendation: Recommendation, status: RecommendationStatus
    ) -> Decision:
        id_, now, snapshot = recommendation.recommendation_id, self._clock.now(), snapshot_of(recommendation)
        return Decision(id_, status, now, principal.user_id, snapshot)

    def _store(
        self,
        principal: Principal,
        listed: ListedRecommendation,
        decision: Decision,
        action: str,
        *,
        about: dict[str, Any],
    ) -> None:
        before, after = {"status": listed.status.name}, {"status": decision.status.name, **about}
        with self._transactions.write() as tx:
            tx.decisions.put(principal.tenant_id, decision)
            id_ = decision.recommendation_id
            entry = AuditEntry(action, "recommendation", id_, principal, before, after)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()


def _unknown() -> NotFound:
    return NotFound("The recommendation does not exist, or no longer holds.")


def _about(recommendation: Recommendation) -> dict[str, Any]:
    return {
        "kind": recommendation.advice.kind.value,
        "subjectType": recommendation.subject.type.value,
        "subjectId": recommendation.subject.id,
        "title": recommendation.advice.title,
    }


def _suggestion(recommendation: Recommendation) -> Suggestion:
    advice = recommendation.advice
    evidence = {figure.name: figure.value for figure in (*advice.evidence, *advice.effects)}
    return Suggestion(
        str(recommendation.recommendation_id),
        advice.kind.value,
        advice.title,
        advice.explanation,
        {"subject": recommendation.subject.name, **evidence},
        int(advice.priority),
    )
