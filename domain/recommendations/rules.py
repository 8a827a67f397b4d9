"""The rules, in the order in which their advice is read, and the subject of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from domain.core.permissions import INTEGRATION_MANAGE, WEBHOOK_MANAGE
from domain.recommendations.facts import (
    IntegrationFacts,
    KeyFacts,
    ProviderFacts,
    ScheduleFacts,
    WebhookFacts,
)
from domain.recommendations.integration_rules import MissingFacts, missing, other_provider
from domain.recommendations.key_rules import higher_limit, unused, unused_scopes, without_expiry
from domain.recommendations.model import (
    Advice,
    Recommendation,
    RecommendationKind,
    RecommendationSubject,
    SubjectType,
    recommendation_id,
)
from domain.recommendations.prediction import failure_predicted
from domain.recommendations.retry_rules import adaptive_retry, longer_retries
from domain.recommendations.sync_rules import better_time, incremental
from domain.recommendations.webhook_rules import (
    higher_rate,
    longer_timeout,
    lower_rate,
    pause,
    refused_events,
    shorter_timeout,
    unauthorized,
)

FactsT = TypeVar("FactsT")

WEBHOOK_RULES: Sequence[Callable[[WebhookFacts], Advice | None]] = (
    unauthorized,
    pause,
    longer_retries,
    adaptive_retry,
    longer_timeout,
    shorter_timeout,
    refused_events,
    lower_rate,
    higher_rate,
)
KEY_RULES: Sequence[Callable[[KeyFacts], Advice | None]] = (
    higher_limit,
    unused,
    unused_scopes,
    without_expiry,
)
SCHEDULE_RULES: Sequence[Callable[[ScheduleFacts], Advice | None]] = (better_time, incremental)
INTEGRATION_RULES: Sequence[Callable[[IntegrationFacts], Advice | None]] = (failure_predicted,)
MISSING_RULES: Sequence[Callable[[MissingFacts], Advice | None]] = (missing,)
PROVIDER_RULES: Sequence[Callable[[ProviderFacts], Advice | None]] = (other_provider,)

#: What must be held, beside `insights:read`, to see and decide on what is about a subject.
SUBJECT_PERMISSIONS: Mapping[SubjectType, str] = {
    SubjectType.Webhook: WEBHOOK_MANAGE,
    SubjectType.ApiKey: INTEGRATION_MANAGE,
    SubjectType.Integration: INTEGRATION_MANAGE,
    SubjectType.IntegrationType: INTEGRATION_MANAGE,
}


def advice_of(rules: Iterable[Callable[[FactsT], Advice | None]], facts: FactsT) -> list[Advice]:
    """Return what the rules advise on the facts, in their order."""
    return [advice for rule in rules if (advice := rule(facts)) is not None]


def recommended(
    subject: RecommendationSubject, advice: Iterable[Advice], now: datetime
) -> list[Recommendation]:
    """Make recommendations about a subject of what the rules advise."""
    return [Recommendation(recommendation_id(item.kind, subject.id), subject, item, now) for item in advice]


def ordered(recommendations: Iterable[Recommendation]) -> list[Recommendation]:
    """Sort recommendations by urgency, then by kind and subject."""
    kinds = list(RecommendationKind)
    return sorted(
        recommendations,
        key=lambda item: (
            item.advice.priority,
            kinds.index(item.advice.kind),
            item.subject.name,
            str(item.subject.id),
        ),
    )
