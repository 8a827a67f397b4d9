"""Record results (UC-WH-02 steps 7 and 8): in one transaction all that finished while the last was written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.group_commit import AsyncGroupCommit
from domain.core.ports import Clock, IdGenerator, QueueSender
from domain.core.realtime import NOBODY, Realtime
from domain.core.tracing import trace_fields
from domain.core.transaction import Transactions
from domain.journal.occurrences import ALERT_EVENTS
from domain.webhooks.fan_out import (
    MESSAGE_GRACE,
    WEBHOOK_DELIVERIES_QUEUE,
    DeliveryMessage,
    delivery_messages,
)
from domain.webhooks.model import DELIVERY_EVENTS, DELIVERY_FAILED, SENT, DeliveryStatus
from domain.webhooks.notices import (
    ENDED_BADLY,
    attempted,
    delivery_signals,
    disabled,
    publish_deliveries,
    record_disabled,
)
from domain.webhooks.ports import AttemptResult, EndpointTally, PipelineTransaction
from domain.webhooks.rules import is_real_failure, should_disable

logger = logging.getLogger("hub.webhooks")

_MOST_PER_TRANSACTION = 500
_GATHER_SECONDS = 0.005
_BACKOFF_SECONDS = (0.05, 0.2, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class DisableLimits:
    after_days: int
    after_failures: int


class ResultRecorder:
    """Writes attempts and next states; results that come during a transaction share the next one."""

    def __init__(
        self,
        transactions: Transactions[PipelineTransaction],
        queue: QueueSender,
        clock: Clock,
        ids: IdGenerator,
        *,
        limits: DisableLimits,
        realtime: Realtime = NOBODY,
    ) -> None:
        self._transactions = transactions
        self._queue = queue
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._realtime = realtime
        self._together = AsyncGroupCommit(
            self._write_all, gather=lambda: asyncio.sleep(_GATHER_SECONDS), most=_MOST_PER_TRANSACTION
        )

    async def record(self, result: AttemptResult) -> None:
        """Return once the result is durable, or cannot be: then its lease lapses and it shows as interrupted."""
        await self._together.submit(result)

    async def _write_all(self, results: Sequence[AttemptResult]) -> Sequence[None]:
        """Write the results together; when that is refused, each alone, so that one does not cost the others."""
        try:
            await self._write_with_retries(results)
        except Exception as error:
            if len(results) > 1 and not isinstance(error, Unavailable):
                for result in results:
                    await self._write_all([result])
            else:
                logger.exception(
                    "results not recorded; their leases will lapse", extra={"results": len(results)}
                )
        return [None] * len(results)

    async def _write_with_retries(self, results: Sequence[AttemptResult]) -> None:
        for seconds in _BACKOFF_SECONDS:
            try:
                return await asyncio.to_thread(self.write, results)
            except Unavailable:
                await asyncio.sleep(seconds)
        return await asyncio.to_thread(self.write, results)

    def write(self, results: Sequence[AttemptResult]) -> None:
        """Write attempts, states, counters and events in one transaction.

        Then send the messages of the retries, and of what has its turn now."""
        now = self._clock.now()
        with self._transactions.write() as tx:
            recorded = tx.pipeline.record(results, now=now, requeue_at=now + MESSAGE_GRACE)
            kept = recorded.kept
            counted = [result for result in kept if not result.claimed.is_test]
            self._count(tx, counted, now)
            tx.signals.append(delivery_signals(counted, now))
            self._raise_events(tx, kept, now)
            tx.commit()
        messages = [message.to_queue() for message in delivery_messages(recorded.due)]
        messages += [
            DeliveryMessage(
                result.claimed.endpoint.webhook_id,
                [result.claimed.webhook_delivery_id],
                result.claimed.event.size,
            ).to_queue(result.next_retry_at)
            for result in kept
            if result.next_retry_at is not None
        ]
        if messages:
            try:
                self._queue.send(WEBHOOK_DELIVERIES_QUEUE, messages)
            except Unavailable:
                logger.warning(
                    "retry messages lost, left to the retry processor", extra={"retries": len(messages)}
                )
        publish_deliveries(self._realtime, kept)
        for result in kept:
            _log(result)

    def _count(self, tx: PipelineTransaction, kept: Sequence[AttemptResult], now: datetime) -> None:
        gone = {result.claimed.endpoint.webhook_id for result in kept if result.gone}
        by_webhook = tallies(kept)
        failed = {tally.webhook_id for tally in by_webhook if tally.real_failures}
        for health in tx.pipeline.tally(by_webhook, now):
            reason = None
            if health.webhook_id in gone:
                reason = "The receiver answered 410 Gone."
            elif health.webhook_id in failed:
                reason = should_disable(
                    consecutive_failures=health.consecutive_failures,
                    failing_since=health.failing_since,
                    last_failure_at=now,
                    after_failures=self._limits.after_failures,
                    after_days=self._limits.after_days,
                )
            if reason and tx.pipeline.disable(health.webhook_id, reason):
                tx.outbox.append([disabled(self._ids, health, reason, now)])
                record_disabled(tx, health.tenant_id, health.webhook_id, reason)

    def _raise_events(self, tx: PipelineTransaction, kept: Sequence[AttemptResult], now: datetime) -> None:
        """Raise WebhookSent and WebhookDeliveryFailed; a delivery of one of these raises none: there is no loop."""
        results = [result for result in kept if not result.claimed.event.may_be_of_hub(DELIVERY_EVENTS)]
        heard = listeners(tx, {result.claimed.endpoint.tenant_id for result in results})
        told = [
            result for result in results if (result.claimed.endpoint.tenant_id, _event_type(result)) in heard
        ]
        tx.outbox.append([attempted(self._ids, result, now) for result in told])


def _event_type(result: AttemptResult) -> str:
    return SENT if result.delivery_status == DeliveryStatus.Delivered else DELIVERY_FAILED


def listeners(tx: PipelineTransaction, tenants: Collection[UUID]) -> set[tuple[UUID, str]]:
    """Return the (tenant, event type) pairs of events about deliveries that somebody subscribed to.

    Each attempt has such an event, so those without a subscriber are not stored."""
    names = [(tenant, name.value) for tenant in tenants for name in (SENT, DELIVERY_FAILED)]
    found = tx.pipeline.subscribers(names) if names else ()
    return {(subscriber.tenant_id, subscriber.event_type) for subscriber in found}


def tallies(results: Sequence[AttemptResult]) -> list[EndpointTally]:
    by_webhook: dict[UUID, EndpointTally] = {}
    for result in results:
        key = result.claimed.endpoint.webhook_id
        tally = by_webhook.get(key, EndpointTally(key))
        delivered = result.delivery_status == DeliveryStatus.Delivered
        if not result.claimed.event.may_be_of_hub(ALERT_EVENTS):
            streak = tally.streak + 1 if delivered else 0
            tally = replace(tally, streak=streak, broken=tally.broken or not delivered)
        by_webhook[key] = replace(
            tally,
            delivered=tally.delivered + delivered,
            learns=result.claimed.endpoint.retry_policy.strategy == "adaptive",
            attempts_failed=tally.attempts_failed + (not delivered),
            real_failures=0 if delivered else tally.real_failures + is_real_failure(result),
            outages=tally.outages + result.outage,
            failed_for_good=tally.failed_for_good + (result.delivery_status in ENDED_BADLY),
        )
    return list(by_webhook.values())


def _log(result: AttemptResult) -> None:
    """Log every attempt, success and failure (section 12.2)."""
    level = logging.INFO if result.delivery_status == DeliveryStatus.Delivered else logging.WARNING
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "webhook delivery attempted",
            extra={
                "webhookDeliveryId": str(result.claimed.webhook_delivery_id),
                "webhookId": str(result.claimed.endpoint.webhook_id),
                "tenantId": str(result.claimed.endpoint.tenant_id),
                "eventId": result.claimed.event.event_id,
                "eventType": result.claimed.event.type,
                "attempt": result.attempt.number,
                "deliveryStatus": result.delivery_status.name,
                "httpStatusCode": result.attempt.http_status_code,
                "durationMs": result.attempt.duration_ms,
                "error": result.attempt.error_message,
                **trace_fields(result.traceparent),
            },
        )
