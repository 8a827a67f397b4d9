"""Anomalies, and what keys showed, over SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, update

from domain.core.errors import Unavailable
from domain.core.paging import Page, PageRequest
from domain.core.text_length import cut
from domain.monitoring.anomalies.model import (
    Anomaly,
    AnomalyFilter,
    AnomalyStatus,
    AnomalySubject,
    Expectation,
    Metric,
)
from domain.monitoring.anomalies.ports import SeenTrait, Sighting, Trait
from infra.sql.firsts import delete_first
from infra.sql.monitoring.tables import anomalies, anomaly_watermarks, key_sightings
from infra.sql.statements import guarded_by_unique_key, key_lists, page_of, row_of

_a = anomalies.c
_w = anomaly_watermarks.c
_k = key_sightings.c


class SqlAnomalies:
    """Satisfies `domain.monitoring.anomalies.ports.Anomalies`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, tenant_id: UUID, anomaly: Anomaly) -> None:
        with guarded_by_unique_key():
            self._connection.execute(
                insert(anomalies).values(
                    AnomalyId=anomaly.anomaly_id,
                    TenantId=tenant_id,
                    SubjectKind=anomaly.subject.kind,
                    SubjectId=anomaly.subject.subject_id,
                    Metric=anomaly.metric.value,
                    Direction=anomaly.direction,
                    StartedAt=anomaly.started_at,
                    **_seen(anomaly),
                )
            )

    def get(self, tenant_id: UUID, anomaly_id: UUID) -> Anomaly:
        statement = select(anomalies).where(_a.AnomalyId == anomaly_id, _a.TenantId == tenant_id)
        return _anomaly_of(row_of(self._connection, statement, "anomaly"))

    def page(self, tenant_id: UUID, filter_: AnomalyFilter, page: PageRequest) -> Page[Anomaly]:
        # IX_Anomaly_Started
        statement = select(anomalies).where(_a.TenantId == tenant_id)
        if filter_.status is not None:
            is_active = filter_.status == AnomalyStatus.Active
            statement = statement.where(_a.EndedAt.is_(None) if is_active else _a.EndedAt.is_not(None))
        if filter_.metrics:
            statement = statement.where(_a.Metric.in_([metric.value for metric in filter_.metrics]))
        if filter_.subject_id is not None:
            statement = statement.where(_a.SubjectId == filter_.subject_id)
        if filter_.is_acknowledged is not None:
            decided = _a.AcknowledgedAt
            statement = statement.where(
                decided.is_not(None) if filter_.is_acknowledged else decided.is_(None)
            )
        ordered = statement.order_by(_a.StartedAt.desc(), _a.AnomalyId.desc())
        return page_of(self._connection, ordered, page, _anomaly_of)

    def active(self, tenant_id: UUID) -> list[Anomaly]:
        # UX_Anomaly_Active
        statement = (
            select(anomalies)
            .where(_a.TenantId == tenant_id, _a.EndedAt.is_(None))
            .order_by(_a.SubjectId, _a.SubjectKind, _a.Metric)
        )
        return [_anomaly_of(row) for row in self._connection.execute(statement)]

    def update(self, tenant_id: UUID, anomaly: Anomaly) -> None:
        statement = (
            update(anomalies)
            .where(_a.AnomalyId == anomaly.anomaly_id, _a.TenantId == tenant_id)
            .values(**_seen(anomaly))
        )
        self._connection.execute(statement)

    def decide(self, tenant_id: UUID, anomaly: Anomaly) -> None:
        statement = (
            update(anomalies)
            .where(_a.AnomalyId == anomaly.anomaly_id, _a.TenantId == tenant_id)
            .values(
                AcknowledgedAt=anomaly.acknowledged_at,
                AcknowledgedBy=anomaly.acknowledged_by,
                Note=anomaly.note,
                SnoozedUntil=anomaly.snoozed_until,
            )
        )
        self._connection.execute(statement)

    def snoozed(self, tenant_id: UUID, now: datetime) -> set[tuple[UUID, Metric]]:
        # IX_Anomaly_Snoozed
        statement = select(_a.SubjectId, _a.Metric).where(
            _a.TenantId == tenant_id, _a.SnoozedUntil.is_not(None), _a.SnoozedUntil > now
        )
        return {(row.SubjectId, Metric(row.Metric)) for row in self._connection.execute(statement)}

    def exists_since(self, tenant_id: UUID, subject_id: UUID, metric: Metric, since: datetime) -> bool:
        # IX_Anomaly_Started
        statement = select(func.max(_a.StartedAt)).where(
            _a.TenantId == tenant_id,
            _a.StartedAt >= since,
            _a.SubjectId == subject_id,
            _a.Metric == metric.value,
        )
        return self._connection.execute(statement).scalar_one() is not None

    def watermarks(self) -> dict[UUID, datetime]:
        rows = self._connection.execute(select(_w.TenantId, _w.Hour))
        return {row.TenantId: row.Hour for row in rows}

    def set_watermark(self, tenant_id: UUID, hour: datetime, *, before: datetime | None) -> None:
        if before is None:
            with guarded_by_unique_key():
                self._connection.execute(insert(anomaly_watermarks).values(TenantId=tenant_id, Hour=hour))
            return
        statement = (
            update(anomaly_watermarks).where(_w.TenantId == tenant_id, _w.Hour == before).values(Hour=hour)
        )
        if self._connection.execute(statement).rowcount != 1:
            raise Unavailable("The same hours are being judged by another process.")

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # IX_Anomaly_Ended
        oldest = delete_first(anomalies, _a.EndedAt < cutoff, order_by=_a.EndedAt, limit=limit)
        return self._connection.execute(oldest).rowcount


