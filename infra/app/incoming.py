"""The composition of everything about incoming webhooks."""

from __future__ import annotations

from datetime import timedelta

from domain.core.ports import Cipher, Clock, IdGenerator
from domain.incoming.inbox import Inbox
from domain.incoming.receive import IncomingReceiver
from domain.incoming.retry import IncomingRetries
from domain.incoming.service import IncomingCleanup, IncomingService
from domain.integrations.connection import ConnectionCache
from infra.app.integrations import IntegrationParts
from infra.app.once import once
from infra.app.settings import Settings
from infra.sql.transaction import SqlTransactions


class IncomingParts:
    def __init__(
        self,
        settings: Settings,
        transactions: SqlTransactions,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
        integrations: IntegrationParts,
    ) -> None:
        self._settings = settings
        self._transactions = transactions
        self._cipher = cipher
        self._clock = clock
        self._ids = ids
        self._integrations = integrations

    @once
    def _connections(self) -> ConnectionCache:
        return ConnectionCache(self._integrations.connector)

    @once
    def _inbox(self) -> Inbox:
        return Inbox(
            self._transactions, self._cipher, self._ids, event_max_bytes=self._settings.event_max_bytes
        )

    @once
    def receiver(self) -> IncomingReceiver:
        catalogue = self._integrations.catalogue
        return IncomingReceiver(
            self._transactions, self._connections, self._inbox, catalogue, clock=self._clock
        )

    @once
    def retries(self) -> IncomingRetries:
        return IncomingRetries(
            self._transactions,
            self._connections,
            self._inbox,
            self._cipher,
            clock=self._clock,
            event_max_bytes=self._settings.event_max_bytes,
        )

    @once
    def service(self) -> IncomingService:
        return IncomingService(self._transactions, self._cipher, self._integrations.catalogue, self._clock)

    @once
    def cleanup(self) -> IncomingCleanup:
        return IncomingCleanup(
            self._transactions,
            self._clock,
            retention=timedelta(days=self._settings.webhook_retention_days),
            repeats_known_for=timedelta(days=self._settings.incoming_repeat_days),
        )
