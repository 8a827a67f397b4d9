"""Use cases about deliveries: look, retry one, replay a range, send a test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from domain.core.errors import Conflict, Unavailable, ValidationFailed
from domain.core.paging import Page, PageRequest
from domain.core.permissions import WEBHOOK_MANAGE
from domain.core.ports import Clock, IdGenerator, QueueSender
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.journal.event_types import FROM_TEST, ReservedTypes
from domain.journal.events import DomainEvent, check_payload, event_data
from domain.journal.outbox import check_types
from domain.webhooks.deliver import DeliveryEngine
from domain.webhooks.fan_out import MESSAGE_GRACE, send_deliveries
from domain.webhooks.model import (
    TEST_EVENT,
    Delivery,
    DeliveryStatus,
    Replay,
    TestWebhook,
    Webhook,
    WebhookState,
)
from domain.webhooks.notices import record_act
from domain.webhooks.ports import (
    ClaimedDelivery,
    DeliveryFilter,
    DeliveryTransaction,
    Due,
    NewDelivery,
    Restarted,
)

REPLAY_AT_MOST = 10_000
_SAMPLE = event_data({"message": "A test from Integration Hub."})
_RETRYABLE = (DeliveryStatus.Failed, DeliveryStatus.Expired, DeliveryStatus.Retrying)


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many deliveries were queued again; `more` when the range held more than one request takes."""

    replayed: int
    more: bool


