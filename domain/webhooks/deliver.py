"""Deliver (UC-WH-02 steps 4 to 7): claim a batch, sign, post concurrently, hand the results to the recorder.

The walk of one attempt, all steps called by `DeliveryEngine`:
- `_enter`, `_take_turns`: whose turn is it, and is there room (admission.py, throttle.py, window.py);
- `_pace`: has the endpoint's rate limit a moment for it now;
- `_claim`: take the lease in one transaction;
- `_attempt`: sign (signing.py) and post, decide what follows (retry_policy.py);
- the recorder makes it durable with what it raises (record.py, notices.py)."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from uuid import UUID

from domain.core.acting_for import acting_for
from domain.core.errors import Unavailable
from domain.core.ports import (
    Cipher,
    Clock,
    IdGenerator,
    OutboundError,
    OutboundHttp,
    OutboundResponse,
    QueueSender,
)
from domain.core.tracing import UNTRACED, Tracer, tell_answer
from domain.core.transaction import Transactions
from domain.core.turns import SharedTurns
from domain.journal.hops import HOPS_HEADER, HopCounter
from domain.webhooks.admission import ALONE, RATE, TOGETHER, Admission, parts
from domain.webhooks.attempt_rows import attempt_row
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from domain.webhooks.model import DeliveryStatus, RetryPolicy, WebhookState
from domain.webhooks.notices import attempt_span, post_span, tell_result
from domain.webhooks.ports import AttemptResult, ClaimedDelivery, Endpoint, PipelineTransaction
from domain.webhooks.record import ResultRecorder
from domain.webhooks.retry_policy import ReceiverAnswer, decide_next, is_outage
from domain.webhooks.signing import event_body, signed_headers
from domain.webhooks.throttle import InFlightPosts, Pacer

logger = logging.getLogger("hub.webhooks")

#: A post without an answer that took this long held a place for nothing; a refused connection does not.
_HELD_MS = 1_000
#: How often a process whose endpoints are all full looks whether one of them hangs.
_LOOK_SECONDS = 0.25
#: When deliveries that could not be claimed are tried again.
_AWAY = timedelta(seconds=5)
_TENANTS_KNOWN = 100_000


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Limits of one process.

    - `concurrency`: posts in flight. `handoff_seconds`: how long a queue batch waits for its posts.
    - `lease_margin_seconds`: how long a lease outlasts the endpoint's timeout.
    - `max_retries`: the platform's cap on retries. `expiry`: how long a delivery lasts."""

    concurrency: int
    concurrency_per_endpoint: int
    handoff_seconds: float
    lease_margin_seconds: int
    max_retries: int
    expiry: timedelta


@dataclass(slots=True)
class _Turn:
    """A turn under way.

    `taken`: deliveries that have room, with their tenants. `admitted`: those of them whose moment is now. `deferred`
    ones come again at their moment; of `parked` ones no message is left."""

    taken: list[tuple[UUID, DeliveryMessage]]
    parked: list[tuple[DeliveryMessage, datetime]]
    admitted: list[DeliveryMessage] = field(default_factory=list)
    deferred: list[tuple[DeliveryMessage, datetime]] = field(default_factory=list)
    to_hold: list[DeliveryMessage] = field(default_factory=list)


