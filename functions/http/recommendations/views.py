"""Recommendations as they go over the wire."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from domain.recommendations.decisions import ListedRecommendation, RecommendationFilter
from domain.recommendations.model import (
    Change,
    Figure,
    Operation,
    RecommendationKind,
    RecommendationStatus,
    RecommendationSubject,
    SubjectType,
)
from domain.recommendations.rules import SUBJECT_PERMISSIONS
from functions.http.kit.operations import API
from functions.http.kit.views import CommaSeparated, Moment, PageQuery, PageView, View

KindName = Literal[
    "webhook-unauthorized",
    "webhook-pause",
    "webhook-adaptive-retry",
    "webhook-longer-retries",
    "webhook-longer-timeout",
    "webhook-shorter-timeout",
    "webhook-refused-events",
    "webhook-lower-rate",
    "webhook-higher-rate",
    "key-higher-limit",
    "key-unused",
    "key-unused-scopes",
    "key-without-expiry",
    "integration-failure-predicted",
    "integration-missing",
    "integration-other-provider",
    "sync-better-time",
    "sync-incremental",
]
StatusName = Literal["Open", "Applied", "Dismissed", "Gone"]
SubjectName = Literal["Webhook", "ApiKey", "Integration", "IntegrationType"]

#: Method and route of the request that has the same effect as applying, by operation.
REQUESTS: dict[Operation, tuple[str, str]] = {
    Operation.UpdateWebhook: ("PUT", "webhooks/{id}"),
    Operation.UpdateApiKey: ("PUT", "apikeys/{id}"),
    Operation.RevokeApiKey: ("DELETE", "apikeys/{id}"),
    Operation.PutSyncSchedule: ("PUT", "integrations/{id}/sync-schedule"),
}


class SubjectView(View):
    type: SubjectName = Field(
        description="`IntegrationType`: a type of which the tenant has no integration; `id` then refers to nothing else"
    )
    id: UUID
    name: str
    version: int = Field(
        description="Version of what applying changes (the subject or its sync schedule) when the evidence was read; "
        "for `If-Match` of apply"
    )


class FigureView(View):
    name: str
    value: float
    unit: str
    since: Moment | None = Field(
        serialization_alias="from", description="Null: the current or the expected value"
    )
    until: Moment | None = Field(serialization_alias="to")


class ChangeView(View):
    method: Literal["PUT", "DELETE"]
    path: str
    body: dict[str, Any] = Field(description="Body of that request")
    permission: str = Field(description="Permission that the request needs")
    is_final: bool = Field(description="Whether the change cannot be undone; ask the user before applying it")


class DecisionView(View):
    decided_at: Moment
    decided_by: UUID
    reason: str | None
    until: Moment | None = Field(description="End of a dismissal; null: never")


class RecommendationView(View):
    recommendation_id: UUID = Field(
        description="The same for each time the rule recommends it for the subject"
    )
    kind: KindName
    status: StatusName = Field(
        description="`Gone`: dismissed and no longer applicable. Applied and Gone recommendations are shown as they "
        "were at the decision"
    )
    decision: DecisionView | None = Field(description="The decision in force")
    priority: Literal["Now", "Soon", "Later"] = Field(
        description="`Now`: something is being lost or soon will be; `Soon`: work is wasted; `Later`: housekeeping"
    )
    subject: SubjectView
    title: str
    explanation: str
    worded_by: Literal["rules", "model"] = Field(
        description="`model`: a language model worded title and explanation of the rule's result"
    )
    evidence: list[FigureView] = Field(description="Figures that the rule used, with their periods")
    expected_effect: list[FigureView] = Field(
        description="Expected result of the change; empty where the evidence does not tell"
    )
    confidence: Literal["Low", "Medium", "High"] = Field(description="Grows with the amount of evidence")
    apply: ChangeView | None = Field(
        description="The request that applying sends; null where only a person can do it"
    )
    created_at: Moment = Field(description="End of the evidence, in whole hours")
    documentation: str = Field(description="How the rule decides: path and section in the documentation")


class RecommendationPage(PageView[RecommendationView]):
    pass


class RecommendationQuery(PageQuery):
    status: CommaSeparated[StatusName] | None = Field(None, description="One or more, separated by commas")
    kind: CommaSeparated[KindName] | None = Field(None, description="One or more, separated by commas")
    subject_type: CommaSeparated[SubjectName] | None = Field(
        None, description="One or more, separated by commas"
    )
    subject_id: UUID | None = Field(None, description="A webhook, API key or integration")

    def to_filter(self) -> RecommendationFilter:
        return RecommendationFilter(
            statuses=[RecommendationStatus[name] for name in self.status or ()],
            kinds=[RecommendationKind(name) for name in self.kind or ()],
            subject_types=[SubjectType(name) for name in self.subject_type or ()],
            subject_id=self.subject_id,
        )


def recommendation_view(listed: ListedRecommendation) -> RecommendationView:
    recommendation, decision = listed.recommendation, listed.decision
    advice, subject = recommendation.advice, recommendation.subject
    return RecommendationView(
        recommendation_id=recommendation.recommendation_id,
        kind=advice.kind.value,
        status=listed.status.name,
        decision=None
        if decision is None
        else DecisionView(
            decided_at=decision.decided_at,
            decided_by=decision.decided_by,
            reason=decision.reason,
            until=decision.until,
        ),
        worded_by="model" if listed.worded_by_model else "rules",
        priority=advice.priority.name,
        subject=SubjectView(
            type=subject.type.value, id=subject.id, name=subject.name, version=subject.version
        ),
        title=advice.title,
        explanation=advice.explanation,
        evidence=[_figure(figure) for figure in advice.evidence],
        expected_effect=[_figure(figure) for figure in advice.effects],
        confidence=advice.confidence.name,
        apply=None if advice.change is None else _change(advice.change, subject),
        created_at=recommendation.created_at,
        documentation=f"docs/recommendations.md#{section_of(advice.kind)}",
    )


def section_of(kind: RecommendationKind) -> str:
    """Return the section of docs/recommendations.md: one each for webhooks and API keys, one for each other rule."""
    about = kind.value.partition("-")[0]
    return {"webhook": "webhooks", "key": "api-keys"}.get(about, kind.value)


def _figure(figure: Figure) -> FigureView:
    period = figure.period
    return FigureView(
        name=figure.name,
        value=figure.value,
        unit=figure.unit,
        since=period.since if period else None,
        until=period.until if period else None,
    )


def _change(change: Change, subject: RecommendationSubject) -> ChangeView:
    method, path = REQUESTS[change.operation]
    return ChangeView(
        method=method,
        path=API + path.format(id=subject.id),
        body=dict(change.body),
        permission=SUBJECT_PERMISSIONS[subject.type],
        is_final=change.is_final,
    )
