"""Verified events go into the inbox, and what they raise into the outbox, in one transaction."""

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
from domain.incoming.rules import event_type, request_text, stored_event_id, unreadable_id
from domain.integrations.model import Integration
from domain.journal.events import DomainEvent
from domain.providers.contract import IncomingRequest, VerifiedEvent

_TRIES = 3
#: A row of the inbox and what it raises.
_Made = tuple[IncomingWebhook, list[DomainEvent]]


@dataclass(frozen=True, slots=True)
class _Parcel:
    """One request's worth of rows, by the provider's event ids."""

    body: IncomingBody
    made: Mapping[str, _Made]

    def take_new(self, known: set[str]) -> list[_Made]:
        """What is not known, which then is."""
        new = [one for key, one in self.made.items() if key not in known]
        known.update(self.made)
        return new


class Inbox:
    """Stores each of a provider's events once, whoever races. Requests of one process share transactions."""

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
        self._together: GroupCommit[_Parcel, int] = GroupCommit(self._write)

    def store(
        self,
        integration: Integration,
        request: IncomingRequest,
        verified: Sequence[VerifiedEvent],
        *,
        source_ip: str | None,
        traceparent: str | None,
    ) -> int:
        """How many were new. One whose content cannot be raised is kept as Failed. Raises Unavailable."""
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
        """A verified body that makes no sense is kept as Failed, to be looked at and retried; 0 for a repeat."""
        event = VerifiedEvent(unreadable_id(request.body), "unreadable", {})
        webhook = replace(
            self._webhook(integration, request, event, source_ip),
            status=IncomingStatus.Failed,
            processed_at=None,
            error_message=reason,
        )
        return self._store(integration, request, {webhook.provider_event_id: (webhook, [])})

    def _store(self, integration: Integration, request: IncomingRequest, made: Mapping[str, _Made]) -> int:
        # Sealed outside the transaction: the embedded database has one writer, who should not wait for it.
        body = self._body(integration, request, next(iter(made.values()))[0])
        return self._together.submit(_Parcel(body, made))

    def _write(self, parcels: Sequence[_Parcel]) -> list[int]:
        """How many events of each parcel were new."""
        for _ in range(_TRIES):
            try:
                return self._write_once(parcels)
            except AlreadyStored:
                continue  # the next look finds them
        raise Unavailable("The same webhook is being stored by other requests; send it again.")

    @repeated
    def _write_once(self, parcels: Sequence[_Parcel]) -> list[int]:
        by_integration: dict[tuple[UUID, UUID], list[int]] = {}
        for number, parcel in enumerate(parcels):
            name = (parcel.body.tenant_id, parcel.body.integration_id)
            by_integration.setdefault(name, []).append(number)
        counts = [0] * len(parcels)
        raised: list[DomainEvent] = []
        with self._transactions.write() as tx:
            for (tenant_id, integration_id), numbers in by_integration.items():
                asked = {key for number in numbers for key in parcels[number].made}
                known = tx.incoming.known(tenant_id, integration_id, asked)
                new = {number: parcels[number].take_new(known) for number in numbers}
                bodies = [parcels[number].body for number, made in new.items() if made]
                if bodies:
                    webhooks = [webhook for made in new.values() for webhook, _ in made]
                    tx.incoming.add(tenant_id, bodies, webhooks)
                for number, made in new.items():
                    counts[number] = len(made)
                    raised += [event for _, of_one in made for event in of_one]
            if any(counts):
                tx.outbox.append(raised)
                tx.commit()
        return counts

    def _body(
        self, integration: Integration, request: IncomingRequest, webhook: IncomingWebhook
    ) -> IncomingBody:
        body_id = webhook.incoming_body_id
        return IncomingBody(
            incoming_body_id=body_id,
            tenant_id=integration.tenant_id,
            integration_id=integration.integration_id,
            sealed=self._cipher.seal(request_text(request), context=body_context(body_id)),
            received_at=request.received_at,
        )

    def _webhook(
        self, integration: Integration, request: IncomingRequest, event: VerifiedEvent, source_ip: str | None
    ) -> IncomingWebhook:
        return IncomingWebhook(
            incoming_webhook_id=self._ids.new(),
            tenant_id=integration.tenant_id,
            integration_id=integration.integration_id,
            incoming_body_id=self._ids.new(),
            provider_event_id=stored_event_id(event.event_id),
            event_type=event_type(integration.provider, event.type),
            status=IncomingStatus.Processed,
            attempts=1,
            received_at=request.received_at,
            source_ip=source_ip,
            occurred_at=event.occurred_at,
            processed_at=request.received_at,
        )

    def _raise(self, webhook: IncomingWebhook, event: VerifiedEvent, traceparent: str | None) -> _Made:
        try:
            payload = events.payload_of(event.data, self._event_max_bytes)
        except events.NotRaisable as error:
            failed = IncomingStatus.Failed
            return replace(webhook, status=failed, processed_at=None, error_message=str(error)), []
        raised = events.provider_event(webhook, payload, traceparent)
        return replace(webhook, event_id=raised.event_id), [events.received(webhook, traceparent), raised]
