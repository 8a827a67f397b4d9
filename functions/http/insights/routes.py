"""`/api/insights`: what happened, counted, and the dashboard that shows it (sections 10, 12 and 19)."""

from __future__ import annotations

import azure.functions as func

from domain.core.permissions import INSIGHTS_READ
from domain.journal.signals import SubjectKind
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
from infra.app.build import hub

insights = Resource("insights", tag="Insights", permission=INSIGHTS_READ)


@insights.get("signals", query=SignalQuery, response=SeriesView)
def list_signals(call: Call) -> ApiResponse:
    """Read signals over time.

    Attempts of deliveries, health checks or sync jobs by hour or day: how many succeeded and failed, why, and how
    long they took. Counts are complete at once; hours without a signal are zero."""
    query = call.query(SignalQuery)
    series = hub().insights.signals.series(
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
    """Everything at one look.

    What the dashboard draws: deliveries over time, webhooks, integrations with their latest health checks, API keys
    with what they used of their quota, and syncs under way. `deliveries` and `webhooks` need `webhook:manage` as well,
    the others `integration:manage`; without it they are null."""
    query = call.query(OverviewQuery)
    return ApiResponse(overview_view(hub().insights.overview.read(call.principal, query.hours)))


@serve(insights.bp, "dashboard")
def dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """The page; its data comes from the API with the token that is entered there."""
    from functions.http.insights.page import PAGE, headers

    return func.HttpResponse(PAGE, headers=headers(hub().settings), mimetype="text/html")
