"""What the audit log says about a key: everything but the key."""

from __future__ import annotations

from typing import Any

from domain.apikeys.model import ApiKey


def key_state(key: ApiKey) -> dict[str, Any]:
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
        "rotatesFrom": key.rotates_from,
        "rotatedTo": key.rotated_to,
    }
