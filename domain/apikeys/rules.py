"""The rules about keys (sections 6.2 and 7.2) as pure functions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from domain.apikeys.model import ApiKey, KeyStatus
from domain.core.errors import FieldError, Forbidden, RuleViolation, ValidationFailed
from domain.core.ip_address import read_ip, read_network
from domain.core.permissions import PERMISSIONS, PLATFORM_ONLY
from domain.core.principal import Principal


class VerificationCode(StrEnum):
    """What a presented key is worth. `NOT_FOUND` covers mistyped keys as well."""

    VALID = "VALID"
    NOT_FOUND = "NOT_FOUND"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    NOT_YET_VALID = "NOT_YET_VALID"
    IP_NOT_ALLOWED = "IP_NOT_ALLOWED"
    INSUFFICIENT_SCOPES = "INSUFFICIENT_SCOPES"
    RATE_LIMITED = "RATE_LIMITED"
    TENANT_SUSPENDED = "TENANT_SUSPENDED"


_BY_STATUS = {
    KeyStatus.Revoked: VerificationCode.REVOKED,
    KeyStatus.Expired: VerificationCode.EXPIRED,
    KeyStatus.NotYetValid: VerificationCode.NOT_YET_VALID,
}


def check_key(key: ApiKey, *, scopes: Collection[str], ip: str | None, now: datetime) -> VerificationCode:
    """Return the code of a key for everything but its quota: first its status, then its address, then its scopes.

    An expired key stays EXPIRED when the timer revokes it."""
    status = key.status(now)
    if status is KeyStatus.Revoked and key.is_ended_by_expiry:
        return VerificationCode.EXPIRED
    if status is not KeyStatus.Active:
        return _BY_STATUS[status]
    if key.allowed_ips and not ip_allowed(ip, key.allowed_ips):
        return VerificationCode.IP_NOT_ALLOWED
    if missing_scopes(key.scopes, scopes):
        return VerificationCode.INSUFFICIENT_SCOPES
    return VerificationCode.VALID


def missing_scopes(has: Collection[str], wants: Collection[str]) -> tuple[str, ...]:
    """Return the scopes that are lacking; what only people may have is no scope, whoever wrote it into a key's row."""
    return tuple(scope for scope in wants if scope not in has or scope in PLATFORM_ONLY)


def ip_allowed(ip: str | None, allowed: Sequence[str]) -> bool:
    """Return whether an address lies in one of the ranges; ::ffff:192.0.2.1 counts as its IPv4 address."""
    address = None if ip is None else read_ip(ip)
    return address is not None and any(address in network for network in _networks(tuple(allowed)))


def check_grant(
    principal: Principal, scopes: Collection[str], *, catalogue: Collection[str], is_closed: bool
) -> None:
    """Check that the caller gives a key no scope beyond their own.

    - A key may grant only its own scopes.
    - A user may grant the permissions of the hub that they hold, and any scope of the platform's other modules,
      because the hub does not know who may do what there. Where the `catalogue` is closed, only the scopes in it.
    - Raises Forbidden naming the scopes, or ValidationFailed for a scope outside a closed catalogue, and for an action
      that a resource of the hub does not have."""
    _check_is_for_keys(scopes)
    _check_exist(scopes, {*PERMISSIONS, *catalogue}, is_closed=is_closed)
    asked = scopes if principal.api_key_id else [scope for scope in scopes if scope in PERMISSIONS]
    missing = missing_scopes(principal.permissions, asked)
    if missing:
        raise Forbidden(
            f"A key can have only scopes that its creator has; the caller lacks: {', '.join(missing)}.",
            code="insufficient-scope",
            scopes=missing,
        )


def _check_is_for_keys(scopes: Collection[str]) -> None:
    wanted = sorted(PLATFORM_ONLY.intersection(scopes))
    if wanted:
        detail = f"No API key can have {', '.join(wanted)}: only people of the platform's own tenant can."
        raise ValidationFailed(detail, [FieldError("/scopes", detail)])


_OWN_RESOURCES = frozenset(permission.partition(":")[0] for permission in PERMISSIONS)


def _check_exist(scopes: Collection[str], known: Collection[str], *, is_closed: bool) -> None:
    """Raise ValidationFailed for scopes that nothing checks: of the hub's own resources, or all where it is closed."""
    unknown = [
        scope
        for scope in missing_scopes(known, scopes)
        if is_closed or scope.partition(":")[0] in _OWN_RESOURCES
    ]
    if not unknown:
        return
    listed = "GET /api/apikeys/scopes lists the scopes that exist."
    errors = []
    for scope in unknown:
        resource = scope.partition(":")[0]
        own = sorted(name for name in known if name.partition(":")[0] == resource)
        near = get_close_matches(scope, own, n=1, cutoff=0) or get_close_matches(scope, sorted(known), n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        errors.append(FieldError("/scopes", f"There is no scope {scope}.{meant} {listed}"))
    raise ValidationFailed(f"These scopes do not exist: {', '.join(unknown)}.", errors)


def check_shrinks(key: ApiKey, scopes: Collection[str]) -> None:
    """Raise RuleViolation when an update adds a scope (BR-AK-06)."""
    added = missing_scopes(key.scopes, scopes)
    if added:
        raise RuleViolation(
            f"Scopes can be removed from a key, not added ({', '.join(added)}); create a new key instead.",
            code="BR-AK-06",
        )


def check_alive(key: ApiKey, now: datetime) -> None:
    """Raise RuleViolation for a revoked or expired key, which never changes (BR-AK-07)."""
    status = key.status(now)
    if status in (KeyStatus.Revoked, KeyStatus.Expired):
        raise RuleViolation(
            f"The key is {status.value.lower()} and cannot be changed; create a new one.", code="BR-AK-07"
        )


def check_times(expires_at: datetime | None, not_before: datetime | None, now: datetime) -> None:
    """Check the validity of a new key (section 7.2). Raises ValidationFailed."""
    errors = []
    if expires_at is not None and expires_at <= now:
        errors.append(FieldError("/expiresAt", "Must be in the future."))
    if expires_at is not None and not_before is not None and not_before >= expires_at:
        errors.append(FieldError("/notBefore", "Must be before expiresAt."))
    if errors:
        raise ValidationFailed("The body is not valid; see errors.", errors)


def check_successor_times(key: ApiKey, expires_at: datetime | None, now: datetime) -> None:
    """Check the expiry of the key that replaces `key`, whose `notBefore` it inherits. Raises ValidationFailed."""
    check_times(expires_at, None, now)
    if expires_at is not None and key.not_before is not None and key.not_before >= expires_at:
        detail = "Must be after the key's notBefore."
        raise ValidationFailed("The body is not valid; see errors.", [FieldError("/expiresAt", detail)])


def grace_end(key: ApiKey, grace: timedelta, now: datetime) -> datetime:
    """Return when a rotated key ends: after the grace period, but never later than its own expiry."""
    end = now + grace
    return end if key.expires_at is None else min(end, key.expires_at)


@lru_cache(maxsize=4096)
def _networks(ranges: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(read_network(text) for text in ranges)