class DeliveryService:
    def __init__(
        self,
        transactions: Transactions[DeliveryTransaction],
        queue: QueueSender,
        engine: DeliveryEngine,
        clock: Clock,
        *,
        ids: IdGenerator,
        expiry: timedelta,
        lease_margin_seconds: int,
        event_max_bytes: int,
        reserved: ReservedTypes,
    ) -> None:
        self._transactions = transactions
        self._queue = queue
        self._engine = engine
        self._clock = clock
        self._ids = ids
        self._expiry = expiry
        self._lease_margin_seconds = lease_margin_seconds
        self._event_max_bytes = event_max_bytes
        self._reserved = reserved

    def page(
        self, principal: Principal, webhook_id: UUID, filter_: DeliveryFilter, page: PageRequest
    ) -> Page[Delivery]:
        """Return a page of deliveries, newest first. Raises NotFound."""
        principal.require(WEBHOOK_MANAGE)
        with self._transactions.read() as tx:
            tx.webhooks.get(principal.tenant_id, webhook_id)
            return tx.deliveries.page(principal.tenant_id, webhook_id, filter_, page)

    def get(self, principal: Principal, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Return a delivery with its payload and attempts. Raises NotFound."""
        principal.require(WEBHOOK_MANAGE)
        with self._transactions.read() as tx:
            return tx.deliveries.get(principal.tenant_id, webhook_id, delivery_id)

    @repeated
    def retry(self, principal: Principal, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Send a delivery that failed, expired or waits now, with a fresh retry budget. Raises NotFound, Conflict."""
        principal.require(WEBHOOK_MANAGE)
        with self._transactions.write() as tx:
            webhook = _active(tx, principal.tenant_id, webhook_id)
            delivery = tx.deliveries.get(principal.tenant_id, webhook_id, delivery_id)
            _require_retryable(delivery)
            reset = self._reset(tx, webhook, [delivery_id])
            after = tx.deliveries.get(principal.tenant_id, webhook_id, delivery_id)
            what = {"webhookDeliveryId": delivery_id}
            record_act(tx, principal, "webhook.delivery-retried", webhook_id, what=what)
            tx.commit()
        self._queue_now(reset.due)
        return after

    @repeated
    def replay(self, principal: Principal, webhook_id: UUID, command: Replay) -> Replayed:
        """Send the deliveries that ended in the range again, oldest first, at most 10,000.

        Raises NotFound, Conflict, ValidationFailed."""
        principal.require(WEBHOOK_MANAGE)
        until = command.until or self._clock.now()
        if until <= command.since:
            raise ValidationFailed("`from` must be before `to`.")
        filter_ = DeliveryFilter(
            statuses=[DeliveryStatus[name] for name in command.status],
            event_types=command.event_types or (),
            since=command.since,
            until=until,
        )
        with self._transactions.write() as tx:
            webhook = _active(tx, principal.tenant_id, webhook_id)
            found = tx.deliveries.find(principal.tenant_id, webhook_id, filter_, REPLAY_AT_MOST + 1)
            reset = self._reset(tx, webhook, found[:REPLAY_AT_MOST])
            what = {
                "from": command.since,
                "to": until,
                "status": list(command.status),
                "eventTypes": command.event_types,
                "replayed": reset.changed,
            }
            record_act(tx, principal, "webhook.replayed", webhook_id, what=what)
            tx.commit()
        self._queue_now(reset.due)
        return Replayed(reset.changed, more=len(found) > REPLAY_AT_MOST)

    async def test(self, principal: Principal, webhook_id: UUID, command: TestWebhook) -> Delivery:
        """Post a sample event now, as a delivery that is never retried. Raises NotFound, ValidationFailed, TooLarge.

        It is signed as every event is, so it may not have a type of the hub or a provider, `webhook.test` aside."""
        principal.require(WEBHOOK_MANAGE)
        if command.event_type != TEST_EVENT:
            check_types(self._reserved, [(command.event_type, "/eventType")])
        claimed = await asyncio.to_thread(self._prepare_test, principal, webhook_id, command)
        await self._engine.attempt_now(claimed)
        return await asyncio.to_thread(self.get, principal, webhook_id, claimed.webhook_delivery_id)

    # -- steps --------------------------------------------------------------------------------------------

    @repeated
    def _prepare_test(self, principal: Principal, webhook_id: UUID, command: TestWebhook) -> ClaimedDelivery:
        now = self._clock.now()
        data = command.data.text if command.data is not None else _SAMPLE
        event = DomainEvent(
            event_id=str(self._ids.new()),
            tenant_id=principal.tenant_id,
            type=command.event_type,
            data=data,
            occurred_at=now,
            subject=f"webhook/{webhook_id}",
            origin=FROM_TEST,
        )
        check_payload(event.size, self._event_max_bytes)
        new = NewDelivery(self._ids.new(), webhook_id, event, is_held=False, is_test=True)
        with self._transactions.write() as tx:
            tx.webhooks.get(principal.tenant_id, webhook_id)
            tx.outbox.append([event], fanned_out_at=now)
            tx.pipeline.add_deliveries(
                [new], now=now, expires_at=now + self._expiry, requeue_at=now + MESSAGE_GRACE
            )
            [endpoint] = tx.pipeline.endpoints([webhook_id], now)
            [claimed] = tx.pipeline.claim(
                [(self._engine.unseal(endpoint), [new.webhook_delivery_id])],
                lease_id=self._ids.new(),
                now=now,
                margin_seconds=self._lease_margin_seconds,
            )
            what = {"eventType": command.event_type, "webhookDeliveryId": new.webhook_delivery_id}
            record_act(tx, principal, "webhook.tested", webhook_id, what=what)
            tx.commit()
        return claimed

    def _reset(self, tx: DeliveryTransaction, webhook: Webhook, delivery_ids: Sequence[UUID]) -> Restarted:
        now = self._clock.now()
        return tx.deliveries.reset(
            webhook.tenant_id,
            delivery_ids,
            ordering=webhook.ordering,
            now=now,
            expires_at=now + self._expiry,
            requeue_at=now + MESSAGE_GRACE,
        )

    def _queue_now(self, due: Sequence[Due]) -> None:
        with suppress(Unavailable):  # durable already: the retry processor queues them
            send_deliveries(self._queue, due)


def _require_retryable(delivery: Delivery) -> None:
    if delivery.delivery_status in _RETRYABLE:
        return
    if delivery.waits_for is not None:
        detail = f"It waits for its turn: delivery {delivery.waits_for} of the same subject comes first."
    else:
        detail = (
            f"A delivery that is {delivery.delivery_status.name} cannot be retried; "
            "use the webhook's replay to send a delivered one again."
        )
    raise Conflict(detail, code="not-retryable")


def _active(tx: DeliveryTransaction, tenant_id: UUID, webhook_id: UUID) -> Webhook:
    webhook = tx.webhooks.get(tenant_id, webhook_id)
    if webhook.state != WebhookState.Active:
        detail = f"The webhook is {webhook.state.name}; activate it first, which also sends what was held."
        raise Conflict(detail, code="webhook-not-active")
    return webhook
