"""Events and audit entries about keys (section 3.2), with the specification's payloads in camelCase."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from domain.apikeys.model import ApiKey
from domain.core.ports import IdGenerator
from domain.core.principal import Principal
from domain.core.wire import rfc3339
from domain.journal.audit import AuditEntry, AuditTransaction
from domain.journal.event_types import HubEvent
from domain.journal.events import DomainEvent, build_event

GENERATED = HubEvent.APIKeyGenerated
REVOKED = HubEvent.APIKeyRevoked
ROTATED = HubEvent.APIKeyRotated
EXPIRED = HubEvent.APIKeyExpired


def generated(ids: IdGenerator, key: ApiKey, now: datetime) -> DomainEvent:
    data = {
        "apiKeyId": str(key.api_key_id),
        "keyName": key.key_name,
        "scopes": list(key.scopes),
        "expiresAt": _moment(key.expires_at),
        "createdBy": str(key.created_by),
    }
    return _event(ids, GENERATED, key, data, now=now)


def revoked(ids: IdGenerator, key: ApiKey, now: datetime) -> DomainEvent:
    """Build `APIKeyRevoked`. `revokedBy` is null when the key expired or its rotation ended."""
    data = {
        "apiKeyId": str(key.api_key_id),
        "keyName": key.key_name,
        "revokedBy": str(key.revoked_by) if key.revoked_by else None,
        "revokedAt": _moment(key.revoked_at),
        "reason": key.revoke_reason,
    }
    return _event(ids, REVOKED, key, data, now=now)


def rotated(ids: IdGenerator, old: ApiKey, new: ApiKey, *, rotated_by: UUID, now: datetime) -> DomainEvent:
    data = {
        "apiKeyId": str(new.api_key_id),
        "rotatesFrom": str(old.api_key_id),
        "keyName": new.key_name,
        "oldKeyExpiresAt": _moment(old.expires_at),
        "rotatedBy": str(rotated_by),
    }
    return _event(ids, ROTATED, new, data, now=now)


def expired(ids: IdGenerator, key: ApiKey, now: datetime) -> DomainEvent:
    data = {"apiKeyId": str(key.api_key_id), "keyName": key.key_name, "expiresAt": _moment(key.expires_at)}
    return _event(ids, EXPIRED, key, data, now=now)


def _event(
    ids: IdGenerator, type_: HubEvent, key: ApiKey, data: dict[str, Any], *, now: datetime
) -> DomainEvent:
    subject = f"apikey/{key.api_key_id}"
    return build_event(type_, data, event_id=ids.new(), tenant_id=key.tenant_id, subject=subject, at=now)


def _moment(value: datetime | None) -> str | None:
    return None if value is None else rfc3339(value)


def audit_change(
    tx: AuditTransaction, by: Principal | None, action: str, *, before: ApiKey | None, after: ApiKey
) -> None:
    """Append a change of a key to the audit log. `by` is None for what the hub does by itself."""
    old = _state(before) if before else None
    entry = AuditEntry(action, "apikey", after.api_key_id, by, before=old, after=_state(after))
    tx.audit.append(after.tenant_id, entry)


def _state(key: ApiKey) -> dict[str, Any]:
    return {
        "keyName": key.key_name,
        "keyPrefix": key.key_prefix,
        "scopes": list(key.scopes),
        "rateLimitPerHour": key.rate_limit_per_hour,
        "expiresAt": key.expires_at,
        "notBefore": key.not_before,
        "allowedIps": list(key.allowed_ips),
        "description": key.description,
        "isActive": key.is_active,
        "revokedAt": key.revoked_at,
        "revokedBy": key.revoked_by,
        "revokeReason": key.revoke_reason,
        "createdByKey": key.made_by_key,
        "rotatesFrom": key.rotates_from,
        "rotatedTo": key.rotated_to,
    }
