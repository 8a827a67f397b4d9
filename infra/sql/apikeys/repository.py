"""API keys."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, false, func, insert, or_, select, true, update

from domain.apikeys.model import ApiKey, KeyFilter, KeyStatus
from domain.apikeys.ports import KeyRef, UsageTotal
from domain.core.paging import Page, PageRequest
from infra.sql.apikeys.tables import api_keys
from infra.sql.statements import containing, in_key_order, key_lists, page_of, row_of, update_version

_k = api_keys.c
_COLUMNS = (
    _k.APIKeyId,
    _k.TenantId,
    _k.KeyName,
    _k.KeyHash,
    _k.KeyPrefix,
    _k.Scopes,
    _k.RateLimitPerHour,
    _k.CreatedAt,
    _k.CreatedBy,
    _k.QuotaId,
    _k.ExpiresAt,
    _k.NotBefore,
    _k.AllowedIps,
    _k.Description,
    _k.IsActive,
    _k.LastUsedAt,
    _k.UsageCount,
    _k.RevokedAt,
    _k.RevokedBy,
    _k.RevokeReason,
    _k.RotatesFrom,
    _k.RotatedTo,
    _k.ModifiedAt,
    _k.Version,
    _k.MadeByKey,
    _k.RootQuota,
    _k.GivenPerHour,
)
_BY_HASH = select(*_COLUMNS).where(_k.KeyHash.in_(bindparam("hashes", expanding=True)))
_SET_USAGE = (
    update(api_keys)
    .where(
        _k.APIKeyId == bindparam("id"),
        _k.UsageCount <= bindparam("count"),
        _k.LimitedCount <= bindparam("limited"),
        _k.RefusedCount <= bindparam("refused"),
    )
    .values(
        UsageCount=bindparam("count"),
        LimitedCount=bindparam("limited"),
        RefusedCount=bindparam("refused"),
    )
)
_SET_USED = _SET_USAGE.values(LastUsedAt=bindparam("used"))


def _key_of(row: Any) -> ApiKey:
    """Read a row of _COLUMNS."""
    values = list(row)
    values[5] = json.loads(values[5])
    values[9] = values[9] or values[0]
    values[12] = json.loads(values[12]) if values[12] else []
    return ApiKey(*values)


def _changing(key: ApiKey) -> dict[str, Any]:
    return {
        "KeyName": key.key_name,
        "Scopes": json.dumps(list(key.scopes)),
        "RateLimitPerHour": key.rate_limit_per_hour,
        "ExpiresAt": key.expires_at,
        "AllowedIps": json.dumps(list(key.allowed_ips)) if key.allowed_ips else None,
        "Description": key.description,
        "IsActive": key.is_active,
        "RevokedAt": key.revoked_at,
        "RevokedBy": key.revoked_by,
        "RevokeReason": key.revoke_reason,
        "RotatedTo": key.rotated_to,
        "ModifiedAt": key.modified_at,
    }


class SqlApiKeys:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count_active(self, tenant_id: UUID, now: datetime) -> int:
        statement = select(func.count()).select_from(api_keys).where(_k.TenantId == tenant_id, *_alive(now))
        return self._connection.execute(statement).scalar_one()

    def limit_of(self, tenant_id: UUID, quota_id: UUID) -> int:
        # IX_APIKey_Tenant
        of_quota = (_k.TenantId == tenant_id, func.coalesce(_k.QuotaId, _k.APIKeyId) == quota_id)
        newest = select(_k.RateLimitPerHour).where(*of_quota).order_by(_k.CreatedAt.desc()).limit(1)
        return self._connection.execute(newest).scalar() or 0

    def given_by(self, tenant_id: UUID, root_quota: UUID, *, ended_since: datetime) -> int:
        # IX_APIKey_Tenant
        line = func.coalesce(_k.QuotaId, _k.APIKeyId)
        lines = (
            select(func.max(_k.GivenPerHour).label("Given"))
            .where(
                _k.TenantId == tenant_id,
                _k.RootQuota == root_quota,
                or_(_k.RevokedAt.is_(None), _k.RevokedAt > ended_since),
                or_(_k.ExpiresAt.is_(None), _k.ExpiresAt > ended_since),
            )
            .group_by(line)
            .subquery()
        )
        total = self._connection.execute(select(func.coalesce(func.sum(lines.c.Given), 0))).scalar_one()
        return int(total)

    def add(self, tenant_id: UUID, key: ApiKey) -> None:
        self._connection.execute(
            insert(api_keys).values(
                APIKeyId=key.api_key_id,
                TenantId=tenant_id,
                KeyHash=key.key_hash,
                KeyPrefix=key.key_prefix,
                CreatedAt=key.created_at,
                CreatedBy=key.created_by,
                NotBefore=key.not_before,
                QuotaId=key.quota_id,
                RotatesFrom=key.rotates_from,
                MadeByKey=key.made_by_key,
                RootQuota=key.root_quota,
                GivenPerHour=key.given_per_hour,
                **_changing(key),
            )
        )

    def get(self, tenant_id: UUID, api_key_id: UUID) -> ApiKey:
        statement = select(*_COLUMNS).where(_k.TenantId == tenant_id, _k.APIKeyId == api_key_id)
        return _key_of(row_of(self._connection, statement, "API key"))

    def page(self, tenant_id: UUID, filter_: KeyFilter, page: PageRequest, now: datetime) -> Page[ApiKey]:
        statement = select(*_COLUMNS).where(_k.TenantId == tenant_id)
        if filter_.status is not None:
            statement = statement.where(*_is(filter_.status, now))
        if filter_.scope is not None:
            # A scope holds neither quotes nor wildcards, so the quoted name is exactly one member of the array.
            statement = statement.where(containing(_k.Scopes, json.dumps(filter_.scope)))
        if filter_.name_contains is not None:
            statement = statement.where(containing(_k.KeyName, filter_.name_contains))
        if filter_.made_by_key is not None:
            statement = statement.where(_k.MadeByKey == filter_.made_by_key)
        ordered = statement.order_by(_k.CreatedAt, _k.APIKeyId)
        return page_of(self._connection, ordered, page, _key_of)

    def update(self, tenant_id: UUID, key: ApiKey) -> None:
        found = {"TenantId": tenant_id, "APIKeyId": key.api_key_id, "IsActive": True}
        update_version(self._connection, api_keys, found, _changing(key), version=key.version, what="API key")

    def by_hashes(self, hashes: Collection[str]) -> Mapping[str, ApiKey]:
        found: dict[str, ApiKey] = {}
        for chunk in key_lists(hashes):
            for row in self._connection.execute(_BY_HASH, {"hashes": chunk}):
                key = _key_of(row)
                found[key.key_hash] = key
        return found

    def expired(self, now: datetime, limit: int, *, rotated: bool) -> Sequence[ApiKey]:
        statement = select(*_COLUMNS).where(_k.IsActive == true(), _k.ExpiresAt <= now)
        if rotated:
            statement = statement.where(_k.RotatedTo.is_not(None))
        return [
            _key_of(row) for row in self._connection.execute(statement.order_by(_k.ExpiresAt).limit(limit))
        ]

    def unclosed(self, revoked_before: datetime, limit: int) -> Sequence[UUID]:
        statement = select(_k.APIKeyId).where(
            _k.IsActive == false(), _k.ConnectionsClosedAt.is_(None), _k.RevokedAt <= revoked_before
        )
        return self._connection.execute(statement.order_by(_k.RevokedAt).limit(limit)).scalars().all()

    def set_closed(self, api_key_ids: Collection[UUID], at: datetime) -> None:
        for chunk in key_lists(api_key_ids):
            self._connection.execute(
                update(api_keys).where(_k.APIKeyId.in_(chunk)).values(ConnectionsClosedAt=at)
            )

    def refs(self, after: UUID | None, *, used_since: datetime | None, limit: int) -> Sequence[KeyRef]:
        statement = select(_k.APIKeyId, func.coalesce(_k.QuotaId, _k.APIKeyId))
        if after is not None:
            statement = statement.where(_k.APIKeyId > after)
        if used_since is not None:
            statement = statement.where(or_(_k.IsActive == true(), _k.RevokedAt >= used_since))
        rows = self._connection.execute(statement.order_by(_k.APIKeyId).limit(limit))
        return [KeyRef(api_key_id, quota_id) for api_key_id, quota_id in rows]

    def set_usage(self, totals: Sequence[UsageTotal]) -> None:
        rows = [
            {
                "id": total.api_key_id,
                "count": total.usage_count,
                "limited": total.limited_count,
                "refused": total.refused_count,
                **({"used": total.last_used_at} if total.last_used_at else {}),
            }
            for total in totals
        ]
        for statement, each in (
            (_SET_USED, [row for row in rows if "used" in row]),
            (_SET_USAGE, [row for row in rows if "used" not in row]),
        ):
            if each:
                self._connection.execute(statement, in_key_order(each, "id"))


def _is(status: KeyStatus, now: datetime) -> list[Any]:
    """Conditions that mirror `ApiKey.status`."""
    alive = _alive(now)
    match status:
        case KeyStatus.Revoked:
            return [_k.IsActive == false()]
        case KeyStatus.Expired:
            return [_k.IsActive == true(), _k.ExpiresAt <= now]
        case KeyStatus.NotYetValid:
            return [*alive, _k.NotBefore > now]
        case KeyStatus.Active:
            return [*alive, or_(_k.NotBefore.is_(None), _k.NotBefore <= now)]


def _alive(now: datetime) -> list[Any]:
    return [_k.IsActive == true(), or_(_k.ExpiresAt.is_(None), _k.ExpiresAt > now)]
