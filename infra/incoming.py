"""The composition of everything about incoming webhooks."""

from __future__ import annotations

from datetime import timedelta

from domain.incoming.opening import CachedOpener
from domain.incoming.reception import Reception
from domain.incoming.retrying import Retries
from domain.incoming.service import IncomingCleanup, IncomingService
from domain.incoming.storing import Inbox
from domain.ports import Cipher, Clock, IdGenerator
from domain.unit_of_work import UnitsOfWork
from infra.integrations import IntegrationParts
from infra.once import once
from infra.settings import Settings


class IncomingParts:
    def __init__(
        self,
        settings: Settings,
        units: UnitsOfWork,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
        integrations: IntegrationParts,
    ) -> None:
        self._settings = settings
        self._units = units
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
        return Inbox(self._units, self._cipher, self._ids, event_max_bytes=self._settings.event_max_bytes)

    @once
    def reception(self) -> Reception:
        catalogue = self._integrations.catalogue
        return Reception(self._units, self._opener, self._inbox, catalogue, self._clock)

    @once
    def retries(self) -> Retries:
        return Retries(
            self._units,
            self._opener,
            self._inbox,
            self._cipher,
            self._clock,
            event_max_bytes=self._settings.event_max_bytes,
        )

    @once
    def service(self) -> IncomingService:
        return IncomingService(self._units, self._cipher, self._integrations.catalogue, self._clock)

    @once
    def cleanup(self) -> IncomingCleanup:
        return IncomingCleanup(
            self._units,
            self._clock,
            retention=timedelta(days=self._settings.webhook_retention_days),
            repeats_known_for=timedelta(days=self._settings.incoming_repeat_days),
        )
