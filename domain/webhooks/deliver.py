"""Delivery (UC-WH-02 steps 4-7): claim a batch, sign, post concurrently, hand the results to the recorder."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.core.ports import (
    Cipher,
    Clock,
    IdGenerator,
    OutboundError,
    OutboundHttp,
    OutboundRequest,
    OutboundResponse,
    QueueSender,
)
from domain.core.tracing import UNTRACED, Tracer, tell_answer
from domain.core.transaction import Transactions
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from domain.webhooks.model import RetryPolicy, WebhookState
from domain.webhooks.notices import attempt_span, post_span, tell_result
from domain.webhooks.ports import AttemptResult, Claimed, Endpoint, PipelineTransaction
from domain.webhooks.record import ResultRecorder
from domain.webhooks.retry_policy import (
    STATUS_AFTER,
    ReceiverAnswer,
    attempt_record,
    decide,
    is_outage,
    learned_delay,
)
from domain.webhooks.signing import event_body, signed_headers
from domain.webhooks.throttle import Pacer, Room

logger = logging.getLogger("hub.webhooks")

_IN_FLIGHT_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Per process: posts in flight in all and per webhook; seconds a queue batch waits for its posts; seconds
    a lease outlasts the timeout; the platform's cap on retries (BR-WH-03); how long a delivery lasts (BR-WH-05)."""

    concurrency: int
    concurrency_per_endpoint: int
    handoff_seconds: float
    lease_margin_seconds: int
    max_retries: int
    expiry: timedelta


