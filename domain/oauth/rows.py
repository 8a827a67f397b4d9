"""A grant as a row of the table store and back. No token is in it."""

from __future__ import annotations

from datetime import datetime
from typing import cast
from uuid import UUID

from domain.core.ports import TableEntity, TableValue
from domain.oauth.model import Grant, GrantStatus


def properties_of(grant: Grant) -> dict[str, TableValue]:
    stored: dict[str, TableValue | None] = {
        "integrationId": str(grant.integration_id),
        "tenantId": str(grant.tenant_id),
        "userId": str(grant.user_id),
        "status": grant.status.value,
        "authorizedAt": grant.authorized_at,
        "expiresAt": grant.expires_at,
        "dueAt": grant.due_at,
        "scopes": " ".join(grant.scopes),
        "requestedScopes": " ".join(grant.requested_scopes),
        "renewable": grant.renewable,
        "secretName": grant.secret_name,
        "secretVersion": grant.version,
        "tokenFence": grant.token_fence,
        "fence": grant.fence,
        "leaseUntil": grant.lease_until,
        "refreshedAt": grant.refreshed_at,
        "retryAt": grant.retry_at,
        "failures": grant.failures,
        "finished": grant.finished,
        "withdrawn": grant.withdrawn,
    }
    return {name: value for name, value in stored.items() if value is not None}


def grant_of(entity: TableEntity) -> Grant:
    stored = entity.properties
    return Grant(
        integration_id=UUID(str(stored["integrationId"])),
        tenant_id=UUID(str(stored["tenantId"])),
        user_id=UUID(str(stored["userId"])),
        status=GrantStatus(str(stored["status"])),
        authorized_at=cast(datetime, stored["authorizedAt"]),
        expires_at=cast(datetime, stored["expiresAt"]),
        due_at=cast(datetime, stored["dueAt"]),
        scopes=tuple(str(stored["scopes"]).split()),
        requested_scopes=tuple(str(stored["requestedScopes"]).split()),
        renewable=bool(stored["renewable"]),
        secret_name=str(stored["secretName"]),
        version=str(stored["secretVersion"]),
        token_fence=cast(int, stored["tokenFence"]),
        fence=cast(int, stored["fence"]),
        lease_until=cast("datetime | None", stored.get("leaseUntil")),
        refreshed_at=cast("datetime | None", stored.get("refreshedAt")),
        retry_at=cast("datetime | None", stored.get("retryAt")),
        failures=cast(int, stored["failures"]),
        finished=bool(stored["finished"]),
        withdrawn=bool(stored.get("withdrawn", False)),
        etag=entity.etag,
    )
