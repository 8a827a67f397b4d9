"""Use cases of integration management (sections 4.1 and 5.1)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from domain.errors import (
    Conflict,
    FieldError,
    PreconditionFailed,
    RuleViolation,
    Unavailable,
    ValidationFailed,
)
from domain.identity.model import Principal
from domain.integrations.changes import Changes
from domain.integrations.commands import ActivateIntegration, CreateIntegration
from domain.integrations.configuration import Split, accept, read_plain, redacted
from domain.integrations.connector import Catalogue
from domain.integrations.lifecycle import ADMIN, MANAGE, Lifecycle, Outcome
from domain.integrations.model import Integration, IntegrationStatus
from domain.integrations.ports import IntegrationFilter
from domain.integrations.providers import Provider
from domain.integrations.proving import Proof
from domain.integrations.rules import check_type_enabled, check_urls, slot, slot_taken
from domain.integrations.vault import Vault
from domain.paging import Page, PageRequest
from domain.ports import Clock, IdGenerator
from domain.unit_of_work import UnitsOfWork


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the sealed columns may be shown: the configuration with its secrets masked, and what the provider
    said about the account at the last validation."""

    configuration: Mapping[str, Any]
    account: Mapping[str, Any] | None


class IntegrationService:
    def __init__(
        self,
        units: UnitsOfWork,
        catalogue: Catalogue,
        vault: Vault,
        lifecycle: Lifecycle,
        changes: Changes,
        clock: Clock,
        ids: IdGenerator,
        *,
        allow_loopback: bool,
    ) -> None:
        self._units = units
        self._catalogue = catalogue
        self._vault = vault
        self._lifecycle = lifecycle
        self._changes = changes
        self._clock = clock
        self._ids = ids
        self._allow_loopback = allow_loopback

    async def create(self, principal: Principal, command: CreateIntegration) -> Outcome:
        """Store it as a Draft, then activate it if asked (UC-IM-01, UC-IM-02). A provider that refuses or does
        not answer costs no input: the draft stays and says why.

        Raises ValidationFailed, Conflict (type switched off), RuleViolation (BR-IM-01: nothing is kept then)."""
        principal.require(ADMIN)
        provider = self._provider(command)
        check_type_enabled(provider.profile.integration_type, self._catalogue.disabled_types)
        split = accept(provider.profile.configuration, command.configuration)
        check_urls(split.plain, allow_loopback=self._allow_loopback)
        stored = await asyncio.to_thread(self._insert, principal, command, provider, split)
        if not command.activate:
            return Outcome(stored)
        wanted = ActivateIntegration(test=command.test, test_options=command.test_options)
        try:
            return await self._lifecycle.start(principal, stored.integration_id, wanted, stored.version)
        except RuleViolation:
            # Another one became active meanwhile. The answer is a refusal, so nothing of this one may stay.
            await asyncio.to_thread(
                self._lifecycle.disconnect, principal, stored.integration_id, "Refused: BR-IM-01."
            )
            raise
        except (Conflict, PreconditionFailed, Unavailable) as error:
            return Outcome(stored, Proof("credentials", f"Stored, but not activated: {error.detail}"))

    def page(self, principal: Principal, filter_: IntegrationFilter, page: PageRequest) -> Page[Integration]:
        principal.require(MANAGE)
        with self._units.read() as unit:
            return unit.integrations.page(principal.tenant_id, filter_, page)

    def get(self, principal: Principal, integration_id: UUID) -> Integration:
        """Raises NotFound."""
        principal.require(MANAGE)
        with self._units.read() as unit:
            return unit.integrations.get(principal.tenant_id, integration_id)

    def shown(self, integration: Integration) -> Shown:
        """Neither the provider's module nor the secret store's credentials are needed for it."""
        id_ = integration.integration_id
        plain, pointers = read_plain(self._vault.open(id_, integration.sealed_configuration))
        sealed = integration.sealed_account
        account = json.loads(self._vault.open(id_, sealed)) if sealed else None
        return Shown(redacted(plain, pointers), account)

    # -- steps --------------------------------------------------------------------------------------------

    def _provider(self, command: CreateIntegration) -> Provider:
        if command.provider not in self._catalogue.providers:
            detail = "There is no such provider; see GET /api/providers."
            raise ValidationFailed(detail, [FieldError("/provider", detail)])
        provider = self._catalogue.providers[command.provider]
        kind = provider.profile.integration_type
        if kind.name != command.integration_type:
            detail = f"{command.provider} is a {kind.name}."
            raise ValidationFailed(detail, [FieldError("/integrationType", detail)])
        return provider

    def _insert(
        self, principal: Principal, command: CreateIntegration, provider: Provider, split: Split
    ) -> Integration:
        integration_id = self._ids.new()
        draft = Integration(
            integration_id=integration_id,
            tenant_id=principal.tenant_id,
            name=command.name,
            integration_type=provider.profile.integration_type,
            provider=command.provider,
            status=IntegrationStatus.Draft,
            sealed_configuration=self._vault.seal(integration_id, split.plain_text()),
            created_at=self._clock.now(),
            created_by=principal.user_id,
            is_enabled=command.is_enabled,
            allow_tls_1_2=command.allow_tls12,
            reason="Not validated yet.",
        )
        if command.activate:
            self._check_slot(draft)
        draft = replace(draft, secret_name=self._vault.put(integration_id, split))
        with self._units.write() as unit:
            self._vault.check_fresh(draft.secret_name)
            self._changes.add(unit, draft, principal)
            unit.commit()
        return draft

    def _check_slot(self, draft: Integration) -> None:
        """Refused before anything is stored or the provider is asked; the unique index decides all the same."""
        with self._units.read() as unit:
            if unit.integrations.slot_holder(draft.tenant_id, slot(draft)) is not None:
                raise slot_taken(draft)
