"""What a credential may do to keys: nothing that would be more than itself.

A person is bounded by the permissions; the hub knows no more of a person. A key that manages keys is bounded by its own
scopes, expiry, addresses and quota, and so are the keys that it makes, and those that these make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Final, TypeVar
from uuid import UUID

from domain.apikeys.model import ApiKey, CreateApiKey, KeyStatus
from domain.apikeys.ports import ApiKeyTransaction
from domain.apikeys.rules import missing_scopes
from domain.core.errors import Forbidden
from domain.core.ip_address import read_network
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.core.wire import rfc3339

N = TypeVar("N", IPv4Network, IPv6Network)

#: What a key that ended used of its quota is forgotten after this long, as in the quota's own window.
WINDOW: Final = timedelta(minutes=60)
#: A key that a key makes gets this part of its maker's quota, unless more is asked for.
_SHARE: Final = 10


def covers(allowed: Sequence[str], wanted: Sequence[str]) -> bool:
    """Return whether every address of one allow list is in another; both as sets of addresses, however written.

    An empty list allows every address, and callers whose address is unknown: only an empty one covers it."""
    if not allowed:
        return True
    return (
        bool(wanted)
        and _covers(_of(IPv4Network, allowed), _of(IPv4Network, wanted))
        and _covers(_of(IPv6Network, allowed), _of(IPv6Network, wanted))
    )


def _of(version: type[N], ranges: Sequence[str]) -> list[N]:
    return [network for network in map(read_network, ranges) if isinstance(network, version)]


def _covers(allowed: Sequence[N], wanted: Sequence[N]) -> bool:
    # Joined, so that two halves are the whole.
    joined = list(collapse_addresses(allowed))
    return all(any(network.subnet_of(wide) for wide in joined) for network in wanted)


def inherited(key: ApiKey, command: CreateApiKey, maker: ApiKey) -> ApiKey:
    """Return a new key with its maker's limits where the request named none.

    Of the quota it gets a tenth: one key that asked for nothing must not use up what others may still be given."""
    asked = command.model_fields_set
    limit = key.rate_limit_per_hour
    if "rate_limit_per_hour" not in asked:
        limit = min(limit, max(1, maker.rate_limit_per_hour // _SHARE))
    return replace(
        key,
        expires_at=maker.expires_at if command.expires_at is None else key.expires_at,
        allowed_ips=key.allowed_ips if "allowed_ips" in asked else maker.allowed_ips,
        rate_limit_per_hour=limit,
        made_by_key=maker.api_key_id,
        root_quota=root_quota_of(maker),
        given_per_hour=limit,
    )


def root_quota_of(key: ApiKey) -> UUID:
    """Return the quota of the key, made by a person, from which this key descends; its own where it is that key."""
    return key.root_quota or key.quota_id


def check_within(principal: Principal, maker: ApiKey | None, key: ApiKey) -> None:
    """Check that the caller could have made the key as it is. `maker` is the caller's own key, None of a person.

    Raises Forbidden."""
    asked = key.scopes if maker is not None else [scope for scope in key.scopes if scope in PERMISSIONS]
    missing = missing_scopes(principal.permissions if maker is None else maker.scopes, asked)
    if missing:
        raise Forbidden(
            f"A caller can make and change only keys whose scopes it has; it lacks: {', '.join(missing)}.",
            code="insufficient-scope",
            scopes=missing,
        )
    if maker is not None and (excess := _excess(maker, key)):
        raise Forbidden(
            f"A key can make and change only keys that have no more than itself; this one {', and '.join(excess)}.",
            code="exceeds-credential",
        )


def check_not_loosened(before: ApiKey, after: ApiKey) -> None:
    """Check what a key changes about a key, itself included: it may take away and not give. Raises Forbidden."""
    added = [f"has the scope {scope}" for scope in missing_scopes(before.scopes, after.scopes)]
    looser = added + _excess(before, after)
    if looser:
        raise Forbidden(
            f"Only a person can loosen the limits of a key; after this change it {', and '.join(looser)}.",
            code="person-needed",
        )


def check_addresses(principal: Principal, before: Sequence[str], after: Sequence[str]) -> None:
    """Check a change of another allow list, which a key may narrow and not widen either. Raises Forbidden."""
    if principal.api_key_id is not None and not covers(before, after):
        raise Forbidden(
            f"Only a person can let further addresses in than {', '.join(before)}; the caller is an API key.",
            code="person-needed",
        )


def check_share(tx: ApiKeyTransaction, maker: ApiKey, key: ApiKey) -> None:
    """Check that the descendants of a key have together no more than its quota. Raises Forbidden.

    What counts is the limit that each was made with, until an hour after its end: what it used is in no other window.
    Reliable while `Users.lock_tenant` is held."""
    root = root_quota_of(maker)
    whole = tx.api_keys.limit_of(key.tenant_id, root)
    given = tx.api_keys.given_by(key.tenant_id, root, ended_since=key.created_at - WINDOW)
    left = max(0, whole - given)
    if key.rate_limit_per_hour > left:
        raise Forbidden(
            f"The keys that a key makes, and those that these make, have together no more than its own {whole:,} "
            f"requests an hour, those included that ended within the last hour; {left:,} are left. A person can make "
            "further keys.",
            code="exceeds-credential",
        )


def maker_of(tx: ApiKeyTransaction, principal: Principal, now: datetime) -> ApiKey | None:
    """Return the key that the caller is, as it is stored now; None of a person.

    Raises Forbidden for one that has ended since the request was let in."""
    if principal.api_key_id is None:
        return None
    key = tx.api_keys.get(principal.tenant_id, principal.api_key_id)
    if key.status(now) != KeyStatus.Active:
        raise Forbidden("The caller's own key has ended meanwhile.")
    return key


def _excess(bound: ApiKey, key: ApiKey) -> list[str]:
    """Return what the limits of `key` allow beyond those of `bound`, scopes apart, as the end of a sentence."""
    excess: list[str] = []
    if bound.expires_at is not None and (key.expires_at is None or key.expires_at > bound.expires_at):
        when = "never" if key.expires_at is None else rfc3339(key.expires_at)
        excess.append(f"expires later ({when}) than {rfc3339(bound.expires_at)}")
    if not covers(bound.allowed_ips, key.allowed_ips):
        wanted = ", ".join(key.allowed_ips) or "anywhere"
        excess.append(f"can be used from addresses ({wanted}) beyond {', '.join(bound.allowed_ips)}")
    if key.rate_limit_per_hour > bound.rate_limit_per_hour:
        excess.append(
            f"has more requests an hour ({key.rate_limit_per_hour:,}) than {bound.rate_limit_per_hour:,}"
        )
    return excess
