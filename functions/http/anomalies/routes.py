"""`/api/insights/anomalies`: what is unusual (section 10.2)."""

from __future__ import annotations

import azure.functions as func

from domain.core.permissions import INSIGHTS_MANAGE, INSIGHTS_READ
from domain.monitoring.anomalies.service import AcknowledgeAnomaly, SnoozeAnomaly
from functions.http.anomalies.views import (
    AnomalyDetailView,
    AnomalyPage,
    AnomalyQuery,
    AnomalyView,
    anomaly_detail,
    anomaly_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.endpoint import Endpoint, serve
from functions.http.kit.views import page_of
from infra.app.build import hub

bp = func.Blueprint()
_TAG = "Insights"


@serve(
    bp,
    Endpoint(
        "GET",
        "insights/anomalies",
        "list_anomalies",
        "List anomalies",
        _TAG,
        permission=INSIGHTS_READ,
        query=AnomalyQuery,
        response=AnomalyPage,
    ),
)
def list_anomalies(call: Call) -> ApiResponse:
    """Newest first. Every hour of a webhook, an integration, a kind of sync and an API key is compared with the same
    hour in other weeks, a few minutes after it has ended; unusual hours in a row are one anomaly. Uses of a key from
    a new network, country or program, and for scopes it lacks, and 100 of its requests refused within a minute are seen
    at once."""
    query = call.query(AnomalyQuery)
    page = hub().insights.anomalies.page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, anomaly_view, AnomalyPage))


@serve(
    bp,
    Endpoint(
        "GET",
        "insights/anomalies/{id}",
        "get_anomaly",
        "Get an anomaly",
        _TAG,
        permission=INSIGHTS_READ,
        response=AnomalyDetailView,
        refusals=(404,),
    ),
)
def get_anomaly(call: Call) -> ApiResponse:
    """With the hours around it."""
    return ApiResponse(anomaly_detail(hub().insights.anomalies.get(call.principal, call.id())))


@serve(
    bp,
    Endpoint(
        "POST",
        "insights/anomalies/{id}/acknowledge",
        "acknowledge_anomaly",
        "Acknowledge an anomaly",
        _TAG,
        permission=INSIGHTS_MANAGE,
        body=AcknowledgeAnomaly,
        body_is_optional=True,
        response=AnomalyView,
        refusals=(404, 409),
    ),
)
def acknowledge_anomaly(call: Call) -> ApiResponse:
    """Says that somebody looks after it. It still ends by itself."""
    command = call.body(AcknowledgeAnomaly, is_optional=True)
    return ApiResponse(anomaly_view(hub().insights.anomalies.acknowledge(call.principal, call.id(), command)))


@serve(
    bp,
    Endpoint(
        "POST",
        "insights/anomalies/{id}/snooze",
        "snooze_anomaly",
        "Snooze an anomaly",
        _TAG,
        permission=INSIGHTS_MANAGE,
        body=SnoozeAnomaly,
        response=AnomalyView,
        refusals=(404,),
    ),
)
def snooze_anomaly(call: Call) -> ApiResponse:
    """For so many hours from now nothing is told of this metric of this subject; it is stored all the same."""
    command = call.body(SnoozeAnomaly)
    return ApiResponse(anomaly_view(hub().insights.anomalies.snooze(call.principal, call.id(), command)))
