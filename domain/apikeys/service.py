"""Use cases of API keys (UC-AK-01 to 03, sections 5.2 and 6.2)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from pydantic.alias_generators import to_camel

from domain.apikeys import events
from domain.apikeys.audit import key_state
from domain.apikeys.keys import PlainKey, new_key
from domain.apikeys.model import ApiKey, CreateApiKey, KeyFilter, KeyStatus, RotateApiKey, UpdateApiKey
from domain.apikeys.rotation import check_no_rotation, rotation_of
from domain.apikeys.rules import check_alive, check_grant, check_shrinks, check_times, grace_end
from domain.audit.model import AuditEntry
from domain.errors import Conflict, FieldError, PreconditionFailed, RuleViolation, ValidationFailed
from domain.identity.model import Principal
from domain.paging import Page, PageRequest
from domain.ports import Clock, IdGenerator
from domain.realtime.model import key_user
from domain.realtime.ports import NOBODY, Realtime
from domain.unit_of_work import UnitOfWork, UnitsOfWork, repeated

PERMISSION: Final = "integration:manage"
ROTATED: Final = "Rotated"


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """BR-AK-03's limit; the catalogue of the platform's scopes where it is closed, else None."""

    per_tenant: int
    catalogue: Collection[str] | None


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key, whose string is shown this once; `old` is the one it takes over from."""

    key: ApiKey
    plain: PlainKey
    old: ApiKey | None = None


class ApiKeyService:
    def __init__(
        self,
        units: UnitsOfWork,
        clock: Clock,
        ids: IdGenerator,
        policy: KeyPolicy,
        realtime: Realtime = NOBODY,
    ) -> None:
        self._units = units
        self._clock = clock
        self._ids = ids
        self._policy = policy
        self._realtime = realtime

    @repeated
    def create(self, principal: Principal, command: CreateApiKey) -> Issued:
        """Raises Forbidden for scopes the caller cannot give, ValidationFailed, RuleViolation (BR-AK-03)."""
        principal.require(PERMISSION)
        check_grant(principal, command.scopes, catalogue=self._policy.catalogue)
        now = self._clock.now()
        check_times(command.expires_at, command.not_before, now)
        plain, key_id = new_key(), self._ids.new()
        key = ApiKey(
            api_key_id=key_id,
            tenant_id=principal.tenant_id,
            key_name=command.key_name,
            key_hash=plain.hash,
            key_prefix=plain.prefix,
            scopes=command.scopes,
            rate_limit_per_hour=command.rate_limit_per_hour,
            created_at=now,
            created_by=principal.user_id,
            quota_id=key_id,
            expires_at=command.expires_at,
            not_before=command.not_before,
            allowed_ips=command.allowed_ips,
            description=command.description,
        )
        with self._units.write() as unit:
            unit.users.lock_tenant(principal.tenant_id)
            if unit.api_keys.count_active(principal.tenant_id, now) >= self._policy.per_tenant:
                raise RuleViolation(
                    f"The tenant has its {self._policy.per_tenant} active API keys already; revoke one first.",
                    code="BR-AK-03",
                )
            unit.api_keys.add(principal.tenant_id, key)
            unit.outbox.append([events.generated(self._ids, key, now)])
            _record(unit, principal, "apikey.created", None, key)
            unit.commit()
        return Issued(key, plain)

    def page(self, principal: Principal, filter_: KeyFilter, page: PageRequest) -> Page[ApiKey]:
        """Oldest first, revoked and expired ones too. Raises Forbidden."""
        principal.require(PERMISSION)
        with self._units.read() as unit:
            return unit.api_keys.page(principal.tenant_id, filter_, page, self._clock.now())

    def get(self, principal: Principal, api_key_id: UUID) -> ApiKey:
        """Raises Forbidden, NotFound."""
        principal.require(PERMISSION)
        with self._units.read() as unit:
            return unit.api_keys.get(principal.tenant_id, api_key_id)

    @repeated
    def update(
        self, principal: Principal, api_key_id: UUID, command: UpdateApiKey, if_match: int | None
    ) -> ApiKey:
        """Replace the fields sent. Raises NotFound, PreconditionFailed, ValidationFailed, RuleViolation (BR-AK-06,
        BR-AK-07)."""
        principal.require(PERMISSION)
        now = self._clock.now()
        with self._units.write() as unit:
            before = unit.api_keys.get(principal.tenant_id, api_key_id)
            _check_version(before, if_match)
            check_alive(before, now)
            if command.scopes is not None:
                check_shrinks(before, command.scopes)
            after = replace(before, modified_at=now, **_fields(command))
            after = _save(unit, after)
            _record(unit, principal, "apikey.updated", before, after)
            unit.commit()
        return after

    @repeated
    def revoke(
        self, principal: Principal, api_key_id: UUID, reason: str | None, if_match: int | None
    ) -> None:
        """At once and for good, with the realtime connections it opened (UC-AK-02 step 6); a key revoked before
        stays as it is. Raises NotFound, PreconditionFailed."""
        principal.require(PERMISSION)
        now = self._clock.now()
        with self._units.write() as unit:
            before = unit.api_keys.get(principal.tenant_id, api_key_id)
            _check_version(before, if_match)
            if not before.is_active:
                return
            self._revoke(unit, before, reason, principal, now)
            unit.commit()
        self._realtime.close(key_user(api_key_id))

    @repeated
    def rotate(
        self, principal: Principal, api_key_id: UUID, command: RotateApiKey, if_match: int | None
    ) -> Issued:
        """A new key beside the old one, which ends with the grace period. Both draw on one quota.

        Not refused for BR-AK-03, since a limit must not keep anyone from replacing a leaked key; both count
        towards it. Raises NotFound, PreconditionFailed, Forbidden, ValidationFailed, Conflict, RuleViolation."""
        principal.require(PERMISSION)
        now = self._clock.now()
        plain = new_key()
        with self._units.write() as unit:
            unit.users.lock_tenant(principal.tenant_id)
            before = unit.api_keys.get(principal.tenant_id, api_key_id)
            _check_version(before, if_match)
            check_alive(before, now)
            # Whoever rotates gets to see a key with these scopes.
            check_grant(principal, before.scopes, catalogue=None)
            check_no_rotation(unit, before, now)
            expires_at = command.expires_at or before.expires_at
            check_times(expires_at, None, now)
            successor = _successor(before, plain, self._ids.new(), expires_at, principal.user_id, now)
            grace = timedelta(seconds=command.grace_period_seconds)
            old = replace(
                before,
                expires_at=grace_end(before, grace, now),
                rotated_to=successor.api_key_id,
                modified_at=now,
            )
            unit.api_keys.add(principal.tenant_id, successor)
            old = _save(unit, old)
            unit.outbox.append([events.rotated(self._ids, old, successor, principal.user_id, now)])
            _record(unit, principal, "apikey.rotated", before, old)
            _record(unit, principal, "apikey.created", None, successor)
            if not grace:
                old = self._revoke(unit, old, ROTATED, principal, now)
            unit.commit()
        if not old.is_active:
            self._realtime.close(key_user(old.api_key_id))
        return Issued(successor, plain, old)

    @repeated
    def confirm_rotation(self, principal: Principal, api_key_id: UUID) -> ApiKey:
        """End the grace period: the old key is revoked at once. `api_key_id` is the old key's or the new one's;
        returns the new one. Raises NotFound, Conflict."""
        principal.require(PERMISSION)
        now = self._clock.now()
        with self._units.write() as unit:
            old, new = rotation_of(unit, principal.tenant_id, api_key_id)
            if new.status(now) not in (KeyStatus.Active, KeyStatus.NotYetValid):
                raise Conflict(
                    "The new key is no longer valid; confirming would leave none.", code="no-rotation"
                )
            if not old.is_active:
                raise Conflict("The rotation has ended already.", code="no-rotation")
            self._revoke(unit, old, ROTATED, principal, now)
            unit.commit()
        self._realtime.close(key_user(old.api_key_id))
        return new

    def _revoke(
        self, unit: UnitOfWork, key: ApiKey, reason: str | None, principal: Principal, now: datetime
    ) -> ApiKey:
        after = replace(
            key,
            is_active=False,
            revoked_at=now,
            revoked_by=principal.user_id,
            revoke_reason=reason,
            modified_at=now,
        )
        after = _save(unit, after)
        unit.outbox.append([events.revoked(self._ids, after, now)])
        _record(unit, principal, "apikey.revoked", key, after)
        return after


