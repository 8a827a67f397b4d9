"""`/api/insights`: signals, the overview, and the dashboard that shows them (sections 10, 12 and 19)."""

from __future__ import annotations

import azure.functions as func

from domain.core.permissions import INSIGHTS_READ
from domain.journal.signals import SubjectKind
from domain.monitoring.dashboard import OverviewService
from domain.monitoring.signal_series import SignalService
from functions.http.insights.views import (
    OverviewQuery,
    OverviewView,
    SeriesView,
    SignalQuery,
    overview_view,
    series_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource, serve
from infra.app.build import hub, use

insights = Resource("insights", tag="Insights", permission=INSIGHTS_READ)


@insights.get("signals", query=SignalQuery, response=SeriesView)
def list_signals(call: Call) -> ApiResponse:
    """List signals by hour or day.

    Signals count delivery attempts, health checks, sync jobs and API key requests: how many succeeded and
    failed, the classes of errors, and how long they took. Counts are up to date. Hours without a signal are
    zero."""
    query = call.query(SignalQuery)
    series = use(SignalService).series(
        call.principal,
        SubjectKind[query.kind],
        query.subject_id,
        by=query.by,
        since=query.since,
        until=query.until,
    )
    return ApiResponse(series_view(series))


@insights.get("overview", query=OverviewQuery, response=OverviewView)
def get_overview(call: Call) -> ApiResponse:
    """Get the overview.

    The data of the dashboard: deliveries over time, webhooks, integrations with their latest health checks, API
    keys with their used quota, and running syncs. `deliveries` and `webhooks` also need `webhook:manage`, the
    other fields `integration:manage`; fields without their permission are null."""
    query = call.query(OverviewQuery)
    return ApiResponse(overview_view(use(OverviewService).read(call.principal, query.hours)))


@serve(insights.bp, "dashboard")
def dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """Return the dashboard page; it reads the API with the token that the user enters."""
    from functions.http.insights.page import PAGE, headers

    return func.HttpResponse(PAGE, headers=headers(hub().settings), mimetype="text/html")
