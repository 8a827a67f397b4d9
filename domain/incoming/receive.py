"""Receiving a provider's webhook: find the integration, verify the request, store its events."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from uuid import UUID

from domain.apikeys.rules import ip_allowed
from domain.core.errors import Forbidden, NotFound, TooLarge, Unauthenticated, Unavailable
from domain.core.group_commit import GroupCommit
from domain.core.ports import Clock
from domain.core.slots import TenantTurns
from domain.core.tenants import refusal_of
from domain.core.transaction import Transactions, repeated
from domain.incoming.inbox import Inbox
from domain.incoming.ports import IncomingTransaction
from domain.incoming.rules import BODY_MAX_BYTES, is_address, takes_webhooks
from domain.integrations.connection import Catalogue, ConnectionCache
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.journal.audit import AuditEntry
from domain.journal.bursts import Burst, BurstSource
from domain.journal.hops import HOPS_HEADER, HOPS_LIMIT, HopCounter, TooManyHops
from domain.providers.content import ContentTooLarge, codings, decoded
from domain.providers.contract import (
    Connection,
    IncomingAnswer,
    IncomingRequest,
    Provider,
    ProviderFailure,
    SignatureRefused,
)

logger = logging.getLogger("hub.security")

TOO_LARGE_DECODED = f"The body is more than {BODY_MAX_BYTES:,} bytes once it is decompressed."
_MOST_WAITING = 10_000
#: Webhooks that a process works on at a time, a tenant alone on half of them: more would only wait for threads.
_RECEIVED_AT_A_TIME = 12
#: Integrations whose tenant is known; they are found again when they are forgotten.
_TENANTS_KEPT = 50_000


@dataclass(frozen=True, slots=True)
class _Refusal:
    integration: Integration
    reason: str
    source_ip: str | None
    at: datetime


class RefusalCounter:
    """Counts refused requests, each once it is refused, those that come at the same time together. Thread-safe.

    What cannot be written is written with the next one; its log line stays if none comes in this process."""

    def __init__(self, transactions: Transactions[IncomingTransaction]) -> None:
        self._transactions = transactions
        self._lock = threading.Lock()
        self._waiting: list[_Refusal] = []
        self._together: GroupCommit[_Refusal, None] = GroupCommit(self._write, most=None, retries_alone=False)

    def note(self, integration: Integration, reason: str, source_ip: str | None, now: datetime) -> None:
        """Log a refusal and count it, as a part of the integration's burst of refusals too.

        Never raises for a database that is down: the sender is refused either way."""
        logger.warning(
            "incoming webhook refused",
            extra={
                "integrationId": str(integration.integration_id),
                "tenantId": str(integration.tenant_id),
                "provider": integration.provider,
                "sourceIp": source_ip,
                "reason": reason,
            },
        )
        refusal = _Refusal(integration, reason, source_ip, now)
        try:
            self._together.submit(refusal)
        except Unavailable:
            with self._lock:
                self._waiting = [*self._waiting, refusal][-_MOST_WAITING:]

    def _write(self, refusals: Sequence[_Refusal]) -> Sequence[None]:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        try:
            self._store([*waiting, *refusals])
        except Unavailable:
            with self._lock:
                self._waiting = [*waiting, *self._waiting]
            raise
        return [None] * len(refusals)

    @repeated
    def _store(self, refusals: Sequence[_Refusal]) -> None:
        by_integration: dict[UUID, list[_Refusal]] = {}
        for refusal in refusals:
            by_integration.setdefault(refusal.integration.integration_id, []).append(refusal)
        with self._transactions.write() as tx:
            for integration_id, own in sorted(by_integration.items()):
                last = max(own, key=lambda refusal: refusal.at)
                tenant_id = last.integration.tenant_id
                tx.incoming.count_refusals(tenant_id, integration_id, len(own), last.reason, at=last.at)
                burst = Burst(
                    tenant_id,
                    BurstSource.Refusals,
                    str(integration_id),
                    last.integration.name,
                    started_at=min(refusal.at for refusal in own),
                    last_at=last.at,
                    count=len(own),
                    reason=last.reason,
                    source_ip=last.source_ip,
                )
                tx.bursts.add(burst)
            tx.commit()


@dataclass(frozen=True, slots=True)
class Caller:
    """What a route knows about the sender: the token in the path, if any, its address, and its trace."""

    token: str | None = None
    source_ip: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a request: `accepted` events are new, `duplicates` are not; `body` answers a handshake.

    `repeated_by_content`: an event without an id counts as a repeat because its content came before."""

    accepted: int = 0
    duplicates: int = 0
    body: bytes | None = None
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)
    repeated_by_content: bool = False