class DeliveryEngine:
    """Handles the queue `webhook-deliveries`. One per process; its counters live on the event loop."""

    def __init__(
        self,
        transactions: Transactions[PipelineTransaction],
        http: OutboundHttp,
        queue: QueueSender,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
        pacer: Pacer,
        recorder: ResultRecorder,
        limits: DeliveryLimits,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._transactions = transactions
        self._http = http
        self._queue = queue
        self._cipher = cipher
        self._clock = clock
        self._ids = ids
        self._pacer = pacer
        self._recorder = recorder
        self._limits = limits
        self._tracer = tracer
        self._room = Room(
            most=limits.concurrency,
            most_per_webhook=limits.concurrency_per_endpoint,
            monotonic=time.monotonic,
        )
        self._tasks: set[asyncio.Task[AttemptResult]] = set()
        self._posting: set[UUID] = set()

    async def handle(self, messages: Sequence[DeliveryMessage]) -> None:
        """Attempt what there is room for, defer the rest without touching it.

        Returns when the posts are done, or after the hand-off time: the host runs one batch at a time, so a
        slow endpoint must not keep the next batch waiting. Posts still open go on under their lease, and for a
        minute no batch waits for such an endpoint again.
        Raises Unavailable when the deliveries could not be claimed; repeating is harmless."""
        endpoints = await asyncio.to_thread(self._endpoints, [one.webhook_id for one in messages])
        admitted: list[DeliveryMessage] = []
        deferred: list[tuple[DeliveryMessage, datetime | None]] = []
        to_hold: list[DeliveryMessage] = []
        try:
            for message in messages:
                endpoint = endpoints.get(message.webhook_id)
                if endpoint is None:
                    continue  # deleted, and its deliveries with it
                if endpoint.state != WebhookState.Active:
                    to_hold.append(message)
                    continue
                go, later = await self._pace(message, endpoint)
                deferred += later
                go, over = self._room.admit(go)
                admitted += [go] if go.delivery_ids else []
                deferred += [(over, self._room_again_at(over.webhook_id))] if over.delivery_ids else []
            claimed = await asyncio.to_thread(self._claim, admitted, deferred, to_hold, endpoints)
        except BaseException:
            self._room.release_all(admitted)
            raise
        self._keep_only(admitted, claimed)
        tasks = {asyncio.create_task(self._attempt_and_release(one)): one for one in claimed}
        self._tasks.update(tasks)
        for task in tasks:
            task.add_done_callback(self._tasks.discard)
        quick = {task for task, one in tasks.items() if not self._room.is_slow(one.endpoint.webhook_id)}
        if quick:
            _, late = await asyncio.wait(quick, timeout=self._limits.handoff_seconds)
            self._room.mark_slow(
                tasks[task].endpoint.webhook_id
                for task in late
                if tasks[task].webhook_delivery_id in self._posting
            )

    async def attempt_now(self, claimed: Claimed) -> AttemptResult:
        """One attempt outside the queue (a test), recorded like any other and never retried."""
        once = replace(claimed.endpoint, retry_policy=RetryPolicy(max_retries=0))
        claimed = replace(claimed, endpoint=once)
        self._room.take(claimed.endpoint.webhook_id, 1, claimed.event.size)
        return await self._attempt_and_release(claimed)

    async def drain(self) -> None:
        """Wait for the posts that were handed off."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
            await asyncio.sleep(0)  # lets the finished ones leave the set

    def unseal(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint with its secrets opened, for the moment of signing."""
        context = secret_context(endpoint.webhook_id)
        opened = tuple(self._cipher.open(sealed, context=context) for sealed in endpoint.sealed_secrets)
        return replace(endpoint, secrets=opened)

    # -- room ---------------------------------------------------------------------------------------------

    async def _pace(
        self, message: DeliveryMessage, endpoint: Endpoint
    ) -> tuple[DeliveryMessage, list[tuple[DeliveryMessage, datetime | None]]]:
        if endpoint.rate_limit_per_second is None or message.paced:
            return message, []
        go, later = await asyncio.to_thread(self._pacer.book, message, endpoint.rate_limit_per_second)
        return replace(go, paced=True), list(later)

    def _room_again_at(self, webhook_id: UUID) -> datetime:
        return self._clock.now() + timedelta(seconds=self._room.again_in(webhook_id))

    def _keep_only(self, admitted: Sequence[DeliveryMessage], claimed: Sequence[Claimed]) -> None:
        """Swap the reservations for what was really claimed (others may have been claimed elsewhere)."""
        for one in claimed:
            self._room.take(one.endpoint.webhook_id, 1, one.event.size)
        self._room.release_all(admitted)

    # -- database, on a thread ----------------------------------------------------------------------------

    def _endpoints(self, webhook_ids: Sequence[UUID]) -> dict[UUID, Endpoint]:
        with self._transactions.read() as tx:
            found = tx.pipeline.endpoints(list(dict.fromkeys(webhook_ids)), self._clock.now())
        opened: dict[UUID, Endpoint] = {}
        for one in found:
            try:
                opened[one.webhook_id] = self.unseal(one)
            except ValueError:
                # The others must go on; the retry processor brings these deliveries back until they expire.
                logger.error("webhook secret does not open", extra={"webhookId": str(one.webhook_id)})
        return opened

    def _claim(
        self,
        admitted: Sequence[DeliveryMessage],
        deferred: Sequence[tuple[DeliveryMessage, datetime | None]],
        to_hold: Sequence[DeliveryMessage],
        endpoints: dict[UUID, Endpoint],
    ) -> list[Claimed]:
        if deferred:
            self._queue.send(WEBHOOK_DELIVERIES_QUEUE, [one.to_queue(at) for one, at in deferred])
        if not admitted and not to_hold:
            return []
        with self._transactions.write() as tx:
            if to_hold:
                self._hold(tx, to_hold)
            claimed = tx.pipeline.claim(
                [(endpoints[one.webhook_id], one.delivery_ids) for one in admitted],
                lease_id=self._ids.new(),
                now=self._clock.now(),
                margin_seconds=self._limits.lease_margin_seconds,
            )
            tx.commit()
        return claimed

    def _hold(self, tx: PipelineTransaction, messages: Sequence[DeliveryMessage]) -> None:
        """Hold what is still not to be sent: a webhook resumed meanwhile has released what was held, and would
        never look again."""
        now = self._clock.now()
        ids = list({message.webhook_id for message in messages})
        idle = {
            endpoint.webhook_id
            for endpoint in tx.pipeline.endpoints(ids, now)
            if endpoint.state != WebhookState.Active
        }
        tx.pipeline.hold(
            [
                delivery_id
                for message in messages
                if message.webhook_id in idle
                for delivery_id in message.delivery_ids
            ]
        )

    # -- one attempt --------------------------------------------------------------------------------------

    async def _attempt_and_release(self, claimed: Claimed) -> AttemptResult:
        webhook_id = claimed.endpoint.webhook_id
        self._posting.add(claimed.webhook_delivery_id)
        try:
            result = await self._attempt(claimed)
        finally:
            self._posting.discard(claimed.webhook_delivery_id)
            self._room.release(webhook_id, 1, claimed.event.size)
        if result.attempt.duration_ms > 1000 * self._limits.handoff_seconds:
            self._room.mark_slow([webhook_id])
        await self._recorder.record(result)
        return result

    async def _attempt(self, claimed: Claimed) -> AttemptResult:
        started = self._clock.now()
        with attempt_span(self._tracer, claimed) as attempt:
            came, traceparent = await self._post(claimed, started, attempt.traceparent)
            if isinstance(came, OutboundError):
                answer = ReceiverAnswer(failure=came.kind)
            else:
                answer = ReceiverAnswer(status=came.status, retry_after=came.headers.get("retry-after"))
            result = self._result(claimed, started, answer, came, traceparent)
            tell_result(attempt, result)
        return result

    async def _post(
        self, claimed: Claimed, started: datetime, attempt: str | None
    ) -> tuple[OutboundResponse | OutboundError, str | None]:
        """What came of it, and the `traceparent` that the receiver was sent."""
        endpoint, event = claimed.endpoint, claimed.event
        body = event_body(event)
        headers = signed_headers(endpoint.secrets, event.event_id, started, body)
        with post_span(self._tracer, endpoint, attempt) as post:
            traceparent = post.traceparent or event.traceparent
            if traceparent:
                headers["traceparent"] = traceparent
            request = OutboundRequest(
                "POST", endpoint.url, headers, body, timeout_seconds=float(endpoint.timeout_seconds)
            )
            came: OutboundResponse | OutboundError
            try:
                came = await self._http.send(request)
            except OutboundError as error:
                came = error
            tell_answer(post, came)
        return came, traceparent

    def _result(
        self,
        claimed: Claimed,
        started: datetime,
        answer: ReceiverAnswer,
        came: OutboundResponse | OutboundError,
        traceparent: str | None,
    ) -> AttemptResult:
        now, spread = self._clock.now(), random.uniform(-1, 1)  # noqa: S311 - spreads load, guards nothing
        cap = self._limits.max_retries
        decision = decide(
            answer,
            policy=claimed.endpoint.retry_policy,
            retries_used=claimed.retries_used,
            platform_cap=cap,
            expires_at=claimed.expires_at,
            now=now,
            spread=spread,
            learned=learned_delay(
                claimed, answer, now, expiry=self._limits.expiry, platform_cap=cap, spread=spread
            ),
        )
        return AttemptResult(
            claimed=claimed,
            attempt=attempt_record(claimed, started, answer, decision, came),
            delivery_status=STATUS_AFTER[decision.verdict],
            retries_used=claimed.retries_used + (decision.verdict == "retry"),
            next_retry_at=decision.retry_at,
            gone=decision.gone,
            traceparent=traceparent,
            outage=decision.verdict != "delivered" and is_outage(answer),
        )


def secret_context(webhook_id: UUID) -> str:
    """What a webhook's secrets are sealed for."""
    return f"webhook:{webhook_id}"
