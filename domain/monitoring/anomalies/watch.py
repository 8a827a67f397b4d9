"""The hourly search for anomalies (section 10.2): each hour of a tenant is examined once, even after a crash."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock, IdGenerator
from domain.core.transaction import Transactions, in_steps
from domain.journal.signals import Signal, SubjectKind, hour_of
from domain.monitoring.anomalies.detection import HOUR, WATCHED, series_of, unusual_hours
from domain.monitoring.anomalies.model import Anomaly, AnomalySubject, Deviation, Direction, Metric
from domain.monitoring.anomalies.notices import event_of, name_of, occurrence_of, sentence
from domain.monitoring.anomalies.ports import AnomalyTransaction
from domain.monitoring.signal_series import SignalReader

logger = logging.getLogger("hub.insights")

#: Weeks a baseline is taken from.
PER_TRANSACTION = 500
WINDOW: Final = timedelta(days=28)
_AT_A_TIME: Final = timedelta(days=7)
#: Hours examined at most after a pause; nobody can act on older ones.
_CATCH_UP: Final = timedelta(hours=24)
#: How long after its end an hour may still get signals, because clocks differ.
_SETTLED: Final = timedelta(minutes=3)
#: An hour that is usual again does not end an anomaly, two in a row do.
_FORGIVEN: Final = 2 * HOUR
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class WatchResult:
    tenants: int = 0
    detected: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class _SubjectHour:
    subject: AnomalySubject
    metric: Metric
    deviation: Deviation


class AnomalyWatch:
    def __init__(
        self,
        transactions: Transactions[AnomalyTransaction],
        reader: SignalReader,
        clock: Clock,
        ids: IdGenerator,
        *,
        retention: timedelta,
    ) -> None:
        self._transactions = transactions
        self._reader = reader
        self._clock = clock
        self._ids = ids
        self._retention = retention

    def detect(self, seconds: float = 240.0) -> WatchResult:
        """Examine hours ended since the last run, tenants not reached then first. Raises Unavailable."""
        started, result = self._clock.now(), WatchResult()
        until = hour_of(started - _SETTLED)
        with self._transactions.read() as tx:
            watermarks = tx.anomalies.watermarks()
            tenants = tx.users.tenants()
        due = [tenant_id for tenant_id in tenants if watermarks.get(tenant_id, _NEVER) < until]
        for tenant_id in sorted(due, key=lambda tenant_id: watermarks.get(tenant_id, until)):
            if (self._clock.now() - started).total_seconds() > seconds:
                left = len(due) - result.tenants
                logger.warning("anomalies not looked for everywhere", extra={"tenants": left})
                break
            try:
                self._examine(tenant_id, watermarks.get(tenant_id), until, result)
            except Unavailable as error:
                fields = {"tenantId": str(tenant_id), "reason": error.detail}
                logger.warning("anomalies not looked for", extra=fields)
            result.tenants += 1
        return result

    def forget_old(self) -> int:
        cutoff = self._clock.now() - self._retention
        size = PER_TRANSACTION
        return in_steps(self._transactions, lambda tx: tx.anomalies.delete_before(cutoff, size), size)

    def _examine(
        self, tenant_id: UUID, watermark: datetime | None, until: datetime, result: WatchResult
    ) -> None:
        since = until - WINDOW
        examined_from = max(watermark, until - _CATCH_UP) if watermark is not None else until - HOUR
        signals = self._signals(tenant_id, since, until)
        found = unusual(signals, since, until, examined_from)
        with self._transactions.write() as tx:
            tx.anomalies.set_watermark(tenant_id, until, before=watermark)
            run = _AnomalyRun(tx, tenant_id, self._ids, self._clock.now())
            for unusual_hour in found:
                run.enter(unusual_hour)
            run.end_quiet(until)
            run.alert()
            tx.commit()
        result.detected += run.detected
        result.ended += run.ended

    def _signals(self, tenant_id: UUID, since: datetime, until: datetime) -> Iterator[Signal]:
        """Yield signals a week at a time, because 1,000 integrations have 672,000 in four weeks."""
        for kind in WATCHED:
            step = WINDOW if kind == SubjectKind.ApiKey else _AT_A_TIME
            start = since
            while start < until:
                end = min(start + step, until)
                yield from self._reader.read(tenant_id, kind, since=start, until=end)
                start = end


def unusual(
    signals: Iterable[Signal], since: datetime, until: datetime, examined_from: datetime
) -> list[_SubjectHour]:
    """Return the unusual hours from `examined_from` on, in the order of time."""
    start = (examined_from - since) // HOUR
    found = []
    for subject, metric, series in series_of(signals, since, until):
        for hour in unusual_hours(metric, series, since=start):
            at = since + hour.index * HOUR
            deviation = Deviation(at, hour.direction, hour.observed, hour.expected, hour.score)
            found.append(_SubjectHour(subject, metric, deviation))
    return sorted(found, key=lambda hour: hour.deviation.hour)


class _AnomalyRun:
    def __init__(self, tx: AnomalyTransaction, tenant_id: UUID, ids: IdGenerator, now: datetime) -> None:
        self._tx = tx
        self._tenant_id = tenant_id
        self._ids = ids
        self._now = now
        self._active = {
            (anomaly.subject, anomaly.metric, anomaly.direction): anomaly
            for anomaly in tx.anomalies.active(tenant_id)
        }
        self._snoozed = tx.anomalies.snoozed(tenant_id, now)
        self._seen: dict[UUID, Anomaly] = {}
        self.detected = 0
        self.ended = 0

    def enter(self, found: _SubjectHour) -> None:
        subject, metric, deviation = found.subject, found.metric, found.deviation
        named = name_of(self._tx, self._tenant_id, subject)
        # What was switched off or removed is quiet for a known reason.
        if named is None or (deviation.direction == Direction.Below and not named[1]):
            return
        key = (subject, metric, deviation.direction)
        detail = sentence(named[0], subject, metric, deviation)
        current = self._active.get(key)
        if current is not None and deviation.hour - current.last_seen_at > _FORGIVEN:
            self._end(current)
            current = None
        if current is None:
            self._active[key] = self._begin(subject, metric, deviation, detail)
        elif deviation.hour > current.last_seen_at:
            self._active[key] = self._go_on(current, deviation, detail)

    def end_quiet(self, until: datetime) -> None:
        for anomaly in list(self._active.values()):
            if until - anomaly.last_seen_at > _FORGIVEN:
                self._end(anomaly)

    def alert(self) -> None:
        """Raise an occurrence for each anomaly seen, so that its alert lasts as long as it does."""
        for anomaly in self._seen.values():
            if not self._is_snoozed(anomaly):
                self._tx.occurrences.append(occurrence_of(anomaly, self._now))

    def _begin(self, subject: AnomalySubject, metric: Metric, deviation: Deviation, detail: str) -> Anomaly:
        anomaly = Anomaly(
            self._ids.new(),
            self._tenant_id,
            subject,
            metric,
            deviation.direction,
            started_at=deviation.hour,
            last_seen_at=deviation.hour,
            detail=detail,
            observed=deviation.observed,
            expected=deviation.expected,
            score=deviation.score,
        )
        self._tx.anomalies.add(self._tenant_id, anomaly)
        if not self._is_snoozed(anomaly):
            self._tx.outbox.append([event_of(anomaly)])
        self._seen[anomaly.anomaly_id] = anomaly
        self.detected += 1
        return anomaly

    def _go_on(self, current: Anomaly, deviation: Deviation, detail: str) -> Anomaly:
        after = replace(current, last_seen_at=deviation.hour, hours=current.hours + 1)
        if deviation.score > (current.score or 0.0):
            observed, expected = deviation.observed, deviation.expected
            after = replace(after, detail=detail, observed=observed, expected=expected, score=deviation.score)
        self._tx.anomalies.update(self._tenant_id, after)
        self._seen[after.anomaly_id] = after
        return after

    def _end(self, anomaly: Anomaly) -> None:
        ended = replace(anomaly, ended_at=anomaly.last_seen_at + HOUR)
        self._tx.anomalies.update(self._tenant_id, ended)
        self._active.pop((anomaly.subject, anomaly.metric, anomaly.direction), None)
        self.ended += 1

    def _is_snoozed(self, anomaly: Anomaly) -> bool:
        return (anomaly.subject.subject_id, anomaly.metric) in self._snoozed
