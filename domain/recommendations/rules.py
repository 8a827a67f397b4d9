"""The rules, in the order in which their advice is read, and the subject of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from domain.core.permissions import INTEGRATION_MANAGE, WEBHOOK_MANAGE
from domain.recommendations import webhook_rules
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

FactsT = TypeVar("FactsT")
Rule = Callable[[FactsT], Advice | None]

WEBHOOK_RULES: Sequence[Rule[WebhookFacts]] = (
    webhook_rules.unauthorized,
    webhook_rules.pause,
    longer_retries,
    adaptive_retry,
    webhook_rules.longer_timeout,
    webhook_rules.shorter_timeout,
    webhook_rules.refused_events,
    webhook_rules.lower_rate,
    webhook_rules.higher_rate,
)
KEY_RULES: Sequence[Rule[KeyFacts]] = (higher_limit, unused, unused_scopes, without_expiry)
SCHEDULE_RULES: Sequence[Rule[ScheduleFacts]] = (better_time, incremental)
INTEGRATION_RULES: Sequence[Rule[IntegrationFacts]] = (failure_predicted,)
MISSING_RULES: Sequence[Rule[MissingFacts]] = (missing,)
PROVIDER_RULES: Sequence[Rule[ProviderFacts]] = (other_provider,)

#: What must be held, beside `insights:read`, to see and decide on what is about a subject.
SUBJECT_PERMISSIONS: Mapping[SubjectType, str] = {
    SubjectType.Webhook: WEBHOOK_MANAGE,
    SubjectType.ApiKey: INTEGRATION_MANAGE,
    SubjectType.Integration: INTEGRATION_MANAGE,
    SubjectType.IntegrationType: INTEGRATION_MANAGE,
}


def advice_of(rules: Iterable[Rule[FactsT]], facts: FactsT) -> list[Advice]:
    return [advice for rule in rules if (advice := rule(facts)) is not None]


def recommended(
    subject: RecommendationSubject, advice: Iterable[Advice], now: datetime
) -> list[Recommendation]:
    return [Recommendation(recommendation_id(item.kind, subject.id), subject, item, now) for item in advice]


def ordered(recommendations: Iterable[Recommendation]) -> list[Recommendation]:
    kinds = list(RecommendationKind)

    def urgency(item: Recommendation) -> tuple[int, int, str, str]:
        advice, subject = item.advice, item.subject
        return advice.priority, kinds.index(advice.kind), subject.name, str(subject.id)

    return sorted(recommendations, key=urgency)
