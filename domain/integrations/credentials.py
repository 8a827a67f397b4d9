"""Changing an integration: its name, flags, configuration and credentials (section 5.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from domain.core.errors import (
    Conflict,
    DomainError,
    NotFound,
    PreconditionFailed,
    ProviderUnavailable,
    RuleViolation,
    Unavailable,
    check_version,
)
from domain.core.permissions import INTEGRATION_ADMIN
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.core.wire import sent_fields
from domain.integrations.changes import ChangeRecorder
from domain.integrations.commands import RotateCredentials, UpdateIntegration
from domain.integrations.configuration import Split, changed_fields, merge, overlay
from domain.integrations.connection import Catalogue
from domain.integrations.credential_store import CredentialStore, SecretsMissing
from domain.integrations.destinations import TLS_FLOOR, check_given, moved
from domain.integrations.lifecycle import Lifecycle, LifecycleResult
from domain.integrations.model import Integration, IntegrationStatus, SuspensionCause
from domain.integrations.oauth_apps import OAuthApps
from domain.integrations.ports import IntegrationTransaction
from domain.integrations.rules import activated, check_urls, unauthorized, was_active
from domain.integrations.validation import CredentialValidator, ValidationResult
from domain.journal.occurrences import OccurrenceSender
from domain.providers.contract import ProviderProfile


@dataclass(frozen=True, slots=True)
class _Replacement:
    """A configuration that replaces the old one. `moved`: the fields by which secrets travel otherwise than before."""

    split: Split
    old: Split
    moved: Sequence[str] = ()
    ends_grant: bool = False
    validation: ValidationResult | None = None


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
        occurrences: OccurrenceSender,
        on_moved: Callable[[Integration], object],
        allow_loopback: bool,
    ) -> None:
        """`on_moved` revokes and forgets the OAuth grant of an integration whose tokens may not go where it leads."""
        self._transactions = transactions
        self._catalogue = catalogue
        self._credential_store = credential_store
        self._validator = validator
        self._apps = apps
        self._lifecycle = lifecycle
        self._changes = changes
        self._occurrences = occurrences
        self._on_moved = on_moved
        self._allow_loopback = allow_loopback

    async def update(
        self, principal: Principal, integration_id: UUID, command: UpdateIntegration, if_match: int | None
    ) -> LifecycleResult:
        """Replace the fields sent. An active integration keeps its configuration until the provider accepts (BR-IM-02).

        Where an address changes, the OAuth grant ends, and the integration waits for a new one.
        Raises NotFound, PreconditionFailed, ValidationFailed (`secrets-needed`), RuleViolation, ProviderUnavailable,
        Unavailable."""
        principal.require(INTEGRATION_ADMIN)
        try:
            return await self._update(principal, integration_id, command, if_match)
        except DomainError as refused:
            await asyncio.to_thread(self._note_refusal, principal, integration_id, command, refused)
            raise

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
        try:
            return await self._rotate(principal, integration_id, command, if_match)
        except DomainError as refused:
            await asyncio.to_thread(self._note_refusal, principal, integration_id, command, refused)
            raise

    # -- steps --------------------------------------------------------------------------------------------

    async def _update(
        self, principal: Principal, integration_id: UUID, command: UpdateIntegration, if_match: int | None
    ) -> LifecycleResult:
        before, replacement = await asyncio.to_thread(
            self._read, principal, integration_id, command, if_match
        )
        after = replace(before, **_fields(command))
        must_hold = replacement is not None and not replacement.ends_grant
        if replacement is not None and must_hold and before.status == IntegrationStatus.Active:
            validation = await self._validated(after, replacement.split)
            replacement = replace(replacement, validation=validation)
        saved = await asyncio.to_thread(
            self._store, principal, before, after, replacement, action="integration.updated"
        )
        return LifecycleResult(saved, replacement.validation if replacement else None)

    async def _rotate(
        self, principal: Principal, integration_id: UUID, command: RotateCredentials, if_match: int | None
    ) -> LifecycleResult:
        before, replacement = await asyncio.to_thread(
            self._read, principal, integration_id, command, if_match
        )
        assert replacement is not None
        after = before
        if not replacement.ends_grant:
            validation = await self._validated(before, replacement.split)
            after = self._lifecycle.validated(before, validation)
            if before.suspension == SuspensionCause.Authentication:
                after = activated(after)
            replacement = replace(replacement, validation=validation)
        saved = await asyncio.to_thread(
            self._store, principal, before, after, replacement, action="integration.credentials-rotated"
        )
        return LifecycleResult(saved, replacement.validation)

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
        is_rotation, sent = isinstance(command, RotateCredentials), _sent(command)
        floor = [TLS_FLOOR] if _lowers_floor(before, command) else []
        if sent is None and not floor:
            return before, None
        profile, old = self._catalogue.get(before.provider).profile, self._load(before)
        if sent is None:
            check_given(profile.configuration, old, {}, floor, root="/configuration")
            return before, self._replacement(profile, old, old, floor) if profile.oauth else None
        change = overlay if is_rotation else merge
        split = self._apps.configured(
            profile,
            sent,
            lambda fields: change(profile.configuration, fields, old),
            kept=old.whole() if is_rotation else None,
        )
        check_urls(split.plain, allow_loopback=self._allow_loopback)
        replacement = self._replacement(profile, old, split, floor)
        root = "/credentials" if is_rotation else "/configuration"
        check_given(profile.configuration, split, sent, replacement.moved, root=root)
        return before, replacement

    def _replacement(
        self, profile: ProviderProfile, old: Split, split: Split, floor: Sequence[str]
    ) -> _Replacement:
        before, after = (self._apps.addressed(profile, half) for half in (old, split))
        changed = [*moved(profile.configuration, before, after), *floor]
        stand_in = profile.oauth.stand_in_field if profile.oauth is not None else None
        by_grant = profile.oauth is not None and not (stand_in and split.whole().get(stand_in))
        return _Replacement(split, old, changed, ends_grant=by_grant and bool(changed))

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
            if replacement.ends_grant:
                self._end_grant(principal, before)
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
                    probe_after=now.probe_after if after.suspension == now.suspension else None,
                )
            saved = self._changes.save(tx, now, after, action, principal=principal, changed=changed)
            is_told = replacement is not None and bool(replacement.moved) and was_active(before)
            if replacement is not None and is_told:
                self._changes.tell_moved(tx, saved, replacement.moved, principal)
            tx.commit()
        if is_told:
            self._occurrences.flush()
        if saved.secret_name != before.secret_name:
            self._credential_store.discard(before.secret_name)
        return saved

    def _end_grant(self, principal: Principal, before: Integration) -> None:
        """End the grant before the new address is stored: at no moment could the tokens be sent there."""
        with self._transactions.read() as tx:
            now = self._lifecycle.current(tx, principal, before.integration_id, None)
        check_version("integration", before.version, now.version)
        self._on_moved(before)

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
        after = replace(after, validated_at=None, sealed_account=None)
        return unauthorized(after) if replacement.ends_grant else after

    @repeated
    def _note_refusal(
        self,
        principal: Principal,
        integration_id: UUID,
        command: UpdateIntegration | RotateCredentials,
        refused: DomainError,
    ) -> None:
        """Write an attempt to change the configuration or the TLS floor into the audit log: it was refused, or failed.

        What names another's integration, or an old version, is no attempt."""
        sent = _sent(command)
        is_attempt = not isinstance(refused, NotFound | PreconditionFailed | Unavailable)
        if not is_attempt or (sent is None and refused.code != "secrets-needed"):
            return
        with self._transactions.write() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
            model = self._catalogue.get(found.provider).profile.configuration
            known = {info.alias or name for name, info in model.model_fields.items()}
            asked = sorted(known & (sent or {}).keys()) or [TLS_FLOOR[1:]]
            self._changes.note_refusal(tx, found, refused, asked=asked, principal=principal)
            tx.commit()

    def _load(self, integration: Integration) -> Split:
        """Load what is stored; treat credentials that the store has lost as absent."""
        try:
            return self._credential_store.load(integration)
        except SecretsMissing:
            return self._credential_store.load(replace(integration, secret_name=None))


def _sent(command: UpdateIntegration | RotateCredentials) -> dict[str, Any] | None:
    return command.credentials if isinstance(command, RotateCredentials) else command.configuration


def _lowers_floor(before: Integration, command: UpdateIntegration | RotateCredentials) -> bool:
    return isinstance(command, UpdateIntegration) and command.allow_tls12 is True and not before.allow_tls_1_2


def _fields(command: UpdateIntegration) -> dict[str, Any]:
    """Return the fields to replace in the row; `configuration` is not one of them."""
    fields = sent_fields(command, nullable=())
    fields.pop("configuration", None)
    if "allow_tls12" in fields:
        fields["allow_tls_1_2"] = fields.pop("allow_tls12")
    return fields
