"""The webhook pipeline, wired for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from domain.core.permissions import PERMISSIONS
from domain.core.ports import IdGenerator
from domain.core.principal import Principal
from domain.journal.events import RaiseEvent
from domain.journal.occurrences import ALERTS_QUEUE
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE, EventService
from domain.webhooks.deliver import DeliveryEngine
from domain.webhooks.deliveries import DeliveryService
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage, FanOut
from domain.webhooks.model import CreateWebhook, Delivery, Webhook
from domain.webhooks.ports import DeliveryFilter
from domain.webhooks.record import ResultRecorder
from domain.webhooks.service import WebhookService, WebhookWithSecret
from domain.webhooks.sweep import RetryProcessor
from infra.app.build import build
from tests.worlds.builders import (
    OTHER_TENANT,
    OTHER_USER,
    RECEIVER,
    TENANT,
    USER,
    FakeClock,
    FlakyDatabase,
    HeardRealtime,
    MemoryQueue,
    PlainCipher,
    Receivers,
    SequentialIds,
    new_database,
    see_users,
    settings_at,
)


class WebhookWorld:
    """The webhook pipeline over SQLite, a queue in memory, scripted receivers, and a clock that is moved."""

    def __init__(
        self,
        home: Path,
        *,
        concurrency: int = 1000,
        per_endpoint: int = 500,
        handoff_seconds: float = 5.0,
        webhooks_per_tenant: int = 50,
        max_retries: int = 5,
        disable_after_failures: int = 50,
        any_2xx: bool = False,
        linger: float = 0.3,
        settings: Mapping[str, Any] | None = None,
        ids: IdGenerator | None = None,
        **adapters: Any,
    ) -> None:
        self.linger = linger
        new_database(home)
        self.clock, self.cipher = FakeClock(), PlainCipher()
        self.ids: IdGenerator = ids or SequentialIds()
        self.queue, self.receivers = MemoryQueue(self.clock), Receivers(self.clock)
        self.database, self.realtime = FlakyDatabase(home), HeardRealtime()
        self.hub = build(
            settings_at(
                home,
                environment="production",
                delivery_concurrency=concurrency,
                delivery_concurrency_per_endpoint=per_endpoint,
                delivery_handoff_seconds=handoff_seconds,
                webhook_limit_per_tenant=webhooks_per_tenant,
                webhook_max_retries=max_retries,
                webhook_disable_after_failures=disable_after_failures,
                webhook_verification="any-2xx" if any_2xx else "challenge",
                **(settings or {}),
            ),
            clock=self.clock,
            ids=self.ids,
            database=self.database,
            queue=self.queue,
            cipher=self.cipher,
            http=self.receivers,
            realtime=self.realtime,
            **adapters,
        )
        self.transactions, self.tables = self.hub.transactions, self.hub.tables
        self.events, self.fan_out = self.hub.use(EventService), self.hub.use(FanOut)
        self.engine, self.recorder = self.hub.use(DeliveryEngine), self.hub.use(ResultRecorder)
        self.history, self.retries = self.hub.use(DeliveryService), self.hub.use(RetryProcessor)
        self.service = self.hub.use(WebhookService)
        self.principal = Principal(TENANT, USER, frozenset(PERMISSIONS))
        self.other = Principal(OTHER_TENANT, OTHER_USER, frozenset(PERMISSIONS))
        see_users(self.hub, self.principal, self.other)

    def close(self) -> None:
        self.database.close()
        self.tables.close()

    async def webhook(
        self, *event_types: str, url: str = RECEIVER, owner: Principal | None = None, **fields: object
    ) -> WebhookWithSecret:
        """A verified webhook whose retries keep exact time."""
        fields.setdefault("retryPolicy", {"jitter": False})
        body = {"url": url, "eventTypes": list(event_types) or ["*"], **fields}
        command = CreateWebhook.model_validate_json(json.dumps(body))
        return await self.service.create(owner or self.principal, command)

    def raise_event(
        self, type_: str = "BookingConfirmed", owner: Principal | None = None, **fields: object
    ) -> str:
        """Raise one event; returns its id."""
        body = {"type": type_, "data": {"booking": 42}, **fields}
        event = RaiseEvent.model_validate_json(json.dumps(body))
        return self.events.accept(owner or self.principal, [event], in_batch=False).event_ids[0]

    async def settle(self) -> None:
        """Handle messages until none is visible."""
        while True:
            before = len(self.receivers.posts)
            announced = self.queue.take(DOMAIN_EVENTS_QUEUE)
            self.fan_out.handle(
                [(message.body, message.message_id or f"message-{id(message)}") for message in announced]
            )
            deliveries = self.queue.take(WEBHOOK_DELIVERIES_QUEUE)
            await self.engine.handle([DeliveryMessage.of_queue(delivery.body) for delivery in deliveries])
            with contextlib.suppress(TimeoutError):
                # An endpoint known to be slow is not waited for; one that hangs is left hanging.
                async with asyncio.timeout(self.linger):
                    await self.engine.drain()
            if not announced and not deliveries and len(self.receivers.posts) == before:
                return

    async def run_until(self, moment: datetime) -> None:
        """Let time pass, handling every scheduled message at its moment."""
        await self.settle()
        while (next_moment := self.queue.next_moment()) is not None and next_moment <= moment:
            self.clock.move_to(next_moment)
            await self.settle()
        self.clock.move_to(moment)

    async def sweep(self) -> None:
        """What the timers do: the outbox sweeper, the retry processor; then the messages they sent."""
        self.events.sweep()
        self.retries.sweep()
        await self.settle()

    def webhook_now(self, webhook: Webhook | WebhookWithSecret) -> Webhook:
        one = webhook.webhook if isinstance(webhook, WebhookWithSecret) else webhook
        with self.transactions.read() as tx:
            return tx.webhooks.get(one.tenant_id, one.webhook_id)

    def deliveries(self, webhook: WebhookWithSecret, **filter_: object) -> list[Delivery]:
        """With payload and attempts, oldest first."""
        one = webhook.webhook
        with self.transactions.read() as tx:
            chosen = replace(DeliveryFilter(), **filter_)  # type: ignore[arg-type]
            ids = tx.deliveries.find(one.tenant_id, one.webhook_id, chosen, 10_000)
            return [tx.deliveries.get(one.tenant_id, one.webhook_id, each) for each in ids]

    def alerts(self) -> list[dict[str, object]]:
        return [json.loads(message.body) for queue, message in self.queue.sent if queue == ALERTS_QUEUE]

    def raised(self, type_: str) -> list[dict[str, object]]:
        """The data of every stored event of a type."""
        with self.database.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT Payload FROM DomainEvents WHERE EventType = ? ORDER BY Sequence", (type_,)
            )
            return [json.loads(row[0]) for row in rows]
