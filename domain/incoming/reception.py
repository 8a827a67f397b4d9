"""A webhook comes in: find the integration, verify, store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID

from domain.apikeys.rules import ip_allowed
from domain.errors import Forbidden, NotFound, TooLarge, Unauthenticated, Unavailable
from domain.incoming.ports import Opened, Opener
from domain.incoming.refusals import Refusals
from domain.incoming.rules import BODY_MAX_BYTES, is_address, takes_webhooks
from domain.incoming.storing import Inbox
from domain.integrations.connector import Catalogue
from domain.integrations.model import Integration
from domain.integrations.providers import (
    Connection,
    IncomingAnswer,
    IncomingRequest,
    ProviderFailure,
    SignatureRefused,
)
from domain.ports import Clock
from domain.unit_of_work import UnitsOfWork


@dataclass(frozen=True, slots=True)
class Caller:
    """What the HTTP side knows about a request: the token in its path, if any, who sent it, and its trace."""

    token: str | None = None
    source_ip: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """`body` answers a handshake at once. `accepted` events are stored, `duplicates` were before."""

    accepted: int = 0
    duplicates: int = 0
    body: bytes | None = None
    content_type: str = "text/plain"


class Reception:
    def __init__(
        self, units: UnitsOfWork, opener: Opener, inbox: Inbox, catalogue: Catalogue, clock: Clock
    ) -> None:
        self._units = units
        self._opener = opener
        self._inbox = inbox
        self._disabled_types = catalogue.disabled_types
        self._clock = clock
        self._refusals = Refusals(units)

    async def receive(self, integration_id: UUID, request: IncomingRequest, caller: Caller) -> Receipt:
        """Returns once the events are durable. The raw body reaches the adapter as it came.

        Raises TooLarge (over 1 MiB); NotFound for an integration that is unknown or not active, has no webhooks,
        or an address out of use; Forbidden (`source-not-allowed`) outside the allow list; Unauthenticated
        (`bad-signature`); Unavailable."""
        if len(request.body) > BODY_MAX_BYTES:
            raise TooLarge(f"The body is {len(request.body):,} bytes; at most {BODY_MAX_BYTES:,} are taken.")
        integration, opened = await asyncio.to_thread(self._admit, integration_id, caller)
        connection = Connection(opened.configuration, opened.http, request.received_at)
        try:
            answer = await opened.provider.receive(connection, request)
        except SignatureRefused as refused:
            reason, now = str(refused), request.received_at
            await asyncio.to_thread(self._refusals.note, integration, reason, caller.source_ip, now)
            raise Unauthenticated(reason, code="bad-signature") from None
        except ProviderFailure as failure:
            if failure.kind == "malformed":
                return await asyncio.to_thread(self._keep, integration, request, failure.detail, caller)
            raise _refusal_of(failure) from None
        return await asyncio.to_thread(self._take, integration, request, answer, caller)

    def _admit(self, integration_id: UUID, caller: Caller) -> tuple[Integration, Opened]:
        now = self._clock.now()
        with self._units.read() as unit:
            integration = unit.integrations.find(integration_id)
            if integration is None or not takes_webhooks(integration, self._disabled_types):
                raise _unknown()
            endpoint = unit.incoming.endpoint(integration.tenant_id, integration_id)
        if not is_address(endpoint, caller.token, now):
            raise _unknown()
        if endpoint.allowed_ips and not ip_allowed(caller.source_ip, endpoint.allowed_ips):
            self._refusals.note(integration, "The address is not in the allow list.", caller.source_ip, now)
            raise Forbidden("Webhooks are not taken from this address.", code="source-not-allowed")
        return integration, self._opener.open(integration)

    def _take(
        self, integration: Integration, request: IncomingRequest, answer: IncomingAnswer, caller: Caller
    ) -> Receipt:
        receipt = Receipt(body=answer.body, content_type=answer.content_type)
        if not answer.events:
            return receipt
        accepted = self._inbox.store(
            integration,
            request,
            answer.events,
            source_ip=caller.source_ip,
            traceparent=caller.traceparent,
        )
        return replace(receipt, accepted=accepted, duplicates=len(answer.events) - accepted)

    def _keep(
        self, integration: Integration, request: IncomingRequest, reason: str, caller: Caller
    ) -> Receipt:
        accepted = self._inbox.keep_unreadable(integration, request, reason, caller.source_ip)
        return Receipt(accepted=accepted, duplicates=1 - accepted)


def _refusal_of(failure: ProviderFailure) -> NotFound | Unavailable:
    if failure.kind == "rejected":
        return _unknown()
    return Unavailable("The webhook cannot be verified at the moment; send it again.")


def _unknown() -> NotFound:
    """One answer for every reason, so that nobody learns which integrations there are."""
    return NotFound("No webhooks are taken here.")
