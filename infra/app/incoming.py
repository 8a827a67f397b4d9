"""The composition of everything about incoming webhooks."""

from __future__ import annotations

from datetime import timedelta

from domain.core.ports import Cipher, Clock, IdGenerator
from domain.incoming.inbox import Inbox
from domain.incoming.receive import Reception
from domain.incoming.retry import Retries
from domain.incoming.service import IncomingCleanup, IncomingService
from domain.integrations.connection import CachedOpener
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
    def _opener(self) -> CachedOpener:
        parts = self._integrations
        return CachedOpener(parts.catalogue, parts.vault, parts.open_http)

    @once
    def _inbox(self) -> Inbox:
        return Inbox(
            self._transactions, self._cipher, self._ids, event_max_bytes=self._settings.event_max_bytes
        )

    @once
    def reception(self) -> Reception:
        catalogue = self._integrations.catalogue
        return Reception(self._transactions, self._opener, self._inbox, catalogue, self._clock)

    @once
    def retries(self) -> Retries:
        return Retries(
            self._transactions,
            self._opener,
            self._inbox,
            self._cipher,
            self._clock,
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
