"""Storing verified events in the inbox, and what they raise in the outbox, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.group_commit import GroupCommit
from domain.core.ports import Cipher, IdGenerator
from domain.core.transaction import Transactions, repeated
from domain.incoming import events
from domain.incoming.model import IncomingBody, IncomingStatus, IncomingWebhook, body_context
from domain.incoming.ports import AlreadyStored, IncomingTransaction
from domain.incoming.rules import event_type, id_in_inbox, request_text, unreadable_id
from domain.integrations.model import Integration
from domain.journal.events import DomainEvent
from domain.providers.contract import IncomingRequest, VerifiedEvent

_TRIES = 3
#: A row of the inbox and what it raises.
_Made = tuple[IncomingWebhook, list[DomainEvent]]


@dataclass(frozen=True, slots=True)
class _InboxEntry:
    """The rows of one request, by the provider's event ids."""

    body: IncomingBody
    made: Mapping[str, _Made]

    def take_new(self, known: set[str]) -> list[_Made]:
        """Return the rows whose id is not in `known`, and add all ids to it."""
        new = [made for key, made in self.made.items() if key not in known]
        known.update(self.made)
        return new


class Inbox:
    """Stores each event of a provider once, even when requests race. Requests of one process share transactions."""

    def __init__(
        self,
        transactions: Transactions[IncomingTransaction],
        cipher: Cipher,
        ids: IdGenerator,
        *,
        event_max_bytes: int,
    ) -> None:
        self._transactions = transactions
        self._cipher = cipher
        self._ids = ids
        self._event_max_bytes = event_max_bytes
        self._together: GroupCommit[_InboxEntry, int] = GroupCommit(self._write)

    def store(
        self,
        integration: Integration,
        request: IncomingRequest,
        verified: Sequence[VerifiedEvent],
        *,
        source_ip: str | None,
        traceparent: str | None,
    ) -> int:
        """Store the events (Failed: not raisable) and return how many were new. Raises Unavailable."""
        body_id = self._ids.new()
        made: dict[str, _Made] = {}
        for event in verified:
            webhook = self._webhook(integration, request, event, source_ip)
            if webhook.provider_event_id not in made:
                webhook = replace(webhook, incoming_body_id=body_id)
                made[webhook.provider_event_id] = self._raise(webhook, event, traceparent)
        return self._store(integration, request, made)

    def keep_unreadable(
        self, integration: Integration, request: IncomingRequest, reason: str, source_ip: str | None
    ) -> int:
        """Keep a verified body that cannot be read as Failed, so that it can be retried; return 0 for a repeat."""
        event = VerifiedEvent(unreadable_id(request.body), "unreadable", {})
        webhook = _failed(self._webhook(integration, request, event, source_ip), reason)
        return self._store(integration, request, {webhook.provider_event_id: (webhook, [])})

    def _store(self, integration: Integration, request: IncomingRequest, made: Mapping[str, _Made]) -> int:
        body_id = next(iter(made.values()))[0].incoming_body_id
        body = IncomingBody(
            body_id,
            integration.tenant_id,
            integration.integration_id,
            # Sealed outside the transaction: the embedded database has one writer, who should not wait for it.
            sealed=self._cipher.seal(request_text(request), context=body_context(body_id)),
            received_at=request.received_at,
        )
        return self._together.submit(_InboxEntry(body, made))

    def _write(self, entries: Sequence[_InboxEntry]) -> list[int]:
        for _ in range(_TRIES):
            try:
                return self._write_once(entries)
            except AlreadyStored:
                continue  # the next look finds them
        raise Unavailable("The same webhook is being stored by other requests; send it again.")

    @repeated
    def _write_once(self, entries: Sequence[_InboxEntry]) -> list[int]:
        by_integration: dict[tuple[UUID, UUID], list[int]] = {}
        for number, entry in enumerate(entries):
            name = (entry.body.tenant_id, entry.body.integration_id)
            by_integration.setdefault(name, []).append(number)
        counts = [0] * len(entries)
        raised: list[DomainEvent] = []
        with self._transactions.write() as tx:
            for (tenant_id, integration_id), numbers in by_integration.items():
                asked = {key for number in numbers for key in entries[number].made}
                known = tx.incoming.known(tenant_id, integration_id, asked)
                new = {number: entries[number].take_new(known) for number in numbers}
                bodies = [entries[number].body for number, made in new.items() if made]
                if bodies:
                    webhooks = [webhook for made in new.values() for webhook, _ in made]
                    tx.incoming.add(tenant_id, bodies, webhooks)
                for number, made in new.items():
                    counts[number] = len(made)
                    raised += [event for _, events_ in made for event in events_]
            if any(counts):
                tx.outbox.append(raised)
                tx.commit()
        return counts

    def _webhook(
        self, integration: Integration, request: IncomingRequest, event: VerifiedEvent, source_ip: str | None
    ) -> IncomingWebhook:
        return IncomingWebhook(
            incoming_webhook_id=self._ids.new(),
            tenant_id=integration.tenant_id,
            integration_id=integration.integration_id,
            incoming_body_id=self._ids.new(),
            provider_event_id=id_in_inbox(event),
            event_type=event_type(integration.provider, event.type),
            status=IncomingStatus.Processed,
            attempts=1,
            received_at=request.received_at,
            source_ip=source_ip,
            occurred_at=event.occurred_at,
            processed_at=request.received_at,
        )

    def _raise(self, webhook: IncomingWebhook, event: VerifiedEvent, traceparent: str | None) -> _Made:
        if event.unreadable is not None:
            return _failed(webhook, event.unreadable), []
        try:
            payload = events.payload_of(event.data, self._event_max_bytes)
        except events.NotRaisable as error:
            return _failed(webhook, str(error)), []
        raised = events.provider_event(webhook, payload, traceparent)
        return replace(webhook, event_id=raised.event_id), [events.received(webhook, traceparent), raised]


def _failed(webhook: IncomingWebhook, reason: str) -> IncomingWebhook:
    return replace(webhook, status=IncomingStatus.Failed, processed_at=None, error_message=reason)
