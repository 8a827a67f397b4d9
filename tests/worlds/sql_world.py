"""A migrated SQLite database with builders for what the SQL tests need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from domain.core.errors import Unavailable
from domain.journal.event_types import FROM_PLATFORM
from domain.journal.events import DomainEvent
from domain.journal.ports import EventRef
from domain.webhooks.model import (
    Attempt,
    AttemptOutcome,
    DeliveryStatus,
    Ordering,
    RetryPolicy,
    Webhook,
    WebhookState,
)
from domain.webhooks.ports import AttemptResult, ClaimedDelivery, NewDelivery
from domain.webhooks.rules import line_of
from infra.clock import Uuid7Generator
from infra.sql.engine import DATABASE_FILE, Database, sqlite_database
from infra.sql.transaction import SqlTransaction, SqlTransactions
from tests.worlds.builders import FakeClock, new_database

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXPIRY = timedelta(hours=24)
MARGIN_SECONDS = 10


class SqlWorld:
    """One database, two tenants with a user each, and what was announced."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = FakeClock(START)
        self.ids = Uuid7Generator()
        self.announced: list[EventRef] = []
        self.queue_is_down = False
        self.transactions = SqlTransactions(database, self.clock, self._announce)
        self.tenant, self.other_tenant = self.ids.new(), self.ids.new()
        self.user, self.other_user = self.ids.new(), self.ids.new()
        with self.transactions.write() as tx:
            tx.users.see(self.tenant, self.user, "Ada", START)
            tx.users.see(self.other_tenant, self.other_user, "Bo", START)
            tx.commit()

    def _announce(self, refs: Sequence[EventRef]) -> None:
        if self.queue_is_down:
            raise Unavailable("The queue is down.")
        self.announced += refs

    def webhook(
        self,
        *names: str,
        tenant: UUID | None = None,
        state: WebhookState = WebhookState.Active,
        ordering: Ordering = "none",
    ) -> Webhook:
        """A verified webhook of a tenant, stored."""
        tenant = tenant or self.tenant
        webhook = Webhook(
            webhook_id=self.ids.new(),
            tenant_id=tenant,
            url="https://receiver.example/hook",
            event_types=list(names) or ["*"],
            sealed_secret="sealed",
            state=state,
            retry_policy=RetryPolicy(),
            timeout_seconds=30,
            created_at=self.clock.now(),
            created_by=self.user if tenant == self.tenant else self.other_user,
            verified_at=self.clock.now(),
            ordering=ordering,
        )
        with self.transactions.write() as tx:
            tx.webhooks.add(tenant, webhook)
            tx.commit()
        # VerifiedAt is a column of add; what is read back is what is stored.
        with self.transactions.read() as tx:
            return tx.webhooks.get(tenant, webhook.webhook_id)

    def event(self, event_id: str | None = None, *, tenant: UUID | None = None) -> DomainEvent:
        """An event, not stored."""
        return DomainEvent(
            event_id=event_id or str(self.ids.new()),
            tenant_id=tenant or self.tenant,
            type="BookingConfirmed",
            data='{"booking":42}',
            occurred_at=self.clock.now(),
            subject="booking/42",
            origin=FROM_PLATFORM,
        )

    def events(self, count: int, *, tenant: UUID | None = None) -> list[DomainEvent]:
        """Events, stored."""
        events = [self.event(tenant=tenant) for _ in range(count)]
        with self.transactions.write() as tx:
            tx.outbox.append(events)
            tx.commit()
        return events

    def deliveries(self, webhook: Webhook, count: int = 1, *, held: bool = False) -> list[UUID]:
        """Pending (or held) deliveries of new events, stored."""
        return self.fan_out(webhook, self.events(count, tenant=webhook.tenant_id), held=held)

    def fan_out(self, webhook: Webhook, events: Sequence[DomainEvent], *, held: bool = False) -> list[UUID]:
        now, refs = self.clock.now(), [EventRef(event.tenant_id, event.event_id) for event in events]
        with self.transactions.write() as tx:
            stored = {event.event_id: event for event in tx.outbox.pending(refs)}
            new = [
                NewDelivery(
                    self.ids.new(),
                    webhook.webhook_id,
                    stored.get(event.event_id, event),
                    held,
                    line=line_of(webhook.webhook_id, event.subject or "")
                    if webhook.ordering == "perSubject"
                    else None,
                )
                for event in events
            ]
            tx.pipeline.add_deliveries(
                new, now=now, expires_at=now + EXPIRY, requeue_at=now + timedelta(seconds=120)
            )
            tx.outbox.mark_fanned_out(refs, now)
            tx.commit()
        return [delivery.webhook_delivery_id for delivery in new]

    def claim(self, webhook: Webhook, delivery_ids: Sequence[UUID]) -> list[ClaimedDelivery]:
        with self.transactions.write() as tx:
            claimed = claim_in(tx, webhook.webhook_id, delivery_ids, self.ids.new(), self.clock.now())
            tx.commit()
        return claimed

    def record(self, claimed: Sequence[ClaimedDelivery], status: DeliveryStatus) -> list[AttemptResult]:
        results = [self.result(delivery, status) for delivery in claimed]
        with self.transactions.write() as tx:
            now = self.clock.now()
            recorded = tx.pipeline.record(results, now=now, requeue_at=now + timedelta(seconds=120))
            tx.commit()
        return list(recorded.kept)

    def result(self, claimed: ClaimedDelivery, status: DeliveryStatus) -> AttemptResult:
        """The result of an attempt that took 12 ms; a retry is planned in a minute."""
        retry = status == DeliveryStatus.Retrying
        outcome = AttemptOutcome.Delivered if status == DeliveryStatus.Delivered else AttemptOutcome.Failed
        attempt = Attempt(claimed.attempt_number, self.clock.now(), 12, outcome, 200, "ok", None)
        return AttemptResult(
            claimed=claimed,
            attempt=attempt,
            delivery_status=status,
            retries_used=claimed.retries_used + retry,
            next_retry_at=self.clock.now() + timedelta(seconds=60) if retry else None,
        )

    def status(self, webhook: Webhook, delivery_id: UUID) -> DeliveryStatus:
        with self.transactions.read() as tx:
            return tx.deliveries.get(webhook.tenant_id, webhook.webhook_id, delivery_id).delivery_status

    def ended(self, webhook: Webhook, count: int) -> list[UUID]:
        """Delivered deliveries."""
        ids = self.deliveries(webhook, count)
        self.record(self.claim(webhook, ids), DeliveryStatus.Delivered)
        return ids

    def saved(self, webhook: Webhook) -> Webhook:
        """Save it again, which raises its version."""
        with self.transactions.write() as tx:
            tx.webhooks.update(webhook.tenant_id, webhook)
            tx.commit()
        return replace(webhook, version=webhook.version + 1)


def claim_in(
    tx: SqlTransaction, webhook_id: UUID, delivery_ids: Sequence[UUID], lease_id: UUID, now: datetime
) -> list[ClaimedDelivery]:
    """Claim inside a unit of work."""
    endpoint = tx.pipeline.endpoints([webhook_id], now)[0]
    return tx.pipeline.claim(
        [(endpoint, delivery_ids)], lease_id=lease_id, now=now, margin_seconds=MARGIN_SECONDS
    )


@contextmanager
def world_under(home: Path) -> Iterator[SqlWorld]:
    """A fresh world; the database file is `home / DATABASE_FILE`."""
    new_database(home)
    database = sqlite_database(home / DATABASE_FILE, pool_size=5)
    try:
        yield SqlWorld(database)
    finally:
        database.close()
