"""The composition of recommendations, each part built on first use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from domain.integrations.model import Integration
from domain.providers.contract import IntegrationType
from domain.providers.records import StreamProfile
from domain.recommendations.decisions import Applier, DecisionCleaner
from domain.recommendations.engine import Adviser
from domain.recommendations.ports import Providers
from domain.recommendations.service import RecommendationService
from infra.app.once import once

if TYPE_CHECKING:
    from infra.app.build import Hub


class _Providers:
    """Satisfies `domain.recommendations.ports.Providers`. What it asks is made when it is first asked: it brings a lot
    with it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def of_type(self, integration_type: IntegrationType) -> Sequence[str]:
        if integration_type in self._hub.integrations.catalogue.disabled_types:
            return ()
        return [name for name, one in self._all.items() if one == integration_type]

    def streams(self, integration: Integration) -> Sequence[StreamProfile]:
        return self._hub.sync.service.streams(integration)

    @once
    def _all(self) -> Mapping[str, IntegrationType]:
        """Imports every provider."""
        return {
            name: provider.profile.integration_type
            for name, provider in self._hub.integrations.catalogue.providers.items()
        }


class RecommendationParts:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @once
    def providers(self) -> Providers:
        return _Providers(self._hub)

    @once
    def adviser(self) -> Adviser:
        hub = self._hub
        return Adviser(
            hub.transactions,
            hub.key_usage,
            self.providers,
            hub.clock,
            max_retries=hub.settings.webhook_max_retries,
        )

    @once
    def cleaner(self) -> DecisionCleaner:
        return DecisionCleaner(self._hub.transactions, self._hub.clock)

    @once
    def service(self) -> RecommendationService:
        hub = self._hub
        applier = Applier(hub.webhooks, hub.api_keys, lambda: hub.sync.schedules)
        return RecommendationService(
            hub.transactions, self.adviser, applier, hub.insights.wording, clock=hub.clock
        )
