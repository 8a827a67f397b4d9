"""Use cases of API keys (UC-AK-01 to 03, sections 5.2 and 6.2)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.apikeys import events
from domain.apikeys.bounds import (
    check_not_loosened,
    check_share,
    check_within,
    covers,
    inherited,
    maker_of,
)
from domain.apikeys.events import audit_change
from domain.apikeys.key_format import PlainKey, new_key
from domain.apikeys.model import ApiKey, CreateApiKey, KeyFilter, KeyStatus, RotateApiKey, UpdateApiKey
from domain.apikeys.ports import ApiKeyTransaction
from domain.apikeys.rules import (
    check_alive,
    check_grant,
    check_shrinks,
    check_successor_times,
    check_times,
    grace_end,
    missing_scopes,
)
from domain.core.errors import Conflict, FieldError, RuleViolation, ValidationFailed, check_version
from domain.core.paging import Page, PageRequest
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock, IdGenerator
from domain.core.principal import Principal
from domain.core.realtime import KINDS, NOBODY, Realtime, key_user
from domain.core.transaction import Transactions, repeated
from domain.core.wire import sent_fields


def check_no_rotation(tx: ApiKeyTransaction, key: ApiKey, now: datetime) -> None:
    """Check that the key is in no other rotation, so that at most two keys of a line are alive. Raises Conflict."""
    for other_id in (key.rotated_to, key.rotates_from):
        if other_id is None:
            continue
        other = tx.api_keys.get(key.tenant_id, other_id)
        if other.status(now) in (KeyStatus.Active, KeyStatus.NotYetValid):
            raise Conflict(
                "The key is being rotated; confirm the rotation first, or wait for its grace period to end.",
                code="rotation-pending",
            )


def rotation_of(tx: ApiKeyTransaction, tenant_id: UUID, api_key_id: UUID) -> tuple[ApiKey, ApiKey]:
    """Return the old and the new key of the rotation that the key is part of. Raises NotFound, Conflict."""
    key = tx.api_keys.get(tenant_id, api_key_id)
    if key.rotated_to is not None and (key.is_active or key.rotates_from is None):
        return key, tx.api_keys.get(tenant_id, key.rotated_to)
    if key.rotates_from is not None:
        return tx.api_keys.get(tenant_id, key.rotates_from), key
    raise Conflict("The key is not being rotated.", code="no-rotation")


ROTATED: Final = "Rotated"


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """The limit of BR-AK-03, and the catalogue of the platform's scopes, which may be all that there are."""

    per_tenant: int
    catalogue: Collection[str]
    catalogue_is_closed: bool


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key, whose string is shown only this once; `old` is the key it replaces."""

    key: ApiKey
    plain: PlainKey
    old: ApiKey | None = None


class ApiKeyService:
    def __init__(
        self,
        transactions: Transactions[ApiKeyTransaction],
        clock: Clock,
        ids: IdGenerator,
        policy: KeyPolicy,
        *,
        realtime: Realtime = NOBODY,
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._ids = ids
        self._policy = policy
        self._realtime = realtime

    @repeated
    def create(self, principal: Principal, command: CreateApiKey) -> Issued:
        """Create a key. Raises Forbidden, ValidationFailed, RuleViolation (BR-AK-03)."""
        principal.require(INTEGRATION_MANAGE)
        check_grant(
            principal,
            command.scopes,
            catalogue=self._policy.catalogue,
            is_closed=self._policy.catalogue_is_closed,
        )
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
        with self._transactions.write() as tx:
            tx.users.lock_tenant(principal.tenant_id)
            maker = maker_of(tx, principal, now)
            if maker is not None:
                key = inherited(key, command, maker)
                check_times(key.expires_at, key.not_before, now)
                check_within(principal, maker, key)
                check_share(tx, maker, key)
            granted = tx.standings.of(principal.tenant_id).limits.api_keys
            most = self._policy.per_tenant if granted is None else granted
            if tx.api_keys.count_active(principal.tenant_id, now) >= most:
                raise RuleViolation(
                    f"The tenant already has {most} active API keys, the maximum; revoke one first.",
                    code="BR-AK-03",
                )
            tx.api_keys.add(principal.tenant_id, key)
            tx.outbox.append([events.generated(self._ids, key, now)])
            audit_change(tx, principal, "apikey.created", before=None, after=key)
            tx.commit()
        return Issued(key, plain)

    def page(self, principal: Principal, filter_: KeyFilter, page: PageRequest) -> Page[ApiKey]:
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.read() as tx:
            return tx.api_keys.page(principal.tenant_id, filter_, page, self._clock.now())

    def get(self, principal: Principal, api_key_id: UUID) -> ApiKey:
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.read() as tx:
            return tx.api_keys.get(principal.tenant_id, api_key_id)

    @repeated
    def update(
        self, principal: Principal, api_key_id: UUID, command: UpdateApiKey, if_match: int | None
    ) -> ApiKey:
        """Replace the fields sent. Raises as `get`, PreconditionFailed, ValidationFailed, RuleViolation."""
        principal.require(INTEGRATION_MANAGE)
        now = self._clock.now()
        with self._transactions.write() as tx:
            before, maker = self._reached(tx, principal, api_key_id, now)
            check_version("API key", if_match, before.version)
            check_alive(before, now)
            fields = sent_fields(command, nullable=("description",))
            if fields.pop("is_active", None) is False:
                detail = "Revoke the key with DELETE, which takes a reason."
                raise ValidationFailed(detail, [FieldError("/isActive", detail)])
            after = replace(before, modified_at=now, **fields)
            if maker is not None:
                check_not_loosened(before, after)
            check_shrinks(before, after.scopes)
            after = _save(tx, after)
            audit_change(tx, principal, "apikey.updated", before=before, after=after)
            tx.commit()
        if _hears_less(before, after):
            self._realtime.close(key_user(api_key_id))
        return after

    @repeated
    def revoke(
        self, principal: Principal, api_key_id: UUID, reason: str | None, if_match: int | None
    ) -> None:
        """Revoke a key for good, and close the realtime connections it opened (UC-AK-02 step 6).

        A key that is revoked already stays as it is. Raises Forbidden, NotFound, PreconditionFailed."""
        principal.require(INTEGRATION_MANAGE)
        now = self._clock.now()
        with self._transactions.write() as tx:
            before, _ = self._reached(tx, principal, api_key_id, now)
            check_version("API key", if_match, before.version)
            if not before.is_active:
                return
            self._revoke(tx, before, principal, reason=reason, now=now)
            tx.commit()
        self._realtime.close(key_user(api_key_id))

    @repeated
    def rotate(
        self, principal: Principal, api_key_id: UUID, command: RotateApiKey, if_match: int | None
    ) -> Issued:
        """Create a new key beside the old one, which ends with the grace period. Both share one quota.

        BR-AK-03 counts both keys, but keeps nobody from replacing a leaked one. Raises NotFound,
        PreconditionFailed, Forbidden, ValidationFailed, Conflict, RuleViolation."""
        principal.require(INTEGRATION_MANAGE)
        now = self._clock.now()
        plain = new_key()
        with self._transactions.write() as tx:
            tx.users.lock_tenant(principal.tenant_id)
            before, maker = self._reached(tx, principal, api_key_id, now)
            check_version("API key", if_match, before.version)
            check_alive(before, now)
            check_no_rotation(tx, before, now)
            expires_at = command.expires_at or before.expires_at
            check_successor_times(before, expires_at, now)
            successor = _successor(
                before, plain, key_id=self._ids.new(), expires_at=expires_at, by=principal.user_id, now=now
            )
            if maker is not None:
                check_not_loosened(before, successor)
            grace = timedelta(seconds=command.grace_period_seconds)
            ends_at = grace_end(before, grace, now)
            old = replace(before, expires_at=ends_at, rotated_to=successor.api_key_id, modified_at=now)
            tx.api_keys.add(principal.tenant_id, successor)
            old = _save(tx, old)
            event = events.rotated(self._ids, old, successor, rotated_by=principal.user_id, now=now)
            tx.outbox.append([event])
            audit_change(tx, principal, "apikey.rotated", before=before, after=old)
            audit_change(tx, principal, "apikey.created", before=None, after=successor)
            if not grace:
                old = self._revoke(tx, old, principal, reason=ROTATED, now=now)
            tx.commit()
        if not old.is_active:
            self._realtime.close(key_user(old.api_key_id))
        return Issued(successor, plain, old)

    @repeated
    def confirm_rotation(self, principal: Principal, api_key_id: UUID) -> ApiKey:
        """End the grace period: revoke the old key at once, and return the new one.

        `api_key_id` is that of the old or of the new key. Raises Forbidden, NotFound, Conflict."""
        principal.require(INTEGRATION_MANAGE)
        now = self._clock.now()
        with self._transactions.write() as tx:
            old, new = rotation_of(tx, principal.tenant_id, api_key_id)
            check_within(principal, maker_of(tx, principal, now), old)
            if new.status(now) not in (KeyStatus.Active, KeyStatus.NotYetValid):
                raise Conflict(
                    "The new key is no longer valid; without the old one no key would be left.",
                    code="no-rotation",
                )
            if not old.is_active:
                raise Conflict("The rotation has already ended.", code="no-rotation")
            self._revoke(tx, old, principal, reason=ROTATED, now=now)
            tx.commit()
        self._realtime.close(key_user(old.api_key_id))
        return new

    def _reached(
        self, tx: ApiKeyTransaction, principal: Principal, api_key_id: UUID, now: datetime
    ) -> tuple[ApiKey, ApiKey | None]:
        """Return a key that the caller may change, and the caller's own key. Raises NotFound, Forbidden."""
        key, maker = tx.api_keys.get(principal.tenant_id, api_key_id), maker_of(tx, principal, now)
        check_within(principal, maker, key)
        return key, maker

    def _revoke(
        self, tx: ApiKeyTransaction, key: ApiKey, principal: Principal, *, reason: str | None, now: datetime
    ) -> ApiKey:
        by = principal.user_id
        revoked = replace(key, is_active=False, revoked_at=now, revoked_by=by, revoke_reason=reason)
        after = _save(tx, replace(revoked, modified_at=now))
        tx.outbox.append([events.revoked(self._ids, after, now)])
        audit_change(tx, principal, "apikey.revoked", before=key, after=after)
        return after


def _successor(
    key: ApiKey, plain: PlainKey, *, key_id: UUID, expires_at: datetime | None, by: UUID, now: datetime
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
        made_by_key=key.made_by_key,
        root_quota=key.root_quota,
        given_per_hour=key.given_per_hour,
    )


def _hears_less(before: ApiKey, after: ApiKey) -> bool:
    """Return whether connections that the key opened may hear, or come from, what it no longer may."""
    lost = set(missing_scopes(after.scopes, before.scopes))
    return not lost.isdisjoint(KINDS.values()) or not covers(after.allowed_ips, before.allowed_ips)


def _save(tx: ApiKeyTransaction, key: ApiKey) -> ApiKey:
    tx.api_keys.update(key.tenant_id, key)
    return replace(key, version=key.version + 1)
