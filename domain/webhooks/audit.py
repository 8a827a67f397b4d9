"""What the audit log says about webhooks: everything but their secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from domain.audit.model import AuditEntry
from domain.identity.model import Principal
from domain.unit_of_work import UnitOfWork
from domain.webhooks.model import Webhook


def record_change(
    unit: UnitOfWork, principal: Principal, action: str, before: Webhook | None, after: Webhook | None
) -> None:
    """One row in the transaction of the change; `action` such as `webhook.updated`."""
    webhook = after or before
    assert webhook is not None
    entry = AuditEntry(
        action,
        "webhook",
        webhook.webhook_id,
        principal,
        before=webhook_state(before) if before else None,
        after=webhook_state(after) if after else None,
    )
    unit.audit.append(webhook.tenant_id, entry)


def record_act(
    unit: UnitOfWork, principal: Principal, action: str, webhook_id: UUID, what: Mapping[str, Any]
) -> None:
    """Something done with a webhook that does not change it: a replay, a retry, a test."""
    unit.audit.append(principal.tenant_id, AuditEntry(action, "webhook", webhook_id, principal, after=what))


def record_disabled(unit: UnitOfWork, tenant_id: UUID, webhook_id: UUID, reason: str) -> None:
    """The hub itself disabled it."""
    entry = AuditEntry(
        "webhook.disabled", "webhook", webhook_id, after={"state": "Disabled", "disabledReason": reason}
    )
    unit.audit.append(tenant_id, entry)


def webhook_state(webhook: Webhook) -> dict[str, Any]:
    return {
        "url": webhook.url,
        "eventTypes": list(webhook.event_types),
        "description": webhook.description,
        "integrationId": webhook.integration_id,
        "state": webhook.state.name,
        "disabledReason": webhook.disabled_reason,
        "retryPolicy": asdict(webhook.retry_policy),
        "timeoutSeconds": webhook.timeout_seconds,
        "rateLimitPerSecond": webhook.rate_limit_per_second,
        "previousSecretExpiresAt": webhook.previous_secret_expires_at,
        "version": webhook.version,
    }
