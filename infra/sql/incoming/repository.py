"""The inbox of incoming webhooks."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, func, insert, select, update

from domain.core.errors import Conflict
from domain.core.paging import Page, PageRequest
from domain.core.text_length import cut
from domain.incoming.model import IncomingBody, IncomingEndpoint, IncomingWebhook
from domain.incoming.ports import AlreadyStored, IncomingFilter
from infra.sql.firsts import delete_first
from infra.sql.incoming.tables import incoming_bodies, incoming_endpoints, incoming_webhooks
from infra.sql.journal.outbox import events_of
from infra.sql.statements import (
    guarded_by_unique_key,
    key_lists,
    page_of,
    raising_when_taken,
    row_of,
    unindexed,
    update_version,
    within,
)

_w = incoming_webhooks.c
_b = incoming_bodies.c
_e = incoming_endpoints.c
# UQ_IncomingWebhook_Event
_KNOWN = select(_w.ProviderEventId).where(
    _w.TenantId == bindparam("tenant"),
    _w.IntegrationId == bindparam("integration"),
    _w.ProviderEventId.in_(bindparam("ids", expanding=True)),
)
#: In the order of IncomingWebhook's fields.
_ROW: Select[Any] = select(
    _w.IncomingWebhookId,
    _w.TenantId,
    _w.IntegrationId,
    _w.IncomingBodyId,
    _w.ProviderEventId,
    _w.EventType,
    _w.Status,
    _w.Attempts,
    _w.ReceivedAt,
    _w.SourceIP,
    _w.OccurredAt,
    _w.EventId,
    _w.ProcessedAt,
    _w.ErrorMessage,
    _w.ContentDigest,
    _w.SameBodyAs,
    _w.UnsignedFields,
)
_INSERT = insert(incoming_webhooks)
_INSERT_BODY = insert(incoming_bodies)


class SqlIncomingWebhooks:
    """Satisfies `domain.incoming.ports.IncomingWebhooks`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self, tenant_id: UUID, integration_id: UUID, provider_event_ids: Collection[str]) -> set[str]:
        found: set[str] = set()
        for chunk in key_lists(provider_event_ids):
            values = {"tenant": tenant_id, "integration": integration_id, "ids": chunk}
            found.update(self._connection.execute(_KNOWN, values).scalars())
        return found

    def last_with(
        self, tenant_id: UUID, integration_id: UUID, content_digests: Collection[str]
    ) -> dict[str, tuple[UUID, datetime]]:
        found: dict[str, tuple[UUID, datetime]] = {}
        # IX_IncomingWebhook_Content
        mine = (_w.TenantId == tenant_id, _w.IntegrationId == integration_id)
        for chunk in key_lists(content_digests):
            latest = (
                select(_w.ContentDigest, func.max(_w.ReceivedAt).label("ReceivedAt"))
                .where(*mine, _w.ContentDigest.in_(chunk))
                .group_by(_w.ContentDigest)
                .subquery()
            )
            same = (_w.ContentDigest == latest.c.ContentDigest) & (_w.ReceivedAt == latest.c.ReceivedAt)
            rows = (
                select(_w.ContentDigest, _w.IncomingWebhookId, _w.ReceivedAt).join(latest, same).where(*mine)
            )
            for digest, webhook_id, at in self._connection.execute(rows):
                found[digest] = (webhook_id, at)
        return found

    def same_bodies_since(self, tenant_id: UUID, integration_id: UUID, since: datetime) -> int:
        # IX_IncomingWebhook_Integration
        counted = select(func.count()).where(
            _w.TenantId == tenant_id,
            _w.IntegrationId == integration_id,
            _w.ReceivedAt > since,
            _w.SameBodyAs.is_not(None),
        )
        return int(self._connection.execute(counted).scalar_one())

    def add(
        self, tenant_id: UUID, bodies: Sequence[IncomingBody], webhooks: Sequence[IncomingWebhook]
    ) -> None:
        requests = [
            {
                "IncomingBodyId": body.incoming_body_id,
                "TenantId": tenant_id,
                "IntegrationId": body.integration_id,
                "Request": body.sealed,
                "ReceivedAt": body.received_at,
            }
            for body in bodies
        ]
        with raising_when_taken(AlreadyStored):
            self._connection.execute(_INSERT_BODY, requests)
            self._connection.execute(_INSERT, [_values(tenant_id, webhook) for webhook in webhooks])

    def page(
        self, tenant_id: UUID, integration_id: UUID, filter_: IncomingFilter, page: PageRequest
    ) -> Page[IncomingWebhook]:
        # IX_IncomingWebhook_Integration
        statement = _filtered(tenant_id, integration_id, filter_)
        ordered = statement.order_by(_w.ReceivedAt.desc(), _w.IncomingWebhookId.desc())
        return page_of(self._connection, ordered, page, _webhook_of)

    def get(self, tenant_id: UUID, integration_id: UUID, incoming_webhook_id: UUID) -> IncomingWebhook:
        statement = _ROW.where(
            _w.IncomingWebhookId == incoming_webhook_id,
            _w.TenantId == tenant_id,
            _w.IntegrationId == integration_id,
        )
        return _webhook_of(row_of(self._connection, statement, "incoming webhook"))

    def body(self, tenant_id: UUID, incoming_body_id: UUID) -> IncomingBody | None:
        row = self._connection.execute(
            select(_b.IntegrationId, _b.Request, _b.ReceivedAt).where(
                _b.IncomingBodyId == incoming_body_id, _b.TenantId == tenant_id
            )
        ).first()
        if row is None:
            return None
        integration_id, sealed, received_at = row
        return IncomingBody(incoming_body_id, tenant_id, integration_id, sealed, received_at)

    def raised(self, tenant_id: UUID, event_id: str) -> str | None:
        return next((event.data for event in events_of(self._connection, tenant_id, [event_id])), None)

    def update(self, tenant_id: UUID, webhook: IncomingWebhook) -> None:
        changed = self._connection.execute(
            update(incoming_webhooks)
            .where(
                _w.IncomingWebhookId == webhook.incoming_webhook_id,
                _w.TenantId == tenant_id,
                _w.Attempts == webhook.attempts - 1,
            )
            .values(
                Status=webhook.status,
                Attempts=webhook.attempts,
                EventId=webhook.event_id,
                ProcessedAt=webhook.processed_at,
                ErrorMessage=webhook.error_message,
            )
        )
        if changed.rowcount != 1:
            raise Conflict("Someone else is retrying this webhook.")

    def endpoint(self, tenant_id: UUID, integration_id: UUID) -> IncomingEndpoint:
        row = self._connection.execute(
            select(incoming_endpoints).where(_e.IntegrationId == integration_id, _e.TenantId == tenant_id)
        ).first()
        if row is None:
            return IncomingEndpoint(integration_id, tenant_id)
        return IncomingEndpoint(
            integration_id=row.IntegrationId,
            tenant_id=row.TenantId,
            allowed_ips=json.loads(row.AllowedIps),
            token_hash=row.TokenHash,
            previous_token_hash=row.PreviousTokenHash,
            previous_expires_at=row.PreviousExpiresAt,
            rotated_at=row.RotatedAt,
            refused_count=row.RefusedCount,
            last_refused_at=row.LastRefusedAt,
            last_refusal=row.LastRefusal,
            repeat_window_seconds=row.RepeatWindowSeconds,
            version=row.Version,
        )

    def save_endpoint(self, tenant_id: UUID, endpoint: IncomingEndpoint) -> None:
        self._ensure(tenant_id, endpoint.integration_id)
        key = {"IntegrationId": endpoint.integration_id, "TenantId": tenant_id}
        values = {
            "AllowedIps": json.dumps(endpoint.allowed_ips),
            "TokenHash": endpoint.token_hash,
            "PreviousTokenHash": endpoint.previous_token_hash,
            "PreviousExpiresAt": endpoint.previous_expires_at,
            "RotatedAt": endpoint.rotated_at,
            "RepeatWindowSeconds": endpoint.repeat_window_seconds,
        }
        update_version(
            self._connection,
            incoming_endpoints,
            key,
            values,
            version=endpoint.version,
            what="incoming address",
        )

    def count_refusals(
        self, tenant_id: UUID, integration_id: UUID, count: int, reason: str, *, at: datetime
    ) -> None:
        self._ensure(tenant_id, integration_id)
        self._connection.execute(
            update(incoming_endpoints)
            .where(_e.IntegrationId == integration_id, _e.TenantId == tenant_id)
            .values(RefusedCount=_e.RefusedCount + count, LastRefusedAt=at, LastRefusal=cut(reason, 400))
        )

    def delete_bodies_before(self, cutoff: datetime, limit: int) -> int:
        # IX_IncomingBody_Received
        oldest = delete_first(incoming_bodies, _b.ReceivedAt < cutoff, order_by=_b.ReceivedAt, limit=limit)
        return self._connection.execute(oldest).rowcount

    def forget_before(self, cutoff: datetime, limit: int) -> int:
        # IX_IncomingWebhook_Received
        oldest = delete_first(incoming_webhooks, _w.ReceivedAt < cutoff, order_by=_w.ReceivedAt, limit=limit)
        return self._connection.execute(oldest).rowcount

    def _ensure(self, tenant_id: UUID, integration_id: UUID) -> None:
        there = select(_e.IntegrationId).where(_e.IntegrationId == integration_id)
        if self._connection.execute(there).first() is None:
            with guarded_by_unique_key():
                self._connection.execute(
                    insert(incoming_endpoints).values(
                        IntegrationId=integration_id, TenantId=tenant_id, AllowedIps="[]", Version=0
                    )
                )


