"""The composition of recommendations, each part built on first use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domain.integrations.model import Integration
from domain.recommendations.advising import Adviser
from domain.recommendations.applying import Applier
from domain.recommendations.service import RecommendationService
from domain.sync.source import StreamProfile
from infra.once import once

if TYPE_CHECKING:
    from infra.bootstrap import Hub


class RecommendationParts:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @once
    def adviser(self) -> Adviser:
        hub = self._hub
        return Adviser(
            hub.units,
            hub.key_usage,
            self._streams,
            hub.clock,
            max_retries=hub.settings.webhook_max_retries,
        )

    def _streams(self, integration: Integration) -> Sequence[StreamProfile]:
        return self._hub.sync.service.streams(integration)  # made when first asked: it brings a lot with it

    @once
    def service(self) -> RecommendationService:
        hub = self._hub
        applier = Applier(hub.webhooks, hub.api_keys, lambda: hub.sync.schedules)
        return RecommendationService(hub.units, self.adviser, applier, hub.insights.wording, hub.clock)
