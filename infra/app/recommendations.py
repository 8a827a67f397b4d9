"""Builds the use cases of recommendations."""

from __future__ import annotations

from domain.apikeys.service import ApiKeyService
from domain.apikeys.usage import UsageService
from domain.recommendations.decisions import Applier, DecisionCleaner
from domain.recommendations.engine import Adviser
from domain.recommendations.service import RecommendationService
from domain.recommendations.wording import Wording
from domain.recommendations.wording_ledger import WordingLedger
from domain.sync.schedule_service import ScheduleService
from domain.webhooks.service import WebhookService
from infra.app.hub import Hub, builds


@builds
def adviser(hub: Hub) -> Adviser:
    return Adviser(
        hub.transactions,
        hub.use(UsageService),
        hub.providers,
        hub.clock,
        max_retries=hub.settings.webhook_max_retries,
    )


@builds
def decision_cleaner(hub: Hub) -> DecisionCleaner:
    return DecisionCleaner(hub.transactions, hub.clock)


@builds
def wording(hub: Hub) -> Wording:
    ledger = WordingLedger(hub.tables, hub.clock, tokens_per_day=hub.settings.openai_tokens_per_day)
    seconds = hub.settings.openai_timeout_seconds
    return Wording(hub.language_model, ledger, hub.clock, timeout_seconds=seconds)


@builds
def recommendation_service(hub: Hub) -> RecommendationService:
    applier = Applier(hub.use(WebhookService), hub.use(ApiKeyService), lambda: hub.use(ScheduleService))
    return RecommendationService(
        hub.transactions, hub.use(Adviser), applier, hub.use(Wording), clock=hub.clock
    )
