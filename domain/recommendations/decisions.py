"""What people decided on recommendations, and where each stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from pydantic import Field, TypeAdapter

from domain.apikeys.model import Reason
from domain.recommendations.model import Recommendation, RecommendationKind, Subject, SubjectType
from domain.wire import Command, UtcMoment


class RecommendationStatus(IntEnum):
    """`Gone`: it was dismissed, and what it was about is over."""

    Open = 0
    Applied = 1
    Dismissed = 2
    Gone = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """`status` is Applied or Dismissed; `snapshot` is the recommendation as it was then, as JSON text. A dismissal
    ends at `until`, or never."""

    recommendation_id: UUID
    status: RecommendationStatus
    decided_at: datetime
    decided_by: UUID
    snapshot: str
    reason: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A recommendation with where it stands; `decision` where there is one. `worded_by_model`: its title and
    explanation are a language model's words for what the rules said."""

    recommendation: Recommendation
    status: RecommendationStatus
    decision: Decision | None = None
    worded_by_model: bool = False


class DismissRecommendation(Command):
    """Body of `POST /api/insights/recommendations/{id}/dismiss`."""

    reason: Reason = Field(description="Why; part of the audit log")
    until: UtcMoment | None = Field(
        None, strict=False, description="From then on it is shown again if it still holds; never when absent"
    )


@dataclass(frozen=True, slots=True)
class RecommendationFilter:
    """All given conditions hold."""

    statuses: Sequence[RecommendationStatus] = ()
    kinds: Sequence[RecommendationKind] = ()
    subject_types: Sequence[SubjectType] = ()
    subject_id: UUID | None = None

    def takes(self, listed: Listed) -> bool:
        one = listed.recommendation
        return (
            (not self.statuses or listed.status in self.statuses)
            and (not self.kinds or one.advice.kind in self.kinds)
            and (not self.subject_types or one.subject.type in self.subject_types)
            and (self.subject_id is None or one.subject.id == self.subject_id)
        )


_JSON = TypeAdapter(Recommendation)


def snapshot_of(recommendation: Recommendation) -> str:
    return _JSON.dump_json(recommendation).decode()


def subject_of(decision: Decision) -> Subject:
    """What it was about."""
    return _JSON.validate_json(decision.snapshot).subject


def stand(
    recommendations: Sequence[Recommendation], decisions: Mapping[UUID, Decision], now: datetime
) -> list[Listed]:
    """Where each stands: those that hold now, in their order, then those decided upon that do not any more, the
    latest first. What was applied and holds again is open again: its evidence is newer than the change."""
    found = [_standing(one, decisions.get(one.recommendation_id), now) for one in recommendations]
    held = {one.recommendation_id for one in recommendations}
    past = [one for one in decisions.values() if one.recommendation_id not in held]
    for one in sorted(past, key=lambda decision: decision.decided_at, reverse=True):
        is_applied = one.status == RecommendationStatus.Applied
        status = one.status if is_applied else RecommendationStatus.Gone
        found.append(Listed(_JSON.validate_json(one.snapshot), status, one))
    return found


def _standing(recommendation: Recommendation, decision: Decision | None, now: datetime) -> Listed:
    is_dismissed = decision is not None and decision.status == RecommendationStatus.Dismissed
    if decision is not None and is_dismissed and (decision.until is None or now < decision.until):
        return Listed(recommendation, RecommendationStatus.Dismissed, decision)
    return Listed(recommendation, RecommendationStatus.Open)
