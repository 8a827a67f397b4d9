"""Recommendations over the embedded database: webhooks, keys and signals that a test puts there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from domain.apikeys.model import ApiKey, CreateApiKey
from domain.apikeys.rate_limit import TABLE, usage_row
from domain.apikeys.rate_limit import hour_of as hour_number
from domain.apikeys.service import ApiKeyService
from domain.apikeys.usage import UsageService
from domain.core.paging import PageRequest
from domain.core.ports import TableEntity
from domain.core.principal import Principal
from domain.integrations.model import Integration
from domain.journal.signals import Signal, SubjectKind, Tally, hour_of
from domain.providers.contract import IntegrationType
from domain.providers.records import StreamProfile
from domain.recommendations.ai import AnswerT, LanguageModel, ModelAnswer, ModelRequest
from domain.recommendations.decisions import ListedRecommendation, RecommendationFilter
from domain.recommendations.engine import Adviser
from domain.recommendations.service import RecommendationService
from domain.recommendations.wording_rules import Proposal, ProposedText
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule, SyncTypeName
from domain.webhooks.model import Webhook
from tests.worlds.recommendation_facts import integration_facts, tally
from tests.worlds.webhook_world import WebhookWorld

TOKENS = 700


UNAUTHORIZED = [tally(0, {"unauthorized": 10})] * 20
GONE = [tally(0, {"connect": 4})] * 48


class ListedProviders:
    """Those of a hub that sends e-mail and keeps calendars; `streamed` is what any of them can synchronise."""

    def __init__(self) -> None:
        self.streamed: Sequence[StreamProfile] = ()

    def of_type(self, integration_type: IntegrationType) -> Sequence[str]:
        known = {
            IntegrationType.EmailService: ["SendGrid", "Mailgun", "Postmark"],
            IntegrationType.CalendarSync: ["Google", "Outlook"],
        }
        return known.get(integration_type, [])

    def streams(self, integration: Integration) -> Sequence[StreamProfile]:
        return self.streamed


class RecommendationWorld(WebhookWorld):
    def __init__(self, home: Path, *, model: LanguageModel | None = None) -> None:
        self.providers = ListedProviders()
        settings = {"openai_tokens_per_day": 1_000_000, "openai_timeout_seconds": 5}
        super().__init__(home, settings=settings, providers=self.providers, language_model=model)
        self.keys, self.usage = self.hub.use(ApiKeyService), self.hub.use(UsageService)
        self.adviser, self.schedules = self.hub.use(Adviser), self.hub.use(ScheduleService)
        self.recommendations = self.hub.use(RecommendationService)

    async def old_webhook(self, *event_types: str, owner: Principal | None = None, **fields: Any) -> Webhook:
        """Made and last changed 15 days ago."""
        made = (await self.webhook(*event_types, owner=owner, **fields)).webhook
        self.clock.advance(days=15)
        return made

    def count(
        self, subject_id: UUID, tallies: Sequence[Tally], *, kind: SubjectKind = SubjectKind.Webhook
    ) -> None:
        """Count an hour for each tally, the last of them before the current one."""
        first = hour_of(self.clock.now()) - timedelta(hours=len(tallies))
        signals = [
            Signal(self.principal.tenant_id, kind, subject_id, first + timedelta(hours=n), hour)
            for n, hour in enumerate(tallies)
        ]
        with self.transactions.write() as tx:
            tx.signals.append(signals)
            tx.commit()

    def key(self, **fields: Any) -> ApiKey:
        body = {"keyName": "Backend", "scopes": ["events:write"], **fields}
        return self.keys.create(self.principal, CreateApiKey.model_validate_json(json.dumps(body))).key

    def used(self, key: ApiKey, *, days_ago: int, accepted: int, limited: int) -> None:
        """Store an hour's usage, as the rate limiter does."""
        hour = hour_number(self.clock.now() - timedelta(days=days_ago))
        properties = {"accepted": accepted, "limited": limited, "refused": 0}
        row = usage_row(key.api_key_id.hex, hour)
        self.tables.insert(TABLE, TableEntity(key.quota_id.hex, row, properties))

    def integration(self, integration_type: IntegrationType, provider: str) -> Integration:
        """Add an active integration."""
        made = integration_facts((), integration_type=integration_type, provider=provider).integration
        with self.transactions.write() as tx:
            tx.integrations.add(made.tenant_id, made)
            tx.commit()
        return made

    def scheduled(self, expression: str, sync_type: SyncTypeName = "Incremental") -> Integration:
        """Add an active integration with a schedule of imports."""
        made = self.integration(IntegrationType.PaymentGateway, "Stripe")
        command = PutSchedule(expression=expression, sync_type=sync_type)
        self.schedules.put(self.principal, made.integration_id, command, None)
        return made

    async def listed(self, principal: Principal | None = None, **filter_: Any) -> list[ListedRecommendation]:
        page = await self.recommendations.page(
            principal or self.principal, RecommendationFilter(**filter_), PageRequest()
        )
        return list(page.items)


class ScriptedModel:
    """Says `text` about everything, or does as told: `failure` is raised, `hang` waits for ever."""

    def __init__(self, title: str = "Look at it", explanation: str = "It is slow.") -> None:
        self.title, self.explanation = title, explanation
        self.questions: list[ModelRequest[Proposal]] = []
        self.failure: Exception | None = None
        self.hang = False

    async def ask(self, question: ModelRequest[AnswerT]) -> ModelAnswer[AnswerT]:
        asked = cast("ModelRequest[Proposal]", question)
        self.questions.append(asked)
        if self.hang:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        entries = cast("Sequence[dict[str, int]]", asked.data["suggestions"])
        texts = [
            ProposedText(number=entry["number"], title=self.title, explanation=self.explanation)
            for entry in reversed(entries)
        ]
        return ModelAnswer(cast("AnswerT", Proposal(suggestions=texts)), TOKENS)
