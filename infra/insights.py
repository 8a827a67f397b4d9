"""The composition of insights, each part built on first use."""

from __future__ import annotations

from datetime import timedelta

from domain.anomalies.service import AnomalyService
from domain.anomalies.watching import AnomalyWatch
from domain.apikeys.limiter import RateLimiter
from domain.insights.overview import OverviewService
from domain.insights.ports import KeyHours
from domain.insights.series import SignalReader, SignalService
from domain.insights.wording import Wording
from domain.integrations.samples import Samples
from domain.ports import Clock, IdGenerator, TableStore
from domain.tracing import Tracer
from domain.unit_of_work import UnitsOfWork
from infra.ai.factory import wording
from infra.once import once
from infra.settings import Settings


class InsightParts:
    def __init__(
        self,
        settings: Settings,
        units: UnitsOfWork,
        tables: TableStore,
        limiter: RateLimiter,
        clock: Clock,
        ids: IdGenerator,
        *,
        key_hours: KeyHours,
        tracer: Tracer,
    ) -> None:
        self._tracer = tracer
        self._ids = ids
        self._reader = SignalReader(units, key_hours)
        self._settings = settings
        self._units = units
        self._tables = tables
        self._limiter = limiter
        self._clock = clock

    @once
    def signals(self) -> SignalService:
        return SignalService(self._units, self._clock, self._reader, retention=self._retention)

    @once
    def anomalies(self) -> AnomalyService:
        return AnomalyService(self._units, self._reader, self._clock)

    @once
    def watch(self) -> AnomalyWatch:
        return AnomalyWatch(self._units, self._reader, self._clock, self._ids, retention=self._retention)

    @property
    def _retention(self) -> timedelta:
        return timedelta(days=self._settings.signal_days)

    @once
    def overview(self) -> OverviewService:
        samples = Samples(self._tables, retention=timedelta(days=self._settings.health_sample_days))
        return OverviewService(self._units, samples, self._limiter, self._clock)

    @once
    def wording(self) -> Wording:
        return wording(self._settings, self._tables, self._clock, self._tracer)
