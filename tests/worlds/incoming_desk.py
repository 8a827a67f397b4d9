"""A hub with one active integration that receives webhooks, through its use cases."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID

from domain.core.paging import PageRequest
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.incoming.ports import IncomingFilter
from domain.incoming.receive import Caller, IncomingReceiver, Receipt
from domain.incoming.retry import IncomingRetries
from domain.incoming.service import IncomingService
from domain.integrations.model import Integration
from domain.journal.ports import EventRef
from domain.providers.contract import IncomingRequest
from infra.app.build import build
from tests.worlds.builders import TENANT, USER, FakeClock, MemoryQueue, new_database, settings_at
from tests.worlds.incoming_world import Signed, seed, signed_by_stripe, stripe_event

OWNER = Principal(TENANT, USER, frozenset(PERMISSIONS))


class Desk:
    """A hub over SQLite with one active Stripe integration."""

    def __init__(self, home: Path) -> None:
        new_database(home)
        self.home, self.clock = home, FakeClock()
        self.queue = MemoryQueue(self.clock)
        self.start()
        self.stripe = seed(self.hub, tenant=TENANT, user=USER)

    def start(self, **settings: Any) -> None:
        self.hub = build(settings_at(self.home, **settings), clock=self.clock, queue=self.queue)
        self.service, self.retries = self.hub.use(IncomingService), self.hub.use(IncomingRetries)

    def restart(self, **settings: Any) -> None:
        """Start the hub again over the same data, with other settings."""
        self.hub.database.close()
        self.start(**settings)

    def request(self, signed: Signed, to: Integration | UUID) -> IncomingRequest:
        target = to if isinstance(to, UUID) else to.integration_id
        url = f"http://localhost:7071/api/webhooks/incoming/{target}"
        return IncomingRequest("POST", url, signed.headers, {}, signed.body, self.clock.now())

    def receive(
        self,
        signed: Signed,
        *,
        to: Integration | UUID | None = None,
        token: str | None = None,
        ip: str | None = "203.0.113.9",
    ) -> Receipt:
        target = to if isinstance(to, UUID) else (to or self.stripe).integration_id
        receive = self.hub.use(IncomingReceiver).receive
        return asyncio.run(receive(target, self.request(signed, target), Caller(token, ip)))

    def stripe_sends(self, event_id: str = "evt_1", **data: Any) -> Signed:
        return signed_by_stripe(stripe_event(event_id, **data), self.clock.now())

    def inbox(self, *, of: Integration | None = None, **filters: Any) -> list[Any]:
        page = self.service.page(
            OWNER, (of or self.stripe).integration_id, IncomingFilter(**filters), PageRequest(1, 200)
        )
        return list(page.items)

    def retry(self, webhook: Any) -> Any:
        return asyncio.run(
            self.retries.retry(OWNER, webhook.integration_id, webhook.incoming_webhook_id, None)
        )

    def raised(self) -> list[Any]:
        """Every event in the outbox that is not fanned out, oldest first."""
        announced = [json.loads(message.body) for _, message in self.queue.sent]
        refs = [
            EventRef(UUID(announcement["tenantId"]), name)
            for announcement in announced
            for name in announcement["eventIds"]
        ]
        with self.hub.transactions.read() as tx:
            return list(tx.outbox.pending(refs))
