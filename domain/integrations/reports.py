"""Looking back: an integration's health over time, its log, and forgetting both in due time (17.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.identity.model import Principal
from domain.integrations.lifecycle import MANAGE
from domain.integrations.model import Integration, IntegrationLog
from domain.integrations.ports import LogFilter
from domain.integrations.samples import Sample, Samples
from domain.integrations.vitals import Vitals, percentile, read_vitals, success_rate
from domain.paging import Page, PageRequest
from domain.ports import Clock
from domain.unit_of_work import UnitsOfWork

_SPANS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
_LAST_CHECKS = 20
_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class Window:
    """Success rate (0-1, None without checks) and response times in milliseconds over one span."""

    checks: int
    success_rate: float | None
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """`last_checks` newest first."""

    integration: Integration
    vitals: Vitals
    windows: dict[str, Window]
    last_checks: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Forgotten:
    logs: int
    samples: int


class Reports:
    def __init__(
        self, units: UnitsOfWork, samples: Samples, clock: Clock, *, log_retention: timedelta
    ) -> None:
        self._units = units
        self._samples = samples
        self._clock = clock
        self._log_retention = log_retention

    def health(self, principal: Principal, integration_id: UUID) -> HealthReport:
        """Raises NotFound, Unavailable."""
        principal.require(MANAGE)
        with self._units.read() as unit:
            integration = unit.integrations.get(principal.tenant_id, integration_id)
        now = self._clock.now()
        samples = self._samples.since(integration_id, now - max(_SPANS.values()))
        windows = {
            name: window([one for one in samples if one.at >= now - span]) for name, span in _SPANS.items()
        }
        last = samples[: -_LAST_CHECKS - 1 : -1]
        return HealthReport(integration, read_vitals(integration.vitals), windows, last)

    def logs(
        self, principal: Principal, integration_id: UUID, filter_: LogFilter, page: PageRequest
    ) -> Page[IntegrationLog]:
        """Newest first. Raises NotFound."""
        principal.require(MANAGE)
        with self._units.read() as unit:
            unit.integrations.get(principal.tenant_id, integration_id)
            return unit.integration_logs.page(integration_id, filter_, page)

    def forget_old(self, *, transactions: int = 500) -> Forgotten:
        """Remove log rows and samples past their retention, a bounded number of transactions a run."""
        now, logs = self._clock.now(), 0
        for _ in range(transactions):
            with self._units.write() as unit:
                count = unit.integration_logs.delete_before(now - self._log_retention, _CHUNK)
                unit.commit()
            logs += count
            if count < _CHUNK:
                break
        return Forgotten(logs, self._forget_samples(now))

    def _forget_samples(self, now: datetime) -> int:
        count, after = 0, None
        while True:
            with self._units.read() as unit:
                ids = unit.integrations.all_ids(after=after, limit=_CHUNK)
            if not ids:
                return count
            after = ids[-1]
            count += sum(self._samples.forget_old(one, now) for one in ids)


def window(samples: Sequence[Sample]) -> Window:
    """The figures of some samples; times are of the checks that succeeded."""
    times = sorted(one.milliseconds for one in samples if one.failure is None)
    rate = success_rate([one.milliseconds if one.failure is None else None for one in samples])
    return Window(
        checks=len(samples),
        success_rate=round(rate, 4) if samples else None,
        p50_ms=percentile(times, 0.50),
        p95_ms=percentile(times, 0.95),
        p99_ms=percentile(times, 0.99),
    )
