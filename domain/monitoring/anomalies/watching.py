"""The hourly look for anomalies (section 10.2): every tenant's hours are judged once, whatever crashes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock, IdGenerator
from domain.core.transaction import Transactions, in_steps
from domain.journal.signals import Signal, SubjectKind, hour_of
from domain.monitoring.anomalies.detection import HOUR, WATCHED, series_of, unusual_hours
from domain.monitoring.anomalies.model import Anomaly, AnomalySubject, Deviation, Direction, Metric
from domain.monitoring.anomalies.ports import AnomalyTransaction
from domain.monitoring.anomalies.telling import event_of, name_of, occurrence_of, sentence
from domain.monitoring.signal_series import SignalReader

logger = logging.getLogger("hub.insights")

#: Weeks a baseline is taken from.
WINDOW: Final = timedelta(days=28)
_AT_A_TIME: Final = timedelta(days=7)
#: Hours judged at most after a pause; older ones nobody can act on.
_CATCH_UP: Final = timedelta(hours=24)
#: After its end an hour gets no more signals, but for clocks that differ.
_SETTLED: Final = timedelta(minutes=3)
#: An hour that is usual again does not end an anomaly, two in a row do.
_FORGIVEN: Final = 2 * HOUR
_PER_TRANSACTION = 500


@dataclass(slots=True)
class WatchResult:
    """How a run went."""

    tenants: int = 0
    detected: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
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
        """Judge the hours that have ended since the last time, tenant by tenant, for about so many seconds; those
        not reached come first in the next run. Raises Unavailable."""
        started, done = self._clock.now(), WatchResult()
        until = hour_of(started - _SETTLED)
        with self._transactions.read() as tx:
            watermarks = tx.anomalies.watermarks()
            tenants = tx.users.tenants()
        due = [tenant for tenant in tenants if tenant not in watermarks or watermarks[tenant] < until]
        for tenant_id in sorted(due, key=lambda one: watermarks.get(one, until)):
            if (self._clock.now() - started).total_seconds() > seconds:
                logger.warning(
                    "anomalies not looked for everywhere", extra={"tenants": len(due) - done.tenants}
                )
                break
            try:
                self._judge(tenant_id, watermarks.get(tenant_id), until, done)
            except Unavailable as error:
                logger.warning(
                    "anomalies not looked for", extra={"tenantId": str(tenant_id), "reason": error.detail}
                )
            done.tenants += 1
        return done

    def forget_old(self) -> int:
        """Remove anomalies that ended longer ago than the retention; returns how many."""
        cutoff = self._clock.now() - self._retention
        return in_steps(
            self._transactions,
            lambda tx: tx.anomalies.delete_before(cutoff, _PER_TRANSACTION),
            _PER_TRANSACTION,
        )

    def _judge(self, tenant_id: UUID, watermark: datetime | None, until: datetime, done: WatchResult) -> None:
        since = until - WINDOW
        judged_from = max(watermark, until - _CATCH_UP) if watermark is not None else until - HOUR
        signals = self._signals(tenant_id, since, until)
        found = unusual(signals, since, until, judged_from)
        with self._transactions.write() as tx:
            tx.anomalies.set_watermark(tenant_id, until, before=watermark)
            book = _Book(tx, tenant_id, self._ids, self._clock.now())
            for one in found:
                book.enter(one)
            book.end_quiet(until)
            book.alert()
            tx.commit()
        done.detected += book.detected
        done.ended += book.ended

    def _signals(self, tenant_id: UUID, since: datetime, until: datetime) -> Iterator[Signal]:
        """A week at a time, for 1,000 integrations have 672,000 in four. Those of keys cost a read each time, and are
        few."""
        for kind in WATCHED:
            step = WINDOW if kind == SubjectKind.ApiKey else _AT_A_TIME
            start = since
            while start < until:
                end = min(start + step, until)
                yield from self._reader.read(tenant_id, kind, since=start, until=end)
                start = end


def unusual(
    signals: Iterable[Signal], since: datetime, until: datetime, judged_from: datetime
) -> list[_Found]:
    """The unusual hours from `judged_from` on, in the order of time."""
    start = (judged_from - since) // HOUR
    found = [
        _Found(
            subject,
            metric,
            Deviation(
                since + unusual_hour.index * HOUR,
                unusual_hour.direction,
                unusual_hour.observed,
                unusual_hour.expected,
                unusual_hour.score,
            ),
        )
        for subject, metric, samples in series_of(signals, since, until)
        for unusual_hour in unusual_hours(metric, samples, since=start)
    ]
    return sorted(found, key=lambda one: one.deviation.hour)


class _Book:
    """One tenant's active anomalies during a pass, in its transaction."""

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

    def enter(self, found: _Found) -> None:
        """Begin an anomaly with this hour, or add the hour to the one that goes on."""
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
        """End those that two usual hours followed."""
        for one in list(self._active.values()):
            if until - one.last_seen_at > _FORGIVEN:
                self._end(one)

    def alert(self) -> None:
        """Once for each that was seen, so that its alert lasts as long as it does."""
        for one in self._seen.values():
            if not self._is_snoozed(one):
                self._tx.occurrences.append(occurrence_of(one, self._now))

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
            after = replace(
                after,
                detail=detail,
                observed=deviation.observed,
                expected=deviation.expected,
                score=deviation.score,
            )
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
