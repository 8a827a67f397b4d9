"""The past of an integration: its health over time and its log, and their deletion after retention (section 17.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock, TableEntity, TableStore, TableWrite
from domain.core.principal import Principal
from domain.core.transaction import Transactions, in_steps
from domain.integrations.access import reached
from domain.integrations.health_rules import Vitals, percentile, read_vitals, success_rate
from domain.integrations.model import Integration, IntegrationLog
from domain.integrations.ports import IntegrationTransaction, LogFilter

TABLE = "integrationhealth"
PAGE = 1000
ROWS_PER_TRANSACTION = 100


@dataclass(frozen=True, slots=True)
class HealthSample:
    """One check. `failure` is None when it succeeded; `milliseconds` how long the provider took."""

    at: datetime
    milliseconds: int
    failure: str | None = None


class HealthSamples:
    """Health checks in the table store, one partition for each integration."""

    def __init__(self, tables: TableStore, *, retention: timedelta) -> None:
        self._tables = tables
        self._retention = retention

    def add(self, integration_id: UUID, sample: HealthSample) -> None:
        """Store a sample. Raises Unavailable."""
        properties: dict[str, str | int] = {"ms": sample.milliseconds}
        if sample.failure is not None:
            properties["failure"] = sample.failure
        self._tables.upsert(TABLE, TableEntity(integration_id.hex, _row_key(sample.at), properties))

    def since(self, integration_id: UUID, moment: datetime) -> list[HealthSample]:
        """Return the samples since `moment`, oldest first. Raises Unavailable."""
        return [_sample(entity) for entity in self._entities(integration_id, _row_key(moment), None)]

    def forget_old(self, integration_id: UUID, now: datetime) -> int:
        """Remove samples past their retention; return how many. Raises Unavailable."""
        old = list(self._entities(integration_id, "", _row_key(now - self._retention)))
        for start in range(0, len(old), ROWS_PER_TRANSACTION):
            entities = old[start : start + ROWS_PER_TRANSACTION]
            self._tables.transact(TABLE, [TableWrite("delete", entity) for entity in entities])
        return len(old)

    def _entities(self, integration_id: UUID, row_from: str, row_to: str | None) -> Iterator[TableEntity]:
        while True:
            page = self._tables.query(
                TABLE, integration_id.hex, row_key_from=row_from, row_key_to=row_to, limit=PAGE
            )
            yield from page
            if len(page) < PAGE:
                return
            # The smallest key beyond the last one.
            row_from = f"{page[-1].row_key}0"


def _row_key(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")


def _sample(entity: TableEntity) -> HealthSample:
    at = datetime.strptime(entity.row_key, "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    failure = entity.properties.get("failure")
    return HealthSample(at, int(str(entity.properties["ms"])), None if failure is None else str(failure))


_SPANS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
_LAST_CHECKS = 20
CHUNK = 1000


@dataclass(frozen=True, slots=True)
class HealthWindow:
    """Success rate (0-1, None without checks) and response times in milliseconds over one span."""

    checks: int
    success_rate: float | None
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


@dataclass(frozen=True, slots=True)
class HealthReport:
    """An integration's health now and over each span; `last_checks` has the newest first."""

    integration: Integration
    vitals: Vitals
    windows: dict[str, HealthWindow]
    last_checks: Sequence[HealthSample]


class IntegrationHistory:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        samples: HealthSamples,
        clock: Clock,
        *,
        log_retention: timedelta,
    ) -> None:
        self._transactions = transactions
        self._samples = samples
        self._clock = clock
        self._log_retention = log_retention

    def health(self, principal: Principal, integration_id: UUID) -> HealthReport:
        """Return the health over an hour, a day and a week. Raises NotFound, Unavailable."""
        with self._transactions.read() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
        integration = reached(principal, INTEGRATION_MANAGE, found)
        now = self._clock.now()
        samples = self._samples.since(integration_id, now - max(_SPANS.values()))
        windows = {
            name: window([sample for sample in samples if sample.at >= now - span])
            for name, span in _SPANS.items()
        }
        last = samples[: -_LAST_CHECKS - 1 : -1]
        return HealthReport(integration, read_vitals(integration.vitals), windows, last)

    def logs(
        self, principal: Principal, integration_id: UUID, filter_: LogFilter, page: PageRequest
    ) -> Page[IntegrationLog]:
        """Return a page of the log, newest first. Raises NotFound."""
        with self._transactions.read() as tx:
            reached(principal, INTEGRATION_MANAGE, tx.integrations.get(principal.tenant_id, integration_id))
            return tx.integration_logs.page(integration_id, filter_, page)

    def forget_old(self, *, transactions: int = 500) -> tuple[int, int]:
        """Remove what is past its retention, logs in at most `transactions`; return how many (log rows, samples)."""
        now = self._clock.now()

        def step(tx: IntegrationTransaction) -> int:
            return tx.integration_logs.delete_before(now - self._log_retention, CHUNK)

        return in_steps(self._transactions, step, CHUNK, most=transactions), self._forget_samples(now)

    def _forget_samples(self, now: datetime) -> int:
        count, after = 0, None
        while True:
            with self._transactions.read() as tx:
                ids = tx.integrations.all_ids(after=after, limit=CHUNK)
            if not ids:
                return count
            after = ids[-1]
            count += sum(self._samples.forget_old(id_, now) for id_ in ids)


def window(samples: Sequence[HealthSample]) -> HealthWindow:
    """Return the figures of `samples`; times are of the checks that succeeded."""
    times = sorted(sample.milliseconds for sample in samples if sample.failure is None)
    rate = success_rate([sample.milliseconds if sample.failure is None else None for sample in samples])
    return HealthWindow(
        checks=len(samples),
        success_rate=round(rate, 4) if samples else None,
        p50_ms=percentile(times, 0.50),
        p95_ms=percentile(times, 0.95),
        p99_ms=percentile(times, 0.99),
    )
