"""Use cases of anomalies: list, acknowledge and snooze them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field

from domain.core.errors import Conflict
from domain.core.paging import Page, PageRequest
from domain.core.permissions import INSIGHTS_MANAGE, INSIGHTS_READ
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.text_length import TextConstraints
from domain.core.transaction import Transactions
from domain.core.wire import Command
from domain.journal.audit import AuditEntry
from domain.monitoring.anomalies.detection import HOUR, WATCHED, hour_value
from domain.monitoring.anomalies.model import Anomaly, AnomalyFilter
from domain.monitoring.anomalies.ports import AnomalyTransaction
from domain.monitoring.signal_series import SignalReader

#: Shown before the first and after the last unusual hour.
_AROUND = 24 * HOUR


class AcknowledgeAnomaly(Command):
    note: Annotated[str, TextConstraints(min_length=1, max_length=400)] | None = None


class SnoozeAnomaly(Command):
    hours: int = Field(ge=1, le=24 * 30, description="Hours in which such anomalies are not announced")


@dataclass(frozen=True, slots=True)
class MeasuredHour:
    start: datetime
    value: float | None


@dataclass(frozen=True, slots=True)
class AnomalyDetail:
    anomaly: Anomaly
    hours: Sequence[MeasuredHour]


class AnomalyService:
    def __init__(
        self, transactions: Transactions[AnomalyTransaction], reader: SignalReader, clock: Clock
    ) -> None:
        self._transactions = transactions
        self._reader = reader
        self._clock = clock

    def page(self, principal: Principal, filter_: AnomalyFilter, page: PageRequest) -> Page[Anomaly]:
        principal.require(INSIGHTS_READ)
        with self._transactions.read() as tx:
            return tx.anomalies.page(principal.tenant_id, filter_, page)

    def get(self, principal: Principal, anomaly_id: UUID) -> AnomalyDetail:
        """Return an anomaly with the hours around it. Raises Forbidden, NotFound, Unavailable."""
        principal.require(INSIGHTS_READ)
        with self._transactions.read() as tx:
            anomaly = tx.anomalies.get(principal.tenant_id, anomaly_id)
        return AnomalyDetail(anomaly, self._hours(anomaly))

    def acknowledge(self, principal: Principal, anomaly_id: UUID, command: AcknowledgeAnomaly) -> Anomaly:
        """Record that somebody looks after it. Raises Forbidden, NotFound; Conflict if that is so."""
        principal.require(INSIGHTS_MANAGE)
        with self._transactions.write() as tx:
            before = tx.anomalies.get(principal.tenant_id, anomaly_id)
            if before.acknowledged_at is not None:
                raise Conflict("The anomaly is already acknowledged.")
            now, by = self._clock.now(), principal.user_id
            after = replace(before, acknowledged_at=now, acknowledged_by=by, note=command.note)
            self._decide(tx, principal, "anomaly.acknowledged", before=before, after=after)
        return after

    def snooze(self, principal: Principal, anomaly_id: UUID, command: SnoozeAnomaly) -> Anomaly:
        """Announce nothing of the same subject and metric for a while. Raises Forbidden, NotFound."""
        principal.require(INSIGHTS_MANAGE)
        until = self._clock.now() + timedelta(hours=command.hours)
        with self._transactions.write() as tx:
            before = tx.anomalies.get(principal.tenant_id, anomaly_id)
            after = replace(before, snoozed_until=until)
            self._decide(tx, principal, "anomaly.snoozed", before=before, after=after)
        return after

    def _decide(
        self, tx: AnomalyTransaction, principal: Principal, action: str, *, before: Anomaly, after: Anomaly
    ) -> None:
        tx.anomalies.decide(principal.tenant_id, after)
        states = _state(before), _state(after)
        entry = AuditEntry(action, "anomaly", after.anomaly_id, principal, *states)
        tx.audit.append(principal.tenant_id, entry)
        tx.commit()

    def _hours(self, anomaly: Anomaly) -> list[MeasuredHour]:
        subject, metric = anomaly.subject, anomaly.metric
        if metric not in WATCHED.get(subject.kind, ()) or anomaly.expected is None:
            return []
        since = anomaly.started_at - _AROUND
        end = anomaly.last_seen_at + HOUR + _AROUND
        until = min(end, since + timedelta(days=14), self._clock.now())
        signals = self._reader.read(
            anomaly.tenant_id, subject.kind, since=since, until=until, subject_id=subject.subject_id
        )
        tallies = {signal.hour: signal.tally for signal in signals}
        hours = []
        while since < until:
            hour = hour_value(metric, tallies.get(since))
            hours.append(MeasuredHour(since, None if hour is None else hour.value))
            since += HOUR
        return hours


def _state(anomaly: Anomaly) -> dict[str, str | None]:
    acknowledged, snoozed = (
        None if moment is None else moment.isoformat()
        for moment in (anomaly.acknowledged_at, anomaly.snoozed_until)
    )
    return {"acknowledgedAt": acknowledged, "note": anomaly.note, "snoozedUntil": snoozed}
