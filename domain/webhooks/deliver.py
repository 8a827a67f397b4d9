"""Deliver (UC-WH-02 steps 4 to 7): claim a batch, sign, post concurrently, hand the results to the recorder.

The walk of one attempt, all steps called by `DeliveryEngine`:
- `_admit`: is there room, and is it the endpoint's turn (throttle.py);
- `_claim`: take the lease in one transaction;
- `_attempt`: sign (signing.py) and post, decide what follows (retry_policy.py);
- the recorder makes it durable with what it raises (record.py, notices.py)."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from urllib.parse import urldefrag, urljoin
from uuid import UUID

from domain.core.acting_for import acting_for
from domain.core.ports import (
    Cipher,
    Clock,
    IdGenerator,
    OutboundError,
    OutboundHttp,
    OutboundResponse,
    QueueSender,
)
from domain.core.shown_address import shown_address
from domain.core.tracing import UNTRACED, Tracer, tell_answer
from domain.core.transaction import Transactions
from domain.journal.hops import HOPS_HEADER, HopCounter
from domain.providers.charset import read_text
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from domain.webhooks.model import Attempt, AttemptOutcome, DeliveryStatus, RetryPolicy, WebhookState
from domain.webhooks.notices import attempt_span, post_span, tell_result
from domain.webhooks.ports import AttemptResult, ClaimedDelivery, Endpoint, PipelineTransaction
from domain.webhooks.record import ResultRecorder
from domain.webhooks.retry_policy import ReceiverAnswer, RetryDecision, decide_next, is_outage
from domain.webhooks.signing import event_body, signed_headers
from domain.webhooks.throttle import InFlightPosts, Pacer

logger = logging.getLogger("hub.webhooks")

RESPONSE_KEPT_BYTES = 4 * 1024
_HEADERS_KEPT_CHARACTERS = 8 * 1024
_MASK = "********"
_CREDENTIAL_HEADER = re.compile(
    r"auth|cookie|token|secret|password|session|api-?key|credential", re.IGNORECASE
)


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
class _Batch:
    """What becomes of the messages of a queue batch; deferred ones come again at their moment."""

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
        self._in_flight = InFlightPosts(
            most=limits.concurrency,
            most_per_webhook=limits.concurrency_per_endpoint,
            monotonic=time.monotonic,
        )
        self._tasks: set[asyncio.Task[AttemptResult]] = set()
        self._posting: set[UUID] = set()

    async def handle(self, messages: Sequence[DeliveryMessage]) -> None:
        """Attempt the deliveries that there is room for; defer the others without touching them.

        - Returns when the posts are done, or after the hand-off time: a slow endpoint must not hold up the next batch.
          Its open posts go on under their lease, and for a minute no batch waits for it.
        - Raises Unavailable when the deliveries could not be claimed; repeating is harmless."""
        await self._http.prepare()
        webhook_ids = [message.webhook_id for message in messages]
        endpoints = await asyncio.to_thread(self._endpoints, webhook_ids)
        batch = _Batch()
        try:
            for message in messages:
                endpoint = endpoints.get(message.webhook_id)
                if endpoint is not None:  # else deleted, and its deliveries with it
                    await self._admit(message, endpoint, batch)
            claimed = await asyncio.to_thread(self._claim, batch, endpoints)
        except BaseException:
            self._in_flight.release_all(batch.admitted)
            raise
        # Swaps what was admitted for what was really claimed: others may have been claimed elsewhere.
        for delivery in claimed:
            self._in_flight.take(delivery.endpoint.webhook_id, 1, delivery.event.size)
        self._in_flight.release_all(batch.admitted)
        await self._attempt_all(claimed)

    async def attempt_now(self, claimed: ClaimedDelivery) -> AttemptResult:
        """Attempt a delivery outside the queue (a test); it is recorded like any other."""
        self._in_flight.take(claimed.endpoint.webhook_id, 1, claimed.event.size)
        return await self._attempt_and_release(claimed)

    async def drain(self) -> None:
        """Wait for the posts that were handed off."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))
            await asyncio.sleep(0)  # lets the finished ones leave the set

    def unseal(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with its secrets opened, for the moment of signing."""
        context = secret_context(endpoint.webhook_id)
        opened = tuple(self._cipher.open(sealed, context=context) for sealed in endpoint.sealed_secrets)
        return replace(endpoint, secrets=opened)

    # -- admission ----------------------------------------------------------------------------------------

    async def _admit(self, message: DeliveryMessage, endpoint: Endpoint, batch: _Batch) -> None:
        if endpoint.state != WebhookState.Active:
            batch.to_hold.append(message)
            return
        if endpoint.rate_limit_per_second is not None and not message.paced:
            rate = endpoint.rate_limit_per_second
            message, later = await asyncio.to_thread(self._pacer.book, message, rate)
            message = replace(message, paced=True)
            batch.deferred += later
        go, over = self._in_flight.admit(message)
        if go.delivery_ids:
            batch.admitted.append(go)
        if over.delivery_ids:
            again_at = self._clock.now() + timedelta(seconds=self._in_flight.again_in(over.webhook_id))
            batch.deferred.append((over, again_at))

    # -- database, on a thread ----------------------------------------------------------------------------

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

    def _claim(self, batch: _Batch, endpoints: dict[UUID, Endpoint]) -> list[ClaimedDelivery]:
        if batch.deferred:
            deferred = [message.to_queue(at) for message, at in batch.deferred]
            self._queue.send(WEBHOOK_DELIVERIES_QUEUE, deferred)
        if not batch.admitted and not batch.to_hold:
            return []
        with self._transactions.write() as tx:
            if batch.to_hold:
                self._hold(tx, batch.to_hold)
            claimed = tx.pipeline.claim(
                [(endpoints[message.webhook_id], message.delivery_ids) for message in batch.admitted],
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
        webhook_id = claimed.endpoint.webhook_id
        self._posting.add(claimed.webhook_delivery_id)
        try:
            result = await self._attempt(claimed)
        finally:
            self._posting.discard(claimed.webhook_delivery_id)
            self._in_flight.release(webhook_id, 1, claimed.event.size)
        if result.attempt.duration_ms > 1000 * self._limits.handoff_seconds:
            self._in_flight.mark_slow([webhook_id])
        await self._recorder.record(result)
        return result

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
                attempt=_with_headers(_attempt_row(claimed, started, response, decision), headers, response),
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


def _attempt_row(
    claimed: ClaimedDelivery,
    started: datetime,
    response: OutboundResponse | OutboundError,
    decision: RetryDecision,
) -> Attempt:
    number, duration_ms = claimed.attempt_number, response.duration_ms
    if isinstance(response, OutboundError):
        outcome = AttemptOutcome.Refused if response.kind == "blocked" else AttemptOutcome.Failed
        error = f"{response.kind}: {response.detail}"
        return Attempt(number, started, duration_ms, outcome, error_message=error)
    status, text = response.status, _text_of(response)
    note = f"{response.flaw}." if response.flaw else None
    if decision.status == DeliveryStatus.Delivered:
        return Attempt(number, started, duration_ms, AttemptOutcome.Delivered, status, text, note)
    why = decision.note or redirect_note(claimed.endpoint.url, response)
    error = " ".join(filter(None, (f"The receiver answered {status}.", why, note)))
    return Attempt(number, started, duration_ms, AttemptOutcome.Failed, status, text, error)


def _with_headers(
    attempt: Attempt, given: Mapping[str, str], response: OutboundResponse | OutboundError
) -> Attempt:
    if isinstance(response, OutboundError):
        return replace(attempt, request_headers=recorded_headers(given))
    return replace(
        attempt,
        request_headers=recorded_headers(response.request_headers or given),
        response_headers=recorded_headers(response.headers),
    )


def recorded_headers(headers: Mapping[str, str]) -> str:
    """Return headers as JSON text, credentials masked; those beyond 8 KiB are left out.

    A signature is no credential: it is good for the body that is stored beside it, and for minutes."""
    kept, left = {}, _HEADERS_KEPT_CHARACTERS
    for name, value in headers.items():
        shown = _MASK if _CREDENTIAL_HEADER.search(name) else value
        left -= len(name) + len(shown)
        if left < 0:
            break
        kept[name] = shown
    return json.dumps(kept)


def _text_of(response: OutboundResponse) -> str:
    """Return the beginning of the body as the headers say that it is written: UTF-8 where they do not."""
    kept, is_cut = response.body[:RESPONSE_KEPT_BYTES], len(response.body) > RESPONSE_KEPT_BYTES
    text = read_text(kept, response.headers.get("content-type", ""), is_cut=is_cut)
    return text.replace("\0", "\ufffd")


def redirect_note(url: str, response: OutboundResponse) -> str | None:
    """Return why a redirect of `url` has failed, and where it pointed, as addresses are shown; else None."""
    if not 300 <= response.status < 400 or response.status == 304:  # RFC 9110 15.4.5: no redirect
        return None
    note = "Redirects are not followed"
    try:
        target = urldefrag(urljoin(url, response.headers.get("location", "").strip())).url
    except ValueError:
        return f"{note}; its Location cannot be read."
    if "location" not in response.headers:
        return f"{note}; it has no Location."
    return f"{note}; it points to {shown_address(target)}"


def secret_context(webhook_id: UUID) -> str:
    return f"webhook:{webhook_id}"