class IncomingReceiver:
    def __init__(
        self,
        transactions: Transactions[IncomingTransaction],
        connections: ConnectionCache,
        inbox: Inbox,
        catalogue: Catalogue,
        *,
        lifecycle: Lifecycle,
        clock: Clock,
        hops: HopCounter,
        on_accepted: Callable[[Integration, str | None], object] | None = None,
    ) -> None:
        """`on_accepted` is called with the integration and the trace of a request that brought something new."""
        self._on_accepted = on_accepted
        self._transactions = transactions
        self._connections = connections
        self._inbox = inbox
        self._lifecycle = lifecycle
        self._disabled_types = catalogue.disabled_types
        self._clock = clock
        self._hops = hops
        self._refusals = RefusalCounter(transactions)
        self._turns = TenantTurns(_RECEIVED_AT_A_TIME)
        self._tenants: dict[UUID, UUID] = {}

    async def receive(self, integration_id: UUID, request: IncomingRequest, caller: Caller) -> Receipt:
        """Verify a request, its raw body unchanged, and return once its events are durable.

        Raises TooLarge over 1 MiB, Forbidden (`source-not-allowed`, or the tenant is suspended), Unauthenticated
        (`bad-signature`), Unavailable, Conflict (`too-many-hops`), NotFound when the integration is unknown, not
        active or without webhooks, or the address is not in use."""
        if len(request.body) > BODY_MAX_BYTES:
            size = len(request.body)
            raise TooLarge(f"The body is {size:,} bytes; at most {BODY_MAX_BYTES:,} are accepted.")
        async with self._turns.turn(self._tenants.get(integration_id)):
            return await self._receive(integration_id, request, caller)

    async def _receive(self, integration_id: UUID, request: IncomingRequest, caller: Caller) -> Receipt:
        integration, repeat_window, provider, connection = await asyncio.to_thread(
            self._admit, integration_id, caller, request.received_at
        )
        try:
            answer = await understood(provider, connection, request)
        except ContentTooLarge:
            raise TooLarge(TOO_LARGE_DECODED) from None
        except SignatureRefused as refused:
            reason, now = str(refused), request.received_at
            await asyncio.to_thread(self._refusals.note, integration, reason, caller.source_ip, now)
            raise Unauthenticated(reason, code="bad-signature") from None
        except ProviderFailure as failure:
            if failure.kind == "malformed":
                return await asyncio.to_thread(self._keep, integration, request, failure.detail, caller)
            if failure.kind == "rejected":
                raise unknown_address() from None
            # Some providers verify by a call of their own, which credentials that were revoked cannot make.
            await asyncio.to_thread(self._lifecycle.heed, integration, failure)
            detail = "The webhook cannot be verified at the moment; send it again later."
            raise Unavailable(detail) from None
        take = partial(self._take, integration, request, answer, caller, repeat_window=repeat_window)
        return await asyncio.to_thread(take)

    def _admit(
        self, integration_id: UUID, caller: Caller, received_at: datetime
    ) -> tuple[Integration, int | None, Provider, Connection]:
        now = self._clock.now()
        with self._transactions.read() as tx:
            integration = tx.integrations.find(integration_id)
            if integration is None or not takes_webhooks(integration, self._disabled_types):
                raise unknown_address()
            endpoint = tx.incoming.endpoint(integration.tenant_id, integration_id)
            refusal = refusal_of(tx.standings.of(integration.tenant_id))
        self._know(integration)
        if not is_address(endpoint, caller.token, now):
            raise unknown_address()
        if refusal is not None:
            raise refusal
        if endpoint.allowed_ips and not ip_allowed(caller.source_ip, endpoint.allowed_ips):
            reason = "The IP address is not in the allow list."
            self._refusals.note(integration, reason, caller.source_ip, now)
            detail = "This sender's IP address is not in the integration's allow list."
            raise Forbidden(detail, code="source-not-allowed")
        opened = self._connections.connect(integration, now=received_at)
        return integration, endpoint.repeat_window_seconds, *opened

    def _know(self, integration: Integration) -> None:
        """Remember whose turn the integration's next webhooks are; the first, and strangers', share one."""
        if integration.integration_id not in self._tenants:
            if len(self._tenants) >= _TENANTS_KEPT:
                self._tenants.clear()
            self._tenants[integration.integration_id] = integration.tenant_id

    def _take(
        self,
        integration: Integration,
        request: IncomingRequest,
        answer: IncomingAnswer,
        caller: Caller,
        *,
        repeat_window: int | None,
    ) -> Receipt:
        accepted, ip, traceparent = 0, caller.source_ip, caller.traceparent
        if answer.events:
            hops = self._hops_of(integration, request)
            accepted = self._inbox.store(
                integration,
                request,
                answer.events,
                source_ip=ip,
                traceparent=traceparent,
                repeat_window=repeat_window,
                hops=hops,
            )
        if accepted and self._on_accepted is not None:
            self._on_accepted(integration, traceparent)
        repeated = len(answer.events) - accepted
        by_content = any(event.event_id == event.content_digest for event in answer.events)
        return Receipt(
            accepted,
            repeated,
            answer.body,
            answer.content_type,
            answer.headers,
            repeated_by_content=by_content and repeated > 0,
        )

    @repeated
    def _hops_of(self, integration: Integration, request: IncomingRequest) -> int:
        """Return how often the hub delivered what led to this. Raises TooManyHops."""
        hops = self._hops.read(request.headers.get(HOPS_HEADER), request.received_at)
        if hops < HOPS_LIMIT:
            return hops
        with self._transactions.write() as tx:
            target = integration.integration_id
            entry = AuditEntry("incoming.refused", "integration", target, after={"hops": hops})
            tx.audit.append(integration.tenant_id, entry)
            tx.commit()
        raise TooManyHops(hops)

    def _keep(
        self, integration: Integration, request: IncomingRequest, reason: str, caller: Caller
    ) -> Receipt:
        accepted = self._inbox.keep_unreadable(integration, request, reason, caller.source_ip)
        return Receipt(accepted=accepted, duplicates=1 - accepted)


async def understood(provider: Provider, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
    """Return what a request means. Its signature may cover the bytes as sent or, of a compressed body, the content.

    Raises ContentTooLarge, and what the adapter raises."""
    headers = {name: value for name, value in request.headers.items() if name != "content-encoding"}
    try:
        return await provider.receive(connection, request)
    except SignatureRefused as refused:
        if not codings(request.headers):
            raise
        try:
            body = decoded(request.headers, request.body)
        except ProviderFailure:
            raise refused from None
    except ProviderFailure as unreadable:
        if unreadable.kind != "malformed" or not codings(request.headers) or not _is_text(request.body):
            raise
        # Nobody signs the header: a body that is signed as it came may not be in that coding at all.
        try:
            return await provider.receive(connection, replace(request, headers=headers))
        except ProviderFailure:
            raise unreadable from None
    return await provider.receive(connection, replace(request, body=body, headers=headers))


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def unknown_address() -> NotFound:
    """Return one answer for every reason, so that nobody learns which integrations exist."""
    return NotFound("No webhooks are accepted at this address.")