def _successor(
    key: ApiKey, plain: PlainKey, key_id: UUID, expires_at: datetime | None, by: UUID, now: datetime
) -> ApiKey:
    return ApiKey(
        api_key_id=key_id,
        tenant_id=key.tenant_id,
        key_name=key.key_name,
        key_hash=plain.hash,
        key_prefix=plain.prefix,
        scopes=key.scopes,
        rate_limit_per_hour=key.rate_limit_per_hour,
        created_at=now,
        created_by=by,
        quota_id=key.quota_id,
        expires_at=expires_at,
        not_before=key.not_before,
        allowed_ips=key.allowed_ips,
        description=key.description,
        rotates_from=key.api_key_id,
    )


def _save(unit: UnitOfWork, key: ApiKey) -> ApiKey:
    unit.api_keys.update(key.tenant_id, key)
    return replace(key, version=key.version + 1)


def _record(
    unit: UnitOfWork, principal: Principal, action: str, before: ApiKey | None, after: ApiKey
) -> None:
    unit.audit.append(
        after.tenant_id,
        AuditEntry(
            action,
            "apikey",
            after.api_key_id,
            principal,
            before=key_state(before) if before else None,
            after=key_state(after),
        ),
    )


def _check_version(key: ApiKey, if_match: int | None) -> None:
    if if_match is not None and key.version != if_match:
        raise PreconditionFailed("The API key was changed since; read it again.")


def _fields(command: UpdateApiKey) -> dict[str, Any]:
    """The fields that were sent; null clears the description and is refused for the others."""
    sent = command.model_fields_set
    errors = [
        FieldError(f"/{to_camel(name)}", "This must not be null.")
        for name in sorted(sent - {"description"})
        if getattr(command, name) is None
    ]
    if command.is_active is False:
        errors.append(FieldError("/isActive", "Revoke the key with DELETE, which takes a reason."))
    if errors:
        raise ValidationFailed("The body is not valid; see errors.", errors)
    return {name: getattr(command, name) for name in sent - {"is_active"}}
