"""Anomalies as they go over the wire."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from domain.monitoring.anomalies.model import Anomaly, AnomalyFilter, AnomalyStatus, Metric
from domain.monitoring.anomalies.notices import type_of
from domain.monitoring.anomalies.service import AnomalyDetail
from functions.http.kit.views import CommaSeparated, Moment, PageQuery, PageView, View

MetricName = Literal[
    "traffic",
    "error-rate",
    "latency",
    "sync-volume",
    "refusals",
    "new-network",
    "new-country",
    "new-client",
    "scope-probing",
]
StatusName = Literal["Active", "Ended"]


class ExpectationView(View):
    typical: float
    low: float
    high: float


class AnomalyView(View):
    anomaly_id: UUID
    status: StatusName
    subject_type: Literal["webhook", "integration", "apikey"]
    subject_id: UUID
    metric: MetricName
    direction: Literal["Above", "Below"]
    detail: str = Field(description="The anomaly in one sentence")
    observed: float | None = Field(
        description="Value of the worst hour: a count of attempts, requests or records; a share of 1; or milliseconds "
        "(95th percentile). Null where the anomaly is a single event"
    )
    expected: ExpectationView | None = Field(
        description="The same hour in other weeks: `typical`, and the range that all but 3 hours in 1,000 keep within"
    )
    score: float | None = Field(
        description="Distance from the typical in robust standard deviations; 6 and more is unusual"
    )
    hours: int = Field(description="Unusual hours so far")
    started_at: Moment
    last_seen_at: Moment = Field(description="Start of the last unusual hour")
    ended_at: Moment | None
    acknowledged_at: Moment | None
    acknowledged_by: UUID | None
    note: str | None
    snoozed_until: Moment | None


class HourView(View):
    start: Moment
    value: float | None = Field(description="Null where nothing was measured")


class AnomalyDetailView(AnomalyView):
    series: list[HourView] = Field(
        description="The hours before and after it; empty where the anomaly is a single event"
    )


class AnomalyPage(PageView[AnomalyView]):
    pass


class AnomalyQuery(PageQuery):
    status: StatusName | None = None
    metric: CommaSeparated[MetricName] | None = Field(None, description="One or more, separated by commas")
    subject_id: UUID | None = Field(None, description="A webhook, integration or API key")
    acknowledged: bool | None = None

    def to_filter(self) -> AnomalyFilter:
        return AnomalyFilter(
            status=None if self.status is None else AnomalyStatus[self.status],
            metrics=tuple(Metric(name) for name in self.metric or ()),
            subject_id=self.subject_id,
            is_acknowledged=self.acknowledged,
        )


def anomaly_fields(anomaly: Anomaly) -> dict[str, Any]:
    expected = anomaly.expected
    return {
        "anomaly_id": anomaly.anomaly_id,
        "status": anomaly.status.name,
        "subject_type": type_of(anomaly.subject.kind),
        "subject_id": anomaly.subject.subject_id,
        "metric": anomaly.metric.value,
        "direction": anomaly.direction.name,
        "detail": anomaly.detail,
        "observed": anomaly.observed,
        "expected": None
        if expected is None
        else ExpectationView(typical=expected.typical, low=expected.low, high=expected.high),
        "score": anomaly.score,
        "hours": anomaly.hours,
        "started_at": anomaly.started_at,
        "last_seen_at": anomaly.last_seen_at,
        "ended_at": anomaly.ended_at,
        "acknowledged_at": anomaly.acknowledged_at,
        "acknowledged_by": anomaly.acknowledged_by,
        "note": anomaly.note,
        "snoozed_until": anomaly.snoozed_until,
    }


def anomaly_view(anomaly: Anomaly) -> AnomalyView:
    return AnomalyView(**anomaly_fields(anomaly))


def anomaly_detail(detail: AnomalyDetail) -> AnomalyDetailView:
    series = [HourView(start=hour.start, value=hour.value) for hour in detail.hours]
    return AnomalyDetailView(**anomaly_fields(detail.anomaly), series=series)
