"""Webhooks of one tenant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select

from domain.core.errors import NotFound
from domain.core.paging import Page, PageRequest
from domain.webhooks.model import RetryPolicy, Webhook, WebhookState
from domain.webhooks.ports import WebhookFilter
from infra.sql.integrations.tables import integrations
from infra.sql.statements import page_of, row_of, update_version
from infra.sql.webhooks.tables import webhook_subscriptions, webhooks

_w = webhooks.c


def policy_of(text: str) -> RetryPolicy:
    return RetryPolicy(**json.loads(text))


def _webhook_of(row: Any) -> Webhook:
    return Webhook(
        webhook_id=row.WebhookId,
        tenant_id=row.TenantId,
        url=row.Url,
        event_types=json.loads(row.EventTypes),
        sealed_secret=row.Secret,
        state=row.State,
        retry_policy=policy_of(row.RetryPolicy),
        retry_history=row.RetryHistory,
        timeout_seconds=row.TimeoutSeconds,
        created_at=row.CreatedAt,
        created_by=row.CreatedBy,
        integration_id=row.IntegrationId,
        description=row.Description,
        rate_limit_per_second=row.RateLimitPerSecond,
        ordering=row.Ordering,
        previous_sealed_secret=row.PreviousSecret,
        previous_secret_expires_at=row.PreviousSecretExpiresAt,
        verified_at=row.VerifiedAt,
        disabled_reason=row.DisabledReason,
        last_triggered_at=row.LastTriggeredAt,
        success_count=row.SuccessCount,
        failure_count=row.FailureCount,
        consecutive_failures=row.ConsecutiveFailures,
        failing_since=row.FailingSince,
        modified_at=row.ModifiedAt,
        version=row.Version,
    )


def _values(webhook: Webhook) -> dict[str, Any]:
    """Return the columns that a person's request sets; counters belong to the pipeline."""
    return {
        "IntegrationId": webhook.integration_id,
        "Url": webhook.url,
        "Description": webhook.description,
        "EventTypes": json.dumps(list(webhook.event_types)),
        "Secret": webhook.sealed_secret,
        "PreviousSecret": webhook.previous_sealed_secret,
        "PreviousSecretExpiresAt": webhook.previous_secret_expires_at,
        "IsActive": webhook.state == WebhookState.Active,
        "State": webhook.state,
        "DisabledReason": webhook.disabled_reason,
        "VerifiedAt": webhook.verified_at,
        "RetryPolicy": json.dumps(asdict(webhook.retry_policy)),
        "MaxRetries": webhook.retry_policy.max_retries,
        "TimeoutSeconds": webhook.timeout_seconds,
        "RateLimitPerSecond": webhook.rate_limit_per_second,
        "Ordering": webhook.ordering,
        "ModifiedAt": webhook.modified_at,
    }


class SqlWebhooks:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count(self, tenant_id: UUID) -> int:
        statement = select(func.count()).select_from(webhooks).where(_w.TenantId == tenant_id)
        return self._connection.execute(statement).scalar_one()

    def add(self, tenant_id: UUID, webhook: Webhook) -> None:
        self._connection.execute(
            insert(webhooks).values(
                WebhookId=webhook.webhook_id,
                TenantId=tenant_id,
                CreatedAt=webhook.created_at,
                CreatedBy=webhook.created_by,
                **_values(webhook),
            )
        )
        self._subscribe(tenant_id, webhook.webhook_id, webhook.event_types)

    def get(self, tenant_id: UUID, webhook_id: UUID) -> Webhook:
        statement = select(webhooks).where(_w.TenantId == tenant_id, _w.WebhookId == webhook_id)
        return _webhook_of(row_of(self._connection, statement, "webhook"))

    def page(self, tenant_id: UUID, filter_: WebhookFilter, page: PageRequest) -> Page[Webhook]:
        statement = select(webhooks).where(_w.TenantId == tenant_id)
        if filter_.state is not None:
            statement = statement.where(_w.State == filter_.state)
        if filter_.integration_id is not None:
            statement = statement.where(_w.IntegrationId == filter_.integration_id)
        if filter_.event_type is not None:
            subscribed = select(webhook_subscriptions.c.WebhookId).where(
                webhook_subscriptions.c.TenantId == tenant_id,
                webhook_subscriptions.c.EventType == filter_.event_type,
            )
            statement = statement.where(_w.WebhookId.in_(subscribed))
        ordered = statement.order_by(_w.CreatedAt, _w.WebhookId)
        return page_of(self._connection, ordered, page, _webhook_of)

    def update(self, tenant_id: UUID, webhook: Webhook) -> None:
        values = _values(webhook)
        if webhook.state == WebhookState.Active:
            values |= {
                "ConsecutiveFailures": webhook.consecutive_failures,
                "FailingSince": webhook.failing_since,
            }
        key = {"TenantId": tenant_id, "WebhookId": webhook.webhook_id}
        update_version(self._connection, webhooks, key, values, version=webhook.version, what="webhook")
        self._connection.execute(
            delete(webhook_subscriptions).where(webhook_subscriptions.c.WebhookId == webhook.webhook_id)
        )
        self._subscribe(tenant_id, webhook.webhook_id, webhook.event_types)

    def delete(self, tenant_id: UUID, webhook_id: UUID) -> None:
        deleted = self._connection.execute(
            delete(webhooks).where(_w.TenantId == tenant_id, _w.WebhookId == webhook_id)
        )
        if deleted.rowcount != 1:
            raise NotFound("There is no such webhook.")

    def integration_exists(self, tenant_id: UUID, integration_id: UUID) -> bool:
        statement = select(integrations.c.IntegrationId).where(
            integrations.c.TenantId == tenant_id, integrations.c.IntegrationId == integration_id
        )
        return self._connection.execute(statement).first() is not None

    def _subscribe(self, tenant_id: UUID, webhook_id: UUID, event_types: Sequence[str]) -> None:
        self._connection.execute(
            insert(webhook_subscriptions),
            [
                {"TenantId": tenant_id, "EventType": name, "WebhookId": webhook_id}
                for name in sorted(set(event_types))
            ],
        )
