"""API keys as they go over the wire. Only `IssuedApiKeyView` contains the key itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from pydantic import Field

from domain.apikeys.model import ApiKey, KeyFilter, KeyStatus
from domain.apikeys.rate_limit import RateStatus
from domain.apikeys.service import Issued
from domain.apikeys.usage import Usage
from domain.apikeys.verifier import VerifiedKey
from domain.core.permissions import PERMISSIONS, PLATFORM_ONLY
from domain.core.text_length import TextConstraints
from domain.core.wire import UtcMoment
from functions.http.kit.views import Moment, PageQuery, PageView, Query, View

StatusName = Literal["Active", "NotYetValid", "Expired", "Revoked"]
Code = Literal[
    "VALID",
    "INVALID",
    "NOT_FOUND",
    "REVOKED",
    "EXPIRED",
    "NOT_YET_VALID",
    "IP_NOT_ALLOWED",
    "INSUFFICIENT_SCOPES",
    "RATE_LIMITED",
    "TENANT_SUSPENDED",
]


class ApiKeyView(View):
    api_key_id: UUID
    key_name: str
    description: str | None
    key_prefix: str = Field(description="The first 8 characters, to recognise the key")
    key_hash: str = Field(description="SHA-256 of the key, in hexadecimal")
    scopes: list[str]
    status: StatusName
    is_active: bool = Field(
        description="Neither revoked nor expired; before `notBefore` it cannot be used yet"
    )
    expires_at: Moment | None
    not_before: Moment | None
    allowed_ips: list[str] = Field(description="Addresses or CIDR ranges; empty allows any address")
    rate_limit_per_hour: int
    last_used_at: Moment | None = Field(description="Updated every five minutes")
    usage_count: int = Field(description="Accepted requests; updated every five minutes")
    created_at: Moment
    created_by: UUID
    modified_at: Moment | None
    revoked_at: Moment | None
    revoked_by: UUID | None = Field(description="Null when the hub revoked it because it had expired")
    revoke_reason: str | None
    created_by_key: UUID | None = Field(description="The key that made this key; null where a person did")
    rotates_from: UUID | None = Field(description="The key that this key replaces")
    rotated_to: UUID | None = Field(description="The key that replaces this key")


class IssuedApiKeyView(ApiKeyView):
    key: str = Field(description="The key; shown only in this answer (BR-AK-02)")
    old_key_expires_at: Moment | None = Field(None, description="Until then the rotated key still works")


class ApiKeyPage(PageView[ApiKeyView]):
    pass


class ApiKeyQuery(PageQuery):
    status: StatusName | None = None
    scope: Annotated[str, TextConstraints(max_length=100)] | None = Field(
        None, description="Keys that have this scope"
    )
    name: Annotated[str, TextConstraints(max_length=100)] | None = Field(
        None, description="Part of the key's name"
    )
    created_by_key: UUID | None = Field(None, description="Keys that this key made")

    def to_filter(self) -> KeyFilter:
        status = KeyStatus(self.status) if self.status else None
        return KeyFilter(status, self.scope, self.name, self.created_by_key)


class RevokeQuery(Query):
    reason: Annotated[str, TextConstraints(max_length=400)] | None = Field(
        None, description="Reason; may be sent in the body instead"
    )


class RateLimitView(View):
    limit: int = Field(description="Requests in 60 minutes")
    remaining: int
    reset_seconds: int = Field(description="Seconds until the oldest requests leave the window")
    retry_after_seconds: int = Field(description="Seconds until the next request is allowed; 0: now")


class VerifiedView(View):
    valid: bool
    code: Code = Field(description="INVALID where the caller may not know the reason")
    key_id: UUID | None = None
    key_name: str | None = None
    tenant_id: UUID | None = None
    scopes: list[str] | None = None
    expires_at: Moment | None = None
    rate_limit: RateLimitView | None = None


class BucketView(View):
    start: Moment
    accepted: int = Field(description="Accepted requests")
    limited: int = Field(description="Refused because the quota was used up (429)")
    refused: int = Field(description="Refused for another reason: expired, revoked, address, scope")


class UsageView(View):
    api_key_id: UUID
    by: Literal["hour", "day"]
    since: Moment = Field(serialization_alias="from")
    until: Moment = Field(serialization_alias="to")
    totals: BucketTotals
    rate_limit: RateLimitView
    buckets: list[BucketView] = Field(description="Buckets with at least one request, oldest first")


class BucketTotals(View):
    accepted: int
    limited: int
    refused: int


class UsageQuery(Query):
    by: Literal["hour", "day"] = Field("hour", description="Size of the buckets")
    since: UtcMoment | None = Field(None, alias="from", description="24 hours, or 30 days, back when absent")
    until: UtcMoment | None = Field(None, alias="to", description="Now when absent")


class ScopeView(View):
    scope: str
    description: str
    grantable: bool = Field(description="Whether the caller can grant it to a key")


class ScopesView(View):
    items: list[ScopeView]
    closed: bool = Field(description="Whether keys can have no other scopes")


def _fields(key: ApiKey, now: datetime) -> dict[str, Any]:
    status = key.status(now)
    return {
        "api_key_id": key.api_key_id,
        "key_name": key.key_name,
        "description": key.description,
        "key_prefix": key.key_prefix,
        "key_hash": key.key_hash,
        "scopes": list(key.scopes),
        "status": status.value,
        "is_active": status in (KeyStatus.Active, KeyStatus.NotYetValid),
        "expires_at": key.expires_at,
        "not_before": key.not_before,
        "allowed_ips": list(key.allowed_ips),
        "rate_limit_per_hour": key.rate_limit_per_hour,
        "last_used_at": key.last_used_at,
        "usage_count": key.usage_count,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "modified_at": key.modified_at,
        "revoked_at": key.revoked_at,
        "revoked_by": key.revoked_by,
        "revoke_reason": key.revoke_reason,
        "created_by_key": key.made_by_key,
        "rotates_from": key.rotates_from,
        "rotated_to": key.rotated_to,
    }


def key_view(key: ApiKey, now: datetime) -> ApiKeyView:
    return ApiKeyView(**_fields(key, now))


def issued_view(issued: Issued, now: datetime) -> IssuedApiKeyView:
    return IssuedApiKeyView(
        **_fields(issued.key, now),
        key=issued.plain.text,
        old_key_expires_at=issued.old.expires_at if issued.old else None,
    )


def rate_view(rate: RateStatus) -> RateLimitView:
    return RateLimitView(
        limit=rate.limit,
        remaining=rate.remaining,
        reset_seconds=rate.reset_seconds,
        retry_after_seconds=rate.retry_after_seconds,
    )


def verified_view(verified: VerifiedKey) -> VerifiedView:
    key = verified.key
    code = cast("Code", str(verified.code))
    if key is None:
        return VerifiedView(valid=verified.valid, code=code)
    return VerifiedView(
        valid=verified.valid,
        code=code,
        key_id=key.api_key_id,
        key_name=key.key_name,
        tenant_id=key.tenant_id,
        scopes=list(key.scopes),
        expires_at=key.expires_at,
        rate_limit=rate_view(verified.rate) if verified.rate else None,
    )


def usage_view(usage: Usage, by: Literal["hour", "day"]) -> UsageView:
    buckets = [
        BucketView(
            start=bucket.start, accepted=bucket.accepted, limited=bucket.limited, refused=bucket.refused
        )
        for bucket in usage.buckets
    ]
    return UsageView(
        api_key_id=usage.key.api_key_id,
        by=by,
        since=usage.since,
        until=usage.until,
        totals=BucketTotals(
            accepted=sum(bucket.accepted for bucket in usage.buckets),
            limited=sum(bucket.limited for bucket in usage.buckets),
            refused=sum(bucket.refused for bucket in usage.buckets),
        ),
        rate_limit=rate_view(usage.rate),
        buckets=buckets,
    )


def scopes_view(
    permissions: frozenset[str], platform: Sequence[str], *, closed: bool, is_key: bool
) -> ScopesView:
    own = [
        ScopeView(scope=scope, description=text, grantable=scope in permissions)
        for scope, text in PERMISSIONS.items()
        if scope not in PLATFORM_ONLY
    ]
    others = [
        ScopeView(
            scope=scope,
            description="Scope of another module of the platform",
            grantable=not is_key or scope in permissions,
        )
        for scope in platform
    ]
    return ScopesView(items=own + others, closed=closed)
