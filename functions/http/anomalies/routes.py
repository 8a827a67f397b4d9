"""`/api/insights/anomalies`: unusual hours and unusual uses of API keys (section 10.2)."""

from __future__ import annotations

from domain.core.permissions import INSIGHTS_MANAGE, INSIGHTS_READ
from domain.monitoring.anomalies.service import AcknowledgeAnomaly, AnomalyService, SnoozeAnomaly
from functions.http.anomalies.views import (
    AnomalyDetailView,
    AnomalyPage,
    AnomalyQuery,
    AnomalyView,
    anomaly_detail,
    anomaly_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import page_of
from infra.app.build import use

anomalies = Resource("insights/anomalies", tag="Insights", permission=INSIGHTS_READ)


@anomalies.get(query=AnomalyQuery, response=AnomalyPage)
def list_anomalies(call: Call) -> ApiResponse:
    """List anomalies.

    Newest first. A few minutes after each hour has ended, it is compared with the same hour in other weeks, for
    every webhook, integration, kind of sync and API key. Unusual hours in a row make one anomaly. Four things
    are detected at once: the use of a key from a new network, country or program, the use of a key for scopes
    it lacks, and 100 refused requests of a key within a minute."""
    query = call.query(AnomalyQuery)
    page = use(AnomalyService).page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, anomaly_view, AnomalyPage))


@anomalies.get("{id}", response=AnomalyDetailView)
def get_anomaly(call: Call) -> ApiResponse:
    """Get an anomaly.

    The answer includes the hours before and after it."""
    return ApiResponse(anomaly_detail(use(AnomalyService).get(call.principal, call.id())))


@anomalies.post(
    "{id}/acknowledge",
    permission=INSIGHTS_MANAGE,
    body=AcknowledgeAnomaly,
    body_is_optional=True,
    response=AnomalyView,
    refusals=(409,),
)
def acknowledge_anomaly(call: Call) -> ApiResponse:
    """Acknowledge an anomaly.

    Records that somebody is working on it. The anomaly still ends by itself."""
    command = call.body(AcknowledgeAnomaly, is_optional=True)
    return ApiResponse(anomaly_view(use(AnomalyService).acknowledge(call.principal, call.id(), command)))


@anomalies.post("{id}/snooze", permission=INSIGHTS_MANAGE, body=SnoozeAnomaly, response=AnomalyView)
def snooze_anomaly(call: Call) -> ApiResponse:
    """Snooze an anomaly.

    For the given number of hours nobody is notified about this metric of this subject. Anomalies are still
    stored."""
    command = call.body(SnoozeAnomaly)
    return ApiResponse(anomaly_view(use(AnomalyService).snooze(call.principal, call.id(), command)))
