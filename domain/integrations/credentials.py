"""Changing an integration: its name, flags, configuration and credentials (section 5.1)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from domain.core.errors import Conflict, ProviderUnavailable, RuleViolation, check_version
from domain.core.permissions import INTEGRATION_ADMIN
from domain.core.principal import Principal
from domain.core.transaction import Transactions
from domain.core.wire import sent_fields
from domain.integrations.changes import ChangeRecorder
from domain.integrations.commands import RotateCredentials, UpdateIntegration
from domain.integrations.configuration import Split, changed_fields, merge, overlay
from domain.integrations.connection import Catalogue
from domain.integrations.credential_store import CredentialStore, SecretsMissing
from domain.integrations.lifecycle import Lifecycle, LifecycleResult
from domain.integrations.model import Integration, IntegrationStatus, SuspensionCause
from domain.integrations.oauth_apps import OAuthApps
from domain.integrations.ports import IntegrationTransaction
from domain.integrations.rules import activated, check_urls
from domain.integrations.validation import CredentialValidator, ValidationResult


@dataclass(frozen=True, slots=True)
class _Replacement:
    split: Split
    old: Split
    validation: ValidationResult | None


class CredentialService:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        catalogue: Catalogue,
        credential_store: CredentialStore,
        validator: CredentialValidator,
        *,
        apps: OAuthApps,
        lifecycle: Lifecycle,
        changes: ChangeRecorder,
        allow_loopback: bool,
    ) -> None:
        self._transactions = transactions
        self._catalogue = catalogue
        self._credential_store = credential_store
        self._validator = validator
        self._apps = apps
        self._lifecycle = lifecycle
        self._changes = changes
        self._allow_loopback = allow_loopback

    async def update(
        self, principal: Principal, integration_id: UUID, command: UpdateIntegration, if_match: int | None
    ) -> LifecycleResult:
        """Replace the fields sent. An active integration keeps its configuration until the provider accepts (BR-IM-02).

        Raises NotFound, PreconditionFailed, ValidationFailed, RuleViolation, ProviderUnavailable, Unavailable."""
        principal.require(INTEGRATION_ADMIN)
        fields = _fields(command)
        before, replacement = await asyncio.to_thread(
            self._read, principal, integration_id, command, if_match
        )
        after = replace(before, **fields)
        if replacement is not None and before.status == IntegrationStatus.Active:
            validation = await self._validated(after, replacement.split)
            replacement = replace(replacement, validation=validation)
        saved = await asyncio.to_thread(
            self._store, principal, before, after, replacement, action="integration.updated"
        )
        return LifecycleResult(saved, replacement.validation if replacement else None)

    async def rotate(
        self,
        principal: Principal,
        integration_id: UUID,
        command: RotateCredentials,
        if_match: int | None = None,
    ) -> LifecycleResult:
        """Replace credentials by ones that the provider accepts. Raises as `update`.

        An integration that was suspended because the old ones were refused is active again."""
        principal.require(INTEGRATION_ADMIN)
        before, replacement = await asyncio.to_thread(
            self._read, principal, integration_id, command, if_match
        )
        assert replacement is not None
        validation = await self._validated(before, replacement.split)
        after = self._lifecycle.validated(before, validation)
        if before.suspension == SuspensionCause.Authentication:
            after = activated(after)
        replacement = replace(replacement, validation=validation)
        saved = await asyncio.to_thread(
            self._store, principal, before, after, replacement, action="integration.credentials-rotated"
        )
        return LifecycleResult(saved, validation)

    # -- steps --------------------------------------------------------------------------------------------

    def _read(
        self,
        principal: Principal,
        integration_id: UUID,
        command: UpdateIntegration | RotateCredentials,
        if_match: int | None,
    ) -> tuple[Integration, _Replacement | None]:
        with self._transactions.read() as tx:
            before = self._lifecycle.current(tx, principal, integration_id, if_match)
        if before.status == IntegrationStatus.Disconnected:
            raise Conflict("The integration is disconnected and cannot be changed; create a new one.")
        sent = command.credentials if isinstance(command, RotateCredentials) else command.configuration
        if sent is None:
            return before, None
        profile, old = self._catalogue.get(before.provider).profile, self._load(before)
        is_rotation = isinstance(command, RotateCredentials)
        change = overlay if is_rotation else merge
        split = self._apps.configured(
            profile,
            sent,
            lambda fields: change(profile.configuration, fields, old),
            kept=old.whole() if is_rotation else None,
        )
        check_urls(split.plain, allow_loopback=self._allow_loopback)
        return before, _Replacement(split, old, None)

    async def _validated(self, integration: Integration, split: Split) -> ValidationResult:
        """Raise RuleViolation when the provider refuses, ProviderUnavailable when it does not answer."""
        validation = await self._validator.validate(integration, split=split)
        if validation.succeeded:
            return validation
        if validation.is_temporary:
            detail = f"The provider could not be reached, so nothing was changed: {validation.detail}"
            raise ProviderUnavailable(detail)
        detail = f"The provider did not accept it, so nothing was changed: {validation.detail}"
        raise RuleViolation(detail, code="BR-IM-02")

    def _store(
        self,
        principal: Principal,
        before: Integration,
        after: Integration,
        replacement: _Replacement | None,
        *,
        action: str,
    ) -> Integration:
        changed = changed_fields(replacement.old, replacement.split) if replacement else []
        if replacement is not None:
            after = self._with_configuration(before, after, replacement)
        with self._transactions.write() as tx:
            if after.secret_name != before.secret_name:
                self._credential_store.check_fresh(after.secret_name)
            now = self._lifecycle.current(tx, principal, before.integration_id, None)
            check_version("integration", before.version, now.version)
            if after.status == before.status:
                # What health checks found since is not undone.
                after = replace(
                    after,
                    health_status=now.health_status,
                    vitals=now.vitals,
                    last_health_check=now.last_health_check,
                    consecutive_failures=now.consecutive_failures,
                    probe_after=now.probe_after,
                )
            saved = self._changes.save(tx, now, after, action, principal=principal, changed=changed)
            tx.commit()
        if saved.secret_name != before.secret_name:
            self._credential_store.discard(before.secret_name)
        return saved

    def _with_configuration(
        self, before: Integration, after: Integration, replacement: _Replacement
    ) -> Integration:
        split, old = replacement.split, replacement.old
        sealed = self._credential_store.seal(before.integration_id, split.plain_text())
        after = replace(after, sealed_configuration=sealed)
        if split.secrets != old.secrets:
            after = replace(after, secret_name=self._credential_store.put(before.integration_id, split))
        if replacement.validation is not None:
            return self._lifecycle.validated(after, replacement.validation)
        return replace(after, validated_at=None, sealed_account=None)

    def _load(self, integration: Integration) -> Split:
        """Load what is stored; treat credentials that the store has lost as absent."""
        try:
            return self._credential_store.load(integration)
        except SecretsMissing:
            return self._credential_store.load(replace(integration, secret_name=None))


def _fields(command: UpdateIntegration) -> dict[str, Any]:
    """Return the fields to replace in the row; `configuration` is not one of them."""
    fields = sent_fields(command, nullable=())
    fields.pop("configuration", None)
    if "allow_tls12" in fields:
        fields["allow_tls_1_2"] = fields.pop("allow_tls12")
    return fields
