"""Use cases of recommendations: read, apply, dismiss, reopen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from domain.core.errors import (
    Conflict,
    FieldError,
    NotFound,
    ValidationFailed,
    check_version,
)
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
    stand,
)
from domain.recommendations.engine import Adviser
from domain.recommendations.model import Decision, Recommendation, RecommendationStatus, SubjectType
from domain.recommendations.ports import RecommendationTransaction
from domain.recommendations.rules import SUBJECT_PERMISSIONS
from domain.recommendations.wording import Suggestion, Wording

_S = RecommendationStatus


class RecommendationService:
    def __init__(
        self,
        transactions: Transactions[RecommendationTransaction],
        adviser: Adviser,
        applier: Applier,
        wording: Wording,
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
        """The most urgent first, then those decided upon; those about subjects that the caller may not manage are
        left out. Raises Forbidden, Unavailable."""
        found = [one for one in await self._worded(principal) if filter_.takes(one)]
        shown = found[page.offset : page.offset + page.page_size]
        return Page(shown, page.page, page.page_size, len(found))

    async def get(self, principal: Principal, recommendation_id: UUID) -> ListedRecommendation:
        """Raises Forbidden, NotFound, Unavailable."""
        for one in await self._worded(principal):
            if one.recommendation.recommendation_id == recommendation_id:
                return one
        raise _unknown()

    async def apply(
        self, principal: Principal, recommendation_id: UUID, if_match: int | None
    ) -> ListedRecommendation:
        """Make the change it asks for, through the use case of its subject. Raises Forbidden, NotFound, Conflict,
        PreconditionFailed, and what that use case raises."""
        listed = await asyncio.to_thread(self._decidable, principal, recommendation_id)
        if listed.status != _S.Open:
            raise Conflict(f"It is not open but {listed.status.name}; reopen it first if it was dismissed.")
        one = listed.recommendation
        if one.advice.change is None:
            raise Conflict("Only a person can do what it asks for.", code="nothing-to-apply")
        check_version("subject of the recommendation", if_match, one.subject.version)
        await self._applier.apply(principal, one.subject, one.advice.change)
        decision = self._decision(principal, one, _S.Applied)
        body = {**_about(one), "body": dict(one.advice.change.body)}
        await asyncio.to_thread(self._store, principal, decision, "recommendation.applied", body)
        return ListedRecommendation(one, _S.Applied, decision)

    def dismiss(
        self, principal: Principal, recommendation_id: UUID, command: DismissRecommendation
    ) -> ListedRecommendation:
        """Shown no more as open until then. Raises Forbidden, NotFound, Conflict, ValidationFailed."""
        if command.until is not None and command.until <= self._clock.now():
            detail = "Must be in the future."
            raise ValidationFailed(detail, [FieldError("/until", detail)])
        listed = self._decidable(principal, recommendation_id)
        if listed.status not in (_S.Open, _S.Dismissed):
            raise Conflict(
                f"It is {listed.status.name}: there is nothing to dismiss.", code="recommendation-gone"
            )
        one = listed.recommendation
        decision = replace(
            self._decision(principal, one, _S.Dismissed), reason=command.reason, until=command.until
        )
        body = {**_about(one), "reason": command.reason, "until": command.until}
        self._store(principal, decision, "recommendation.dismissed", body)
        return ListedRecommendation(one, _S.Dismissed, decision)

    def reopen(self, principal: Principal, recommendation_id: UUID) -> ListedRecommendation:
        """Take a dismissal back. Raises Forbidden, NotFound, Conflict."""
        listed = self._decidable(principal, recommendation_id)
        if listed.status != _S.Dismissed:
            code = "recommendation-gone" if listed.status == _S.Gone else "conflict"
            raise Conflict(f"It is {listed.status.name}, not dismissed.", code=code)
        one = listed.recommendation
        with self._transactions.write() as tx:
            tx.decisions.remove(principal.tenant_id, recommendation_id)
            entry = AuditEntry(
                "recommendation.reopened", "recommendation", recommendation_id, principal, after=_about(one)
            )
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return ListedRecommendation(one, _S.Open)

    # -- steps --------------------------------------------------------------------------------------------

    async def _worded(self, principal: Principal) -> list[ListedRecommendation]:
        principal.require(INSIGHTS_READ)
        types = [one for one, needed in SUBJECT_PERMISSIONS.items() if needed in principal.permissions]
        found = await asyncio.to_thread(self._standing, principal.tenant_id, types)
        open_ = {str(one.recommendation.recommendation_id): one for one in found if one.status == _S.Open}
        worded = await self._wording.word(
            principal.tenant_id, [_suggestion(one.recommendation) for one in open_.values()]
        )
        first = [
            _in_words(open_[suggestion.id], suggestion, suggestion.id in worded.by_model)
            for suggestion in worded.suggestions
        ]
        return [*first, *(one for one in found if one.status != _S.Open)]

    def _standing(self, tenant_id: UUID, types: Sequence[SubjectType]) -> list[ListedRecommendation]:
        recommendations = self._adviser.advise(tenant_id, types)
        with self._transactions.read() as tx:
            decisions = tx.decisions.of_tenant(tenant_id)
        found = stand(recommendations, decisions, self._clock.now())
        return [one for one in found if one.recommendation.subject.type in types]

    def _decidable(self, principal: Principal, recommendation_id: UUID) -> ListedRecommendation:
        """Raises Forbidden, NotFound; Conflict where it is about something that is there, but does not hold."""
        principal.require(INSIGHTS_READ)
        for one in self._standing(principal.tenant_id, list(SubjectType)):
            if one.recommendation.recommendation_id == recommendation_id:
                principal.require(SUBJECT_PERMISSIONS[one.recommendation.subject.type])
                return one
        if self._adviser.could_say(principal.tenant_id, recommendation_id):
            raise Conflict("What it was about is over.", code="recommendation-gone")
        raise _unknown()

    def _decision(self, principal: Principal, one: Recommendation, status: RecommendationStatus) -> Decision:
        now = self._clock.now()
        return Decision(one.recommendation_id, status, now, principal.user_id, snapshot_of(one))

    def _store(self, principal: Principal, decision: Decision, action: str, after: dict[str, Any]) -> None:
        with self._transactions.write() as tx:
            tx.decisions.put(principal.tenant_id, decision)
            entry = AuditEntry(action, "recommendation", decision.recommendation_id, principal, after=after)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()


def _unknown() -> NotFound:
    return NotFound("There is no such recommendation, or what it was about is over.")


def _about(one: Recommendation) -> dict[str, Any]:
    return {
        "kind": one.advice.kind.value,
        "subjectType": one.subject.type.value,
        "subjectId": one.subject.id,
        "title": one.advice.title,
    }


def _suggestion(one: Recommendation) -> Suggestion:
    advice = one.advice
    evidence = {figure.name: figure.value for figure in (*advice.evidence, *advice.effects)}
    return Suggestion(
        str(one.recommendation_id),
        advice.kind.value,
        advice.title,
        advice.explanation,
        {"subject": one.subject.name, **evidence},
        int(advice.priority),
    )


def _in_words(listed: ListedRecommendation, words: Suggestion, by_model: bool) -> ListedRecommendation:
    one = listed.recommendation
    advice = replace(one.advice, title=words.title, explanation=words.explanation)
    return replace(listed, recommendation=replace(one, advice=advice), worded_by_model=by_model)
