"""Storing verified events in the inbox, and what they raise in the outbox, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
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
from domain.journal.bursts import Burst, BurstSource
from domain.journal.events import DomainEvent
from domain.providers.contract import IncomingRequest, VerifiedEvent

_TRIES = 3
#: A row of the inbox and what it raises.
_Made = tuple[IncomingWebhook, list[DomainEvent]]
#: The latest row of each content.
_Last = dict[str, tuple[UUID, datetime]]
#: More equal bodies under new ids within an hour are told.
SAME_BODIES_AN_HOUR = 10


@dataclass(frozen=True, slots=True)
class _InboxEntry:
    """The rows of one request, by the provider's event ids; `name` is the integration's."""

    name: str
    body: IncomingBody
    made: Mapping[str, _Made]
    windows: Mapping[str, timedelta]

    def take_new(self, known: set[str], last: _Last) -> list[_Made]:
        """Return the rows that are no repeats, and add them to `known` and `last`."""
        new = []
        for key, (made, raised) in self.made.items():
            before = last.get(made.content_digest) if made.content_digest else None
            webhook = _unless_repeated(made, before, self.windows.get(key)) if key in known else made
            if webhook is None:
                continue
            if before is not None and webhook.content_digest != key:
                webhook = replace(webhook, same_body_as=before[0])
            known.add(key)
            if webhook.content_digest is not None:
                last[webhook.content_digest] = (webhook.incoming_webhook_id, webhook.received_at)
            new.append((webhook, raised))
        return new


def _unless_repeated(
    webhook: IncomingWebhook, before: tuple[UUID, datetime] | None, window: timedelta | None
) -> IncomingWebhook | None:
    """Return an event whose content came before under its own id of this time; None while that makes it a repeat."""
    if before is None or window is None or webhook.received_at < before[1] + window:
        return None
    # The moment of the one before makes the id: of two requests that race, one stores it.
    moment = f"{webhook.provider_event_id}.{before[1]:%Y%m%d%H%M%S%f}"
    return replace(webhook, provider_event_id=moment)


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
        repeat_window: int | None = None,
        hops: int = 0,
    ) -> int:
        """Store the events (Failed: not raisable) and return how many were new. Raises Unavailable."""
        body_id = self._ids.new()
        made: dict[str, _Made] = {}
        windows: dict[str, timedelta] = {}
        for event in verified:
            webhook = self._webhook(integration, request, event, source_ip)
            if webhook.provider_event_id not in made:
                webhook = replace(webhook, incoming_body_id=body_id)
                made[webhook.provider_event_id] = self._raise(
                    webhook, event, integration.provider, traceparent, hops=hops
                )
                seconds = event.repeat_seconds or repeat_window
                if seconds is not None and webhook.provider_event_id == event.content_digest:
                    windows[webhook.provider_event_id] = timedelta(seconds=seconds)
        return self._store(integration, request, made, windows)

    def keep_unreadable(
        self, integration: Integration, request: IncomingRequest, reason: str, source_ip: str | None
    ) -> int:
        """Keep a verified body that cannot be read as Failed, so that it can be retried; return 0 for a repeat."""
        event = VerifiedEvent(unreadable_id(request.body), "unreadable", {})
        webhook = _failed(self._webhook(integration, request, event, source_ip), reason)
        return self._store(integration, request, {webhook.provider_event_id: (webhook, [])}, {})

    def _store(
        self,
        integration: Integration,
        request: IncomingRequest,
        made: Mapping[str, _Made],
        windows: Mapping[str, timedelta],
    ) -> int:
        body_id = next(iter(made.values()))[0].incoming_body_id
        body = IncomingBody(
            body_id,
            integration.tenant_id,
            integration.integration_id,
            # Sealed outside the transaction: the embedded database has one writer, who should not wait for it.
            sealed=self._cipher.seal(request_text(request), context=body_context(body_id)),
            received_at=request.received_at,
        )
        return self._together.submit(_InboxEntry(integration.name, body, made, windows))

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
                digests = _digests(entries[number] for number in numbers)
                last = tx.incoming.last_with(tenant_id, integration_id, digests) if digests else {}
                new = {number: entries[number].take_new(known, last) for number in numbers}
                bodies = [entries[number].body for number, made in new.items() if made]
                if bodies:
                    webhooks = [webhook for made in new.values() for webhook, _ in made]
                    tx.incoming.add(tenant_id, bodies, webhooks)
                    _count_same_bodies(tx, entries[numbers[0]].name, webhooks)
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
            content_digest=event.content_digest,
            unsigned_fields=",".join(event.unsigned) or None,
        )

    def _raise(
        self,
        webhook: IncomingWebhook,
        event: VerifiedEvent,
        provider: str,
        traceparent: str | None,
        *,
        hops: int,
    ) -> _Made:
        if event.unreadable is not None:
            return _failed(webhook, event.unreadable), []
        try:
            payload = events.payload_of(event.data, self._event_max_bytes)
        except events.NotRaisable as error:
            return _failed(webhook, str(error)), []
        raised = events.provider_event(webhook, provider, payload, traceparent, hops=hops)
        told = events.received(webhook, traceparent, hops=hops)
        return replace(webhook, event_id=raised.event_id), [told, raised]


def _digests(entries: Iterable[_InboxEntry]) -> set[str]:
    made = (webhook for entry in entries for webhook, _ in entry.made.values())
    return {webhook.content_digest for webhook in made if webhook.content_digest is not None}


def _count_same_bodies(tx: IncomingTransaction, name: str, webhooks: Sequence[IncomingWebhook]) -> None:
    """Count equal bodies under new ids as a burst once there are too many: a capture may be replayed."""
    same = [webhook for webhook in webhooks if webhook.same_body_as is not None]
    if not same:
        return
    one, count, source = same[-1], len(same), BurstSource.SameBodies
    started_at = same[0].received_at
    tenant_id, subject = one.tenant_id, str(one.integration_id)
    if not tx.bursts.has(tenant_id, source, subject):
        started_at = one.received_at - timedelta(hours=1)
        count = tx.incoming.same_bodies_since(tenant_id, one.integration_id, started_at)
        if count <= SAME_BODIES_AN_HOUR:
            return
    burst = Burst(
        tenant_id,
        source,
        subject,
        name,
        started_at=started_at,
        last_at=one.received_at,
        count=count,
        source_ip=one.source_ip,
    )
    tx.bursts.add(burst)


def _failed(webhook: IncomingWebhook, reason: str) -> IncomingWebhook:
    return replace(webhook, status=IncomingStatus.Failed, processed_at=None, error_message=reason)