class DeliveryEngine:
    """Handles the queue `webhook-deliveries`. One per process; its counters live on the event loop."""

    def __init__(
        self,
        transactions: Transactions[PipelineTransaction],
        http: OutboundHttp,
        queue: QueueSender,
        cipher: Cipher,
        *,
        clock: Clock,
        ids: IdGenerator,
        pacer: Pacer,
        recorder: ResultRecorder,
        limits: DeliveryLimits,
        hops: HopCounter,
        tracer: Tracer = UNTRACED,
        monotonic: Callable[[], float] = time.monotonic,
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
        self._hops = hops
        self._tracer = tracer
        self._monotonic = monotonic
        self._in_flight = InFlightPosts(
            most=limits.concurrency,
            most_per_webhook=limits.concurrency_per_endpoint,
            monotonic=monotonic,
        )
        turns = SharedTurns(alone=ALONE, together=TOGETHER, rate=RATE, monotonic=monotonic)
        self._admission = Admission(self._in_flight, turns)
        self._tenants: dict[UUID, UUID] = {}
        self._wake = asyncio.Event()
        self._pumping: asyncio.Task[None] | None = None
        self._callers: Counter[UUID] = Counter()
        self._tasks: set[asyncio.Task[AttemptResult]] = set()
        self._posting: set[UUID] = set()

    async def handle(self, messages: Sequence[DeliveryMessage]) -> None:
        """Let deliveries wait for their turn, which takes those there is room for; send the others back to the queue.

        - Returns when all that wait are through, or after the hand-off time, or at once when more wait than a turn
          takes: neither a slow endpoint nor a long queue may hold up the next batch. What still waits goes on in
          this process, unclaimed: should it end, the retry processor finds it.
        - Raises Unavailable when deliveries could not be claimed; repeating is harmless."""
        await self._http.prepare()
        await self._enter(messages)
        pumping = self._pump()
        if self._admission.count > TOGETHER:
            return
        ids = Counter(delivery_id for message in messages for delivery_id in message.delivery_ids)
        self._callers += ids  # on failure these are the caller's to repeat
        try:
            done, _ = await asyncio.wait([pumping], timeout=self._limits.handoff_seconds)
        finally:
            self._callers -= ids
        if done:
            pumping.result()

    async def attempt_now(self, claimed: ClaimedDelivery) -> AttemptResult:
        """Attempt a delivery outside the queue (a test); it is recorded like any other."""
        self._take(claimed)
        return await self._attempt_and_release(claimed)

    async def drain(self) -> None:
        """Wait for the posts that were handed off, and for what waits for its turn."""
        while open_ := {*self._tasks, *({self._pumping} if self._pumping else ())}:
            await asyncio.wait(open_)
            await asyncio.sleep(0)  # lets the finished ones leave

    def unseal(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with its secrets opened, for the moment of signing."""
        context = secret_context(endpoint.webhook_id)
        opened = tuple(self._cipher.open(sealed, context=context) for sealed in endpoint.sealed_secrets)
        return replace(endpoint, secrets=opened)

    # -- turns --------------------------------------------------------------------------------------------

    async def _enter(self, messages: Sequence[DeliveryMessage]) -> None:
        unknown = [message.webhook_id for message in messages if message.webhook_id not in self._tenants]
        if unknown:
            if len(self._tenants) > _TENANTS_KNOWN:
                self._tenants.clear()
            self._tenants |= await asyncio.to_thread(self._tenants_of, unknown)
        later = self._admission.enter(
            (self._tenants[message.webhook_id], message)
            for message in messages
            if message.webhook_id in self._tenants  # else it was deleted, and its deliveries with it
        )
        if later:
            now = self._clock.now()
            again = [message.to_queue(now + timedelta(seconds=seconds)) for message, seconds in later]
            await asyncio.to_thread(self._queue.send, WEBHOOK_DELIVERIES_QUEUE, again)

    def _pump(self) -> asyncio.Task[None]:
        """Return the task that takes turns until nothing waits."""
        self._wake.set()
        # One that has ended stands there until its callback runs; what came in between would wait for nobody.
        if self._pumping is None or self._pumping.done():
            # In a context of its own: it goes on long after the invocation that woke it.
            taking = self._take_turns()
            self._pumping = asyncio.create_task(taking, name="webhook turns", context=Context())
            self._pumping.add_done_callback(self._pumped)
        return self._pumping

    def _pumped(self, task: asyncio.Task[None]) -> None:
        if self._pumping is task:
            self._pumping = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("turns of deliveries ended", extra={"reason": str(error)})

    async def _take_turns(self) -> None:
        while self._admission.count:
            self._wake.clear()
            found, now = self._admission.turn(), self._clock.now()
            turn = _Turn(found.go, [(message, now + wait) for message, wait in found.parked])
            if turn.taken or turn.parked:
                await self._take_turn(turn)
            else:  # until a post ends, a batch comes, or an endpoint has said nothing for too long
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _LOOK_SECONDS)

    async def _take_turn(self, turn: _Turn) -> None:
        try:
            claimed = await asyncio.to_thread(self._prepare, turn)
        except Unavailable:
            messages = [message for _, message in turn.taken] + [message for message, _ in turn.parked]
            await asyncio.to_thread(self._send_back, [*messages, *self._admission.leave()])
            raise
        finally:
            for tenant_id, message in turn.taken:
                count = len(message.delivery_ids)
                self._in_flight.release(tenant_id, message.webhook_id, count, message.size)
        # Swaps what was admitted for what was really claimed: others may have been claimed elsewhere.
        for delivery in claimed:
            self._take(delivery)
        # Whoever asked for least goes first: the others' posts would run before its own.
        place = {message.webhook_id: number for number, (_, message) in enumerate(turn.taken)}
        await self._attempt_all(sorted(claimed, key=lambda delivery: place[delivery.endpoint.webhook_id]))

    def _take(self, claimed: ClaimedDelivery) -> None:
        endpoint = claimed.endpoint
        self._in_flight.take(endpoint.tenant_id, endpoint.webhook_id, 1, claimed.event.size)

    def _send_back(self, messages: Sequence[DeliveryMessage]) -> None:
        """Queue what could not be claimed, and is not a waiting caller's to repeat, for a little later."""
        at = self._clock.now() + _AWAY
        again = [
            replace(part, delivery_ids=ids, paced=False).to_queue(at)
            for message in messages
            for part in parts(message)
            if (ids := [delivery_id for delivery_id in part.delivery_ids if delivery_id not in self._callers])
        ]
        try:
            self._queue.send(WEBHOOK_DELIVERIES_QUEUE, again)
        except Unavailable:
            logger.warning("deliveries that waited for their turn are left to the retry processor")

    # -- database, on a thread ----------------------------------------------------------------------------

    def _tenants_of(self, webhook_ids: Sequence[UUID]) -> dict[UUID, UUID]:
        with self._transactions.read() as tx:
            found = tx.pipeline.endpoints(list(dict.fromkeys(webhook_ids)), self._clock.now())
        return {endpoint.webhook_id: endpoint.tenant_id for endpoint in found}

    def _endpoints(self, webhook_ids: Sequence[UUID]) -> dict[UUID, Endpoint]:
        with self._transactions.read() as tx:
            found = tx.pipeline.endpoints(list(dict.fromkeys(webhook_ids)), self._clock.now())
        opened: dict[UUID, Endpoint] = {}
        for endpoint in found:
            try:
                opened[endpoint.webhook_id] = self.unseal(endpoint)
            except ValueError:
                # The others must go on; the retry processor brings these deliveries back until they expire.
                logger.error("webhook secret does not open", extra={"webhookId": str(endpoint.webhook_id)})
        return opened

    def _prepare(self, turn: _Turn) -> list[ClaimedDelivery]:
        """Look at the endpoints, ask their rate limits, and claim: on one thread, for each change of it costs time."""
        endpoints = self._endpoints([message.webhook_id for _, message in turn.taken])
        for _, message in turn.taken:
            endpoint = endpoints.get(message.webhook_id)
            if endpoint is None:  # it was deleted
                continue
            if endpoint.state != WebhookState.Active:
                turn.to_hold.append(message)
            else:
                self._pace(message, endpoint, turn)
        return self._claim(turn, endpoints)

    def _pace(self, message: DeliveryMessage, endpoint: Endpoint, turn: _Turn) -> None:
        """Admit what the endpoint's rate limit lets go now; the rest comes back at the moments that it gives."""
        if endpoint.rate_limit_per_second is not None and not message.paced:
            message, later = self._pacer.book(message, endpoint.rate_limit_per_second)
            turn.deferred += later
        if message.delivery_ids:
            turn.admitted.append(message)

    def _claim(self, turn: _Turn, endpoints: dict[UUID, Endpoint]) -> list[ClaimedDelivery]:
        if turn.deferred:
            deferred = [message.to_queue(at) for message, at in turn.deferred]
            self._queue.send(WEBHOOK_DELIVERIES_QUEUE, deferred)
        if not turn.admitted and not turn.to_hold and not turn.parked:
            return []
        with self._transactions.write() as tx:
            if turn.to_hold:
                self._hold(tx, turn.to_hold)
            for message, until in turn.parked:
                tx.pipeline.park(message.delivery_ids, until)
            claimed = tx.pipeline.claim(
                [(endpoints[message.webhook_id], message.delivery_ids) for message in turn.admitted],
                lease_id=self._ids.new(),
                now=self._clock.now(),
                margin_seconds=self._limits.lease_margin_seconds,
            )
            tx.commit()
        return claimed

    def _hold(self, tx: PipelineTransaction, messages: Sequence[DeliveryMessage]) -> None:
        """Hold the deliveries of webhooks still not active; one resumed meanwhile would never look at them again."""
        ids = list({message.webhook_id for message in messages})
        found = tx.pipeline.endpoints(ids, self._clock.now())
        idle = {endpoint.webhook_id for endpoint in found if endpoint.state != WebhookState.Active}
        held = [message.delivery_ids for message in messages if message.webhook_id in idle]
        tx.pipeline.hold(sorted(idle), list(chain.from_iterable(held)))

    # -- one attempt --------------------------------------------------------------------------------------

    async def _attempt_all(self, claimed: Sequence[ClaimedDelivery]) -> None:
        """Wait for the posts to quick endpoints, at most for the hand-off time; those that take longer are slow."""
        tasks = {asyncio.create_task(self._attempt_and_release(delivery)): delivery for delivery in claimed}
        self._tasks.update(tasks)
        for task in tasks:
            task.add_done_callback(self._tasks.discard)
        is_slow = self._in_flight.is_slow
        quick = [task for task, delivery in tasks.items() if not is_slow(delivery.endpoint.webhook_id)]
        if quick:
            _, late = await asyncio.wait(quick, timeout=self._limits.handoff_seconds)
            open_ = [tasks[task] for task in late if tasks[task].webhook_delivery_id in self._posting]
            self._in_flight.mark_slow(delivery.endpoint.webhook_id for delivery in open_)

    async def _attempt_and_release(self, claimed: ClaimedDelivery) -> AttemptResult:
        endpoint, began = claimed.endpoint, self._monotonic()
        self._posting.add(claimed.webhook_delivery_id)
        result = None
        try:
            result = await self._attempt(claimed)
        finally:
            self._posting.discard(claimed.webhook_delivery_id)
            if result is not None:
                self._learn(result, began)
            self._in_flight.release(endpoint.tenant_id, endpoint.webhook_id, 1, claimed.event.size)
            self._wake.set()
        if result.attempt.duration_ms > 1000 * self._limits.handoff_seconds:
            self._in_flight.mark_slow([endpoint.webhook_id])
        await self._recorder.record(result)
        if parked := self._admission.answered(endpoint.webhook_id):
            await asyncio.to_thread(self._queue_again, parked)
        return result

    def _learn(self, result: AttemptResult, began: float) -> None:
        """Let the endpoint's window know how the post ended."""
        webhook_id, attempt = result.claimed.endpoint.webhook_id, result.attempt
        if attempt.http_status_code is None and attempt.duration_ms >= _HELD_MS:
            self._in_flight.timed_out(webhook_id, began)
        else:
            status = attempt.http_status_code
            welcome = status is not None and status < 500 and status not in (408, 429)
            self._in_flight.answered(webhook_id, is_welcome=welcome)

    def _queue_again(self, messages: Sequence[DeliveryMessage]) -> None:
        """Queue what was parked for an endpoint that answers again."""
        try:
            self._queue.send(WEBHOOK_DELIVERIES_QUEUE, [message.to_queue() for message in messages])
        except Unavailable:
            logger.warning("parked deliveries are left to the retry processor")

    async def _attempt(self, claimed: ClaimedDelivery) -> AttemptResult:
        started = self._clock.now()
        if claimed.is_test:  # it is never retried, and what is learned of outages is no business of its own
            once = replace(claimed.endpoint, retry_policy=RetryPolicy(max_retries=0))
            claimed = replace(claimed, endpoint=once)
        with attempt_span(self._tracer, claimed) as span:
            response, headers, traceparent = await self._post(claimed, started, span.traceparent)
            answer = _answer_of(response)
            decision = decide_next(
                claimed,
                answer,
                self._clock.now(),
                expiry=self._limits.expiry,
                platform_cap=self._limits.max_retries,
                spread=random.uniform(-1, 1),  # noqa: S311 - spreads load, guards nothing
            )
            result = AttemptResult(
                claimed=claimed,
                attempt=attempt_row(claimed, started, response, decision, headers=headers),
                delivery_status=decision.status,
                retries_used=claimed.retries_used + (decision.status == DeliveryStatus.Retrying),
                next_retry_at=decision.retry_at,
                gone=decision.gone,
                traceparent=traceparent,
                outage=decision.status != DeliveryStatus.Delivered and is_outage(answer),
            )
            tell_result(span, result)
        return result

    async def _post(
        self, claimed: ClaimedDelivery, started: datetime, attempt: str | None
    ) -> tuple[OutboundResponse | OutboundError, Mapping[str, str], str | None]:
        """Sign and send under the span `attempt`.

        Return the response, or why there is none; the headers given; and the `traceparent`."""
        endpoint, event = claimed.endpoint, claimed.event
        body = event_body(event)
        headers = signed_headers(endpoint.secrets, event.event_id, started, body)
        headers[HOPS_HEADER] = self._hops.header(event.hops + 1, started)
        with post_span(self._tracer, endpoint, attempt) as span:
            traceparent = span.traceparent or event.traceparent
            if traceparent:
                headers["traceparent"] = traceparent
            response: OutboundResponse | OutboundError
            try:
                with acting_for(endpoint.tenant_id):
                    response = await self._http.post(
                        endpoint.url, headers, body, float(endpoint.timeout_seconds)
                    )
            except OutboundError as error:
                response = error
            tell_answer(span, response)
        return response, headers, traceparent


def _answer_of(response: OutboundResponse | OutboundError) -> ReceiverAnswer:
    if isinstance(response, OutboundError):
        return ReceiverAnswer(failure=response.kind)
    return ReceiverAnswer(status=response.status, retry_after=response.headers.get("retry-after"))


def secret_context(webhook_id: UUID) -> str:
    return f"webhook:{webhook_id}"
