"""Use cases of recommendations: read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.errors import NotFound
from domain.identity.model import Principal
from domain.insights.model import PERMISSION
from domain.paging import Page, PageRequest
from domain.recommendations.advising import Adviser
from domain.recommendations.model import Recommendation, RecommendationKind, SubjectType
from domain.recommendations.rules import PERMISSIONS


@dataclass(frozen=True, slots=True)
class RecommendationFilter:
    """All given conditions hold."""

    kinds: Sequence[RecommendationKind] = ()
    subject_types: Sequence[SubjectType] = ()
    subject_id: UUID | None = None

    def takes(self, one: Recommendation) -> bool:
        return (
            (not self.kinds or one.advice.kind in self.kinds)
            and (not self.subject_types or one.subject.type in self.subject_types)
            and (self.subject_id is None or one.subject.id == self.subject_id)
        )


class RecommendationService:
    def __init__(self, adviser: Adviser) -> None:
        self._adviser = adviser

    def page(
        self, principal: Principal, filter_: RecommendationFilter, page: PageRequest
    ) -> Page[Recommendation]:
        """The most urgent first; those about subjects that the caller may not manage are left out.

        Raises Forbidden, Unavailable."""
        found = [one for one in self._all(principal) if filter_.takes(one)]
        shown = found[page.offset : page.offset + page.page_size]
        return Page(shown, page.page, page.page_size, len(found))

    def get(self, principal: Principal, recommendation_id: UUID) -> Recommendation:
        """Raises Forbidden, NotFound, Unavailable."""
        for one in self._all(principal):
            if one.recommendation_id == recommendation_id:
                return one
        raise NotFound("There is no such recommendation, or what it was about is over.")

    def _all(self, principal: Principal) -> list[Recommendation]:
        principal.require(PERMISSION)
        types = [one for one, needed in PERMISSIONS.items() if needed in principal.permissions]
        return self._adviser.advise(principal.tenant_id, types)
