"""Sweep (section 14.1): the scheduled jobs of webhooks, which are the retry processor and the clean-up."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from domain.core.ports import Clock, IdGenerator, QueueSender
from domain.core.transaction import Transactions, each_step, in_steps
from domain.webhooks.fan_out import MESSAGE_GRACE, send_deliveries
from domain.webhooks.model import DELIVERY_FAILED
from domain.webhooks.notices import delivery_expired
from domain.webhooks.ports import EndpointTally, PipelineTransaction, Requeued
from domain.webhooks.record import listeners

logger = logging.getLogger("hub.webhooks")

PER_TRANSACTION = 500
DELETED_PER_TRANSACTION = 1_000
_PER_RUN = 20_000


@dataclass(frozen=True, slots=True)
class Swept:
    requeued: int = 0
    interrupted: int = 0
    expired: int = 0


class RetryProcessor:
    """The safety net under the precise schedule: a delivery that is due and was not attempted is queued again."""

    def __init__(
        self,
        transactions: Transactions[PipelineTransaction],
        queue: QueueSender,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._transactions = transactions
        self._queue = queue
        self._clock = clock
        self._ids = ids

    def sweep(self) -> Swept:
        """Queue again what is due; at most 20,000 deliveries a run. Idempotent. Raises Unavailable."""
        self._release()
        self._wake()
        requeued = interrupted = expired = 0
        most = _PER_RUN // PER_TRANSACTION
        for found in each_step(self._transactions, self._requeue, PER_TRANSACTION, most=most):
            send_deliveries(self._queue, found.due)
            requeued += len(found.due)
            interrupted += found.interrupted
            expired += len(found.expired)
        return Swept(requeued, interrupted, expired)

    def _release(self) -> None:
        with self._transactions.write() as tx:
            released = tx.pipeline.release_stranded(self._clock.now())
            tx.commit()
        if released:
            logger.info("held deliveries of active webhooks released", extra={"deliveries": released})

    def _wake(self) -> None:
        """Give the turn in lines where nobody has it. What there is to do is read without the lock of a writer."""
        with self._transactions.read() as tx:
            stranded = tx.pipeline.stranded_lines(self._clock.now(), _PER_RUN)
        for first in range(0, len(stranded), PER_TRANSACTION):
            now = self._clock.now()
            with self._transactions.write() as tx:
                some = stranded[first : first + PER_TRANSACTION]
                due = tx.pipeline.give_turns(some, now=now, requeue_at=now + MESSAGE_GRACE)
                tx.commit()
            send_deliveries(self._queue, due)
            logger.warning("lines in which nobody had the turn go on", extra={"deliveries": len(due)})

    def _requeue(self, tx: PipelineTransaction) -> tuple[int, Requeued]:
        now = self._clock.now()
        found = tx.pipeline.requeue_due(now=now, again_at=now + MESSAGE_GRACE, limit=PER_TRANSACTION)
        expired = found.expired
        failed = Counter(
            delivery.webhook_id for delivery in expired if not delivery.was_held and not delivery.is_test
        )
        tallies = [EndpointTally(webhook_id, failed_for_good=count) for webhook_id, count in failed.items()]
        tx.pipeline.tally(tallies, now)
        told = [delivery for delivery in expired if not delivery.is_about_delivery]
        heard = listeners(tx, {delivery.tenant_id for delivery in told})
        told = [delivery for delivery in told if (delivery.tenant_id, DELIVERY_FAILED) in heard]
        tx.outbox.append([delivery_expired(self._ids, delivery, now) for delivery in told])
        return len(found.due) + len(expired), found


class DeliveryCleanup:
    """Deletes deliveries and events past their retention (section 17.2), a bounded number a run."""

    def __init__(
        self, transactions: Transactions[PipelineTransaction], clock: Clock, *, retention: timedelta
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._retention = retention

    def delete_old(self, *, transactions: int = 500) -> tuple[int, int]:
        """Delete, and return how many deliveries and events were deleted."""
        cutoff = self._clock.now() - self._retention

        def drain(delete: Callable[[PipelineTransaction], int]) -> int:
            return in_steps(self._transactions, delete, DELETED_PER_TRANSACTION, most=transactions)

        return (
            drain(lambda tx: tx.pipeline.delete_before(cutoff, DELETED_PER_TRANSACTION)),
            drain(lambda tx: tx.outbox.delete_before(cutoff, DELETED_PER_TRANSACTION)),
        )