class SqlSightings:
    """Satisfies `domain.monitoring.anomalies.ports.Sightings`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self, api_key_id: UUID, trait: Trait) -> list[SeenTrait]:
        # PK_KeySightings
        statement = select(_k.Value, _k.FirstSeenAt, _k.LastSeenAt).where(
            _k.ApiKeyId == api_key_id, _k.Trait == trait
        )
        return [SeenTrait(*row) for row in self._connection.execute(statement)]

    def known_of(self, api_key_ids: Collection[UUID], trait: Trait) -> dict[UUID, list[SeenTrait]]:
        found: dict[UUID, list[SeenTrait]] = {}
        for some in key_lists(api_key_ids):
            # PK_KeySightings
            statement = select(_k.ApiKeyId, _k.Value, _k.FirstSeenAt, _k.LastSeenAt).where(
                _k.ApiKeyId.in_(some), _k.Trait == trait
            )
            for key_id, *known in self._connection.execute(statement):
                found.setdefault(key_id, []).append(SeenTrait(*known))
        return found

    def see(self, sightings: Sequence[Sighting], now: datetime) -> list[Sighting]:
        new = []
        for sighting in sorted(sightings, key=_sighted):
            # PK_KeySightings
            statement = (
                update(key_sightings)
                .where(
                    _k.ApiKeyId == sighting.api_key_id, _k.Trait == sighting.trait, _k.Value == sighting.value
                )
                .values(LastSeenAt=now)
            )
            if self._connection.execute(statement).rowcount == 0:
                new.append(sighting)
        if new:
            rows = [
                {
                    "ApiKeyId": sighting.api_key_id,
                    "Trait": sighting.trait,
                    "Value": sighting.value,
                    "TenantId": sighting.tenant_id,
                    "FirstSeenAt": now,
                    "LastSeenAt": now,
                }
                for sighting in new
            ]
            with guarded_by_unique_key():
                self._connection.execute(insert(key_sightings), rows)
        return new

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # IX_KeySighting_LastSeen
        oldest = delete_first(key_sightings, _k.LastSeenAt < cutoff, order_by=_k.LastSeenAt, limit=limit)
        return self._connection.execute(oldest).rowcount


def _sighted(sighting: Sighting) -> tuple[Any, ...]:
    """Return the columns of PK_KeySightings."""
    return sighting.api_key_id, sighting.trait, sighting.value


def _seen(anomaly: Anomaly) -> dict[str, Any]:
    expected = anomaly.expected
    return {
        "Detail": cut(anomaly.detail, 400),
        "Observed": anomaly.observed,
        "Typical": expected.typical if expected else None,
        "Low": expected.low if expected else None,
        "High": expected.high if expected else None,
        "Score": anomaly.score,
        "Hours": anomaly.hours,
        "LastSeenAt": anomaly.last_seen_at,
        "EndedAt": anomaly.ended_at,
    }


def _anomaly_of(row: Any) -> Anomaly:
    typical = row.Typical
    return Anomaly(
        anomaly_id=row.AnomalyId,
        tenant_id=row.TenantId,
        subject=AnomalySubject(row.SubjectKind, row.SubjectId),
        metric=Metric(row.Metric),
        direction=row.Direction,
        started_at=row.StartedAt,
        last_seen_at=row.LastSeenAt,
        detail=row.Detail,
        observed=row.Observed,
        expected=None if typical is None else Expectation(typical, row.Low, row.High),
        score=row.Score,
        hours=row.Hours,
        ended_at=row.EndedAt,
        acknowledged_at=row.AcknowledgedAt,
        acknowledged_by=row.AcknowledgedBy,
        note=row.Note,
        snoozed_until=row.SnoozedUntil,
    )