def _webhook_of(row: Any) -> IncomingWebhook:
    """Read a row of _ROW."""
    return IncomingWebhook(*row)


def _filtered(tenant_id: UUID, integration_id: UUID, filter_: IncomingFilter) -> Select[Any]:
    statement = _ROW.where(_w.TenantId == tenant_id, _w.IntegrationId == integration_id)
    if filter_.statuses:
        statement = statement.where(unindexed(_w.Status).in_(filter_.statuses))
    if filter_.event_types:
        statement = statement.where(_w.EventType.in_(filter_.event_types))
    return within(statement, _w.ReceivedAt, filter_.since, filter_.until)


def _values(tenant_id: UUID, webhook: IncomingWebhook) -> dict[str, Any]:
    return {
        "IncomingWebhookId": webhook.incoming_webhook_id,
        "TenantId": tenant_id,
        "IntegrationId": webhook.integration_id,
        "IncomingBodyId": webhook.incoming_body_id,
        "ProviderEventId": webhook.provider_event_id,
        "EventType": webhook.event_type,
        "Status": webhook.status,
        "Attempts": webhook.attempts,
        "ReceivedAt": webhook.received_at,
        "SourceIP": webhook.source_ip,
        "OccurredAt": webhook.occurred_at,
        "EventId": webhook.event_id,
        "ProcessedAt": webhook.processed_at,
        "ErrorMessage": webhook.error_message,
        "ContentDigest": webhook.content_digest,
        "SameBodyAs": webhook.same_body_as,
        "UnsignedFields": webhook.unsigned_fields,
    }
