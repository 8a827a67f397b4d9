"""Use cases of integrations: create and read them, test one, send a message through one (sections 4.1 and 5.1)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.core.errors import (
    Conflict,
    FieldError,
    PreconditionFailed,
    RuleViolation,
    Unavailable,
    ValidationFailed,
)
from domain.core.paging import Page, PageRequest
from domain.core.permissions import INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.core.ports import Clock, IdGenerator
from domain.core.principal import Principal
from domain.core.transaction import Transactions
from domain.integrations.access import is_own_calendar, reached, reaches_own_only
from domain.integrations.changes import ChangeRecorder
from domain.integrations.commands import ActivateIntegration, CreateIntegration, TestIntegration
from domain.integrations.configuration import Split, accept, read_plain, redacted, with_shown_addresses
from domain.integrations.connection import Catalogue, Connector
from domain.integrations.credential_store import CredentialStore
from domain.integrations.lifecycle import Lifecycle, LifecycleResult
from domain.integrations.model import Integration, IntegrationStatus, LogLevel
from domain.integrations.oauth_apps import OAuthApps
from domain.integrations.ports import IntegrationFilter, IntegrationTransaction
from domain.integrations.rules import (
    RECIPIENT_POINTER,
    check_recipient,
    check_type_enabled,
    check_urls,
    early_slot,
    slot_taken,
)
from domain.integrations.validation import CredentialValidator, ValidationResult
from domain.providers.contract import (
    IntegrationType,
    OutgoingMessage,
    Provider,
    ProviderFailure,
    ProviderProfile,
)


@dataclass(frozen=True, slots=True)
class ShownConfiguration:
    """A configuration with its secrets masked, and the account as of the last validation."""

    configuration: Mapping[str, Any]
    account: Mapping[str, Any] | None


class IntegrationService:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        catalogue: Catalogue,
        credential_store: CredentialStore,
        *,
        apps: OAuthApps,
        lifecycle: Lifecycle,
        changes: ChangeRecorder,
        clock: Clock,
        ids: IdGenerator,
        allow_loopback: bool,
    ) -> None:
        self._transactions = transactions
        self._catalogue = catalogue
        self._credential_store = credential_store
        self._apps = apps
        self._lifecycle = lifecycle
        self._changes = changes
        self._clock = clock
        self._ids = ids
        self._allow_loopback = allow_loopback

    async def create(self, principal: Principal, command: CreateIntegration) -> LifecycleResult:
        """Store an integration as a Draft, then activate it if asked (UC-IM-01, UC-IM-02).

        When the provider refuses or does not answer, the draft stays and says why. Raises ValidationFailed, Conflict
        (type switched off), RuleViolation (BR-IM-01: nothing is kept then), Forbidden.

        Whoever may create calendars only is their owner; an administrator may name another one."""
        is_own_only = reaches_own_only(principal, INTEGRATION_ADMIN)
        profile = self._provider(command).profile
        if is_own_only and profile.integration_type != IntegrationType.CalendarSync:
            principal.require(INTEGRATION_ADMIN)
        owner = _owner(principal, profile.integration_type, command.owner_id)
        check_type_enabled(profile.integration_type, self._catalogue.disabled_types)
        check_recipient(profile.integration_type, command.test_options.recipient, RECIPIENT_POINTER)
        split = self._apps.configured(
            profile, command.configuration, lambda fields: accept(profile.configuration, fields)
        )
        check_urls(split.plain, allow_loopback=self._allow_loopback)
        stored = await asyncio.to_thread(self._insert, principal, command, profile, split, owner=owner)
        if not command.activate:
            return LifecycleResult(stored)
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
            detail = f"Stored, but not activated: {error.detail}"
            return LifecycleResult(stored, ValidationResult("credentials", detail))

    def page(self, principal: Principal, filter_: IntegrationFilter, page: PageRequest) -> Page[Integration]:
        if reaches_own_only(principal, INTEGRATION_MANAGE):
            filter_ = replace(filter_, calendars_of=principal.user_id)
        with self._transactions.read() as tx:
            return tx.integrations.page(principal.tenant_id, filter_, page)

    def get(self, principal: Principal, integration_id: UUID) -> Integration:
        """Return the integration. Raises NotFound."""
        with self._transactions.read() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
        return reached(principal, INTEGRATION_MANAGE, found)

    def shown_configuration(self, principal: Principal, integration: Integration) -> ShownConfiguration:
        """Return what the caller may see; needs neither the provider's module nor the secret store's credentials.

        Addresses are whole only for who may change them: they may hold a secret that no field declares as one."""
        id_ = integration.integration_id
        plain, pointers = read_plain(self._credential_store.open(id_, integration.sealed_configuration))
        sealed = integration.sealed_account
        account = json.loads(self._credential_store.open(id_, sealed)) if sealed else None
        shown = redacted(plain, pointers)
        is_whole = INTEGRATION_ADMIN in principal.permissions or is_own_calendar(principal, integration)
        return ShownConfiguration(shown if is_whole else with_shown_addresses(shown), account)

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
        self,
        principal: Principal,
        command: CreateIntegration,
        profile: ProviderProfile,
        split: Split,
        *,
        owner: UUID | None,
    ) -> Integration:
        integration_id = self._ids.new()
        draft = Integration(
            integration_id=integration_id,
            tenant_id=principal.tenant_id,
            name=command.name,
            integration_type=profile.integration_type,
            provider=command.provider,
            status=IntegrationStatus.Draft,
            sealed_configuration=self._credential_store.seal(integration_id, split.plain_text()),
            created_at=self._clock.now(),
            created_by=principal.user_id,
            is_enabled=command.is_enabled,
            allow_tls_1_2=command.allow_tls12,
            reason="Not validated yet.",
            owner_id=owner,
        )
        if command.activate:
            # Early, before anything is stored or the provider is asked; the unique index decides.
            with self._transactions.read() as tx:
                wanted = early_slot(draft)
                if wanted and tx.integrations.slot_holder(draft.tenant_id, wanted) is not None:
                    raise slot_taken(draft)
        draft = replace(draft, secret_name=self._credential_store.put(integration_id, split))
        with self._transactions.write() as tx:
            self._credential_store.check_fresh(draft.secret_name)
            if owner is not None and owner != principal.user_id:
                # They may never have called yet, and will be who asks for the calendar's syncs.
                tx.users.see(draft.tenant_id, owner, "", draft.created_at)
            _check_number(tx, draft.tenant_id)
            self._changes.add(tx, draft, principal)
            tx.commit()
        return draft


def _check_number(tx: IntegrationTransaction, tenant_id: UUID) -> None:
    """Raise Conflict when the tenant has as many integrations as the platform lets it have."""
    most = tx.standings.of(tenant_id).limits.integrations
    if most is None:
        return
    tx.users.lock_tenant(tenant_id)
    if tx.integrations.count(tenant_id) >= most:
        detail = f"The tenant has its {most} integrations already; disconnect one first."
        raise Conflict(detail, code="integration-limit")


def _owner(principal: Principal, kind: IntegrationType, named: UUID | None) -> UUID | None:
    """Return whose integration it will be. Raises ValidationFailed, Forbidden."""
    if kind != IntegrationType.CalendarSync:
        if named is not None:
            detail = "Only calendars (CalendarSync) have an owner; leave this out."
            raise ValidationFailed(detail, [FieldError("/ownerId", detail)])
        return None
    if named not in (None, principal.user_id) and INTEGRATION_ADMIN not in principal.permissions:
        principal.require(INTEGRATION_MANAGE)
    return named or principal.user_id


@dataclass(frozen=True, slots=True)
class IntegrationTestResult:
    validation: ValidationResult
    tested_at: datetime


class IntegrationTester:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        validator: CredentialValidator,
        *,
        lifecycle: Lifecycle,
        changes: ChangeRecorder,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._validator = validator
        self._lifecycle = lifecycle
        self._changes = changes
        self._clock = clock

    async def test(
        self, principal: Principal, integration_id: UUID, command: TestIntegration
    ) -> IntegrationTestResult:
        """Validate the stored credentials and make the provider's test. Raises NotFound, Conflict.

        Changes nothing but the log, except that refused credentials suspend an active integration (section 11.1)."""
        principal.require(INTEGRATION_MANAGE)
        integration = await asyncio.to_thread(self._get, principal, integration_id)
        check_recipient(integration.integration_type, command.recipient, "/recipient")
        options, email = command.to_options(), principal.email
        validation = await self._validator.validate(integration, options, test=True, email=email)
        await asyncio.to_thread(self._record, principal, integration, validation)
        return IntegrationTestResult(validation, self._clock.now())

    def _get(self, principal: Principal, integration_id: UUID) -> Integration:
        with self._transactions.read() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
        if found.status == IntegrationStatus.Disconnected:
            raise Conflict("The integration is disconnected and has no credentials to test.")
        return found

    def _record(self, principal: Principal, integration: Integration, validation: ValidationResult) -> None:
        message = f"Tested: {validation.detail}"
        level = LogLevel.Information if validation.succeeded else LogLevel.Warning
        details = {"stage": validation.stage, "steps": [step.name for step in validation.steps]}
        with self._transactions.write() as tx:
            self._changes.log(tx, integration, message, level=level, details=details, principal=principal)
            tx.commit()
        if validation.failure is not None:
            self._lifecycle.heed(integration, validation.failure)


class IntegrationNotifier:
    """Implements `domain.monitoring.alerts.ports.Notifier`."""

    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        connector: Connector,
        lifecycle: Lifecycle,
    ) -> None:
        self._transactions = transactions
        self._connector = connector
        self._lifecycle = lifecycle

    async def send(self, tenant_id: UUID, integration_id: UUID, message: OutgoingMessage) -> None:
        """Send the message through the integration. Raises NotFound, ProviderFailure, Unavailable.

        One that is not active is not tried: its credentials may be refused, and repeated wrong logins lock accounts.
        Credentials that are refused suspend it (section 11.1)."""
        integration = await asyncio.to_thread(self._load, tenant_id, integration_id)
        if integration.status != IntegrationStatus.Active or not integration.is_enabled:
            raise ProviderFailure("rejected", "The integration is not active.")
        try:
            self._connector.check_enabled(integration)
        except Conflict as conflict:
            raise ProviderFailure("rejected", conflict.detail) from None
        try:
            provider, connection = await self._connector.connect_soon(integration)
            await provider.send(connection, message)
        except ProviderFailure as failure:
            await asyncio.to_thread(self._lifecycle.heed, integration, failure)
            raise

    def _load(self, tenant_id: UUID, integration_id: UUID) -> Integration:
        with self._transactions.read() as tx:
            return tx.integrations.get(tenant_id, integration_id)
