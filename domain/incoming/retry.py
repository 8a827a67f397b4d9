"""Raising an incoming webhook again: from its event where there is one, else from the stored request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from domain.core.errors import Conflict
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Cipher, Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.incoming import events
from domain.incoming.inbox import Inbox
from domain.incoming.model import IncomingStatus, IncomingWebhook, body_context
from domain.incoming.ports import IncomingTransaction
from domain.incoming.receive import TOO_LARGE_DECODED, understood
from domain.incoming.rules import UNREADABLE, id_in_inbox, read_request
from domain.integrations.connection import ConnectionCache
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.journal.audit import AuditEntry
from domain.providers.content import ContentTooLarge
from domain.providers.contract import IncomingRequest, ProviderFailure, SignatureRefused, VerifiedEvent


class IncomingRetries:
    def __init__(
        self,
        transactions: Transactions[IncomingTransaction],
        connections: ConnectionCache,
        inbox: Inbox,
        cipher: Cipher,
        *,
        lifecycle: Lifecycle,
        clock: Clock,
        event_max_bytes: int,
    ) -> None:
        self._transactions = transactions
        self._connections = connections
        self._inbox = inbox
        self._cipher = cipher
        self._lifecycle = lifecycle
        self._clock = clock
        self._event_max_bytes = event_max_bytes

    async def retry(
        self, principal: Principal, integration_id: UUID, incoming_webhook_id: UUID, traceparent: str | None
    ) -> IncomingWebhook:
        """Raise the event again, under a new event id. One that fails again stays Failed with the reason.

        Raises Forbidden, NotFound, Conflict (`content-gone`, or another caller retries it too), Unavailable."""
        principal.require(INTEGRATION_MANAGE)
        before, payload = await asyncio.to_thread(
            self._raised, principal, integration_id, incoming_webhook_id
        )
        reason: str | None = None
        if payload is None:
            try:
                payload = await self._reread(before, traceparent)
            except (events.NotRaisable, SignatureRefused) as error:
                reason = str(error)
            except ContentTooLarge:
                reason = TOO_LARGE_DECODED
            except ProviderFailure as failure:
                reason = failure.detail
        return await asyncio.to_thread(
            self._record, principal, before, payload, reason, traceparent=traceparent
        )

    def _raised(
        self, principal: Principal, integration_id: UUID, incoming_webhook_id: UUID
    ) -> tuple[IncomingWebhook, str | None]:
        """Return the payload of the event raised before, None when there was none."""
        with self._transactions.read() as tx:
            webhook = tx.incoming.get(principal.tenant_id, integration_id, incoming_webhook_id)
            if webhook.event_id is None:
                return webhook, None
            payload = tx.incoming.raised(webhook.tenant_id, webhook.event_id)
        if payload is None:
            raise _gone()
        return webhook, payload

    async def _reread(self, webhook: IncomingWebhook, traceparent: str | None) -> str | None:
        """Return the payload by asking the adapter again, as of the receipt: a secret changed since refuses it.

        None for a body that has become readable: its events are stored like any others."""
        integration, request = await asyncio.to_thread(self._stored, webhook)
        provider, connection = await asyncio.to_thread(
            self._connections.connect, integration, now=request.received_at
        )
        try:
            answer = await understood(provider, connection, request)
        except ProviderFailure as failure:
            await asyncio.to_thread(self._lifecycle.heed, integration, failure)
            raise
        still = next(
            (event for event in answer.events if id_in_inbox(event) == webhook.provider_event_id), None
        )
        if still is not None and still.unreadable is not None:
            raise events.NotRaisable(still.unreadable)
        if webhook.provider_event_id.startswith(UNREADABLE):
            store, ip = self._inbox.store, webhook.source_ip
            await asyncio.to_thread(
                store, integration, request, answer.events, source_ip=ip, traceparent=traceparent
            )
            return None
        return events.payload_of(_same(webhook, answer.events).data, self._event_max_bytes)

    def _stored(self, webhook: IncomingWebhook) -> tuple[Integration, IncomingRequest]:
        with self._transactions.read() as tx:
            integration = tx.integrations.get(webhook.tenant_id, webhook.integration_id)
            body = tx.incoming.body(webhook.tenant_id, webhook.incoming_body_id)
        if body is None:
            raise _gone()
        text = self._cipher.open(body.sealed, context=body_context(body.incoming_body_id))
        return integration, read_request(text, body.received_at)

    @repeated
    def _record(
        self,
        principal: Principal,
        before: IncomingWebhook,
        payload: str | None,
        reason: str | None,
        *,
        traceparent: str | None,
    ) -> IncomingWebhook:
        after = replace(
            before, attempts=before.attempts + 1, error_message=reason, status=IncomingStatus.Failed
        )
        if reason is None:
            after = replace(after, status=IncomingStatus.Processed, processed_at=self._clock.now())
        with self._transactions.write() as tx:
            if payload is not None:
                provider = tx.integrations.get(after.tenant_id, after.integration_id).provider
                raised = events.provider_event(after, provider, payload, traceparent)
                after = replace(after, event_id=raised.event_id)
                tx.outbox.append([events.received(after, traceparent), raised])
            tx.incoming.update(principal.tenant_id, after)
            old, new = (
                {"status": webhook.status.name, "attempts": webhook.attempts} for webhook in (before, after)
            )
            target = after.incoming_webhook_id
            entry = AuditEntry("incoming.retried", "incomingWebhook", target, principal, old, new)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return after


def _same(webhook: IncomingWebhook, verified: Sequence[VerifiedEvent]) -> VerifiedEvent:
    for event in verified:
        if id_in_inbox(event) == webhook.provider_event_id:
            return event
    raise events.NotRaisable("The stored request does not contain this event.")


def _gone() -> Conflict:
    return Conflict("The content of this webhook is past its retention and was deleted.", code="content-gone")
