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
from functions.http.kit.endpoint import READ, Endpoint, serve
from infra.app.build import hub

bp = func.Blueprint()
_TAG = "Insights"


@serve(
    bp,
    Endpoint(
        "GET",
        "insights/signals",
        "list_signals",
        "Read signals over time",
        _TAG,
        permission=INSIGHTS_READ,
        query=SignalQuery,
        response=SeriesView,
    ),
)
def list_signals(call: Call) -> ApiResponse:
    """Attempts of deliveries, health checks or sync jobs by hour or day: how many succeeded and failed, why, and how
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


@serve(
    bp,
    Endpoint(
        "GET",
        "insights/overview",
        "get_overview",
        "Everything at one look",
        _TAG,
        permission=INSIGHTS_READ,
        query=OverviewQuery,
        response=OverviewView,
    ),
)
def get_overview(call: Call) -> ApiResponse:
    """What the dashboard draws: deliveries over time, webhooks, integrations with their latest health checks, API keys
    with what they used of their quota, and syncs under way. `deliveries` and `webhooks` need `webhook:manage` as well,
    the others `integration:manage`; without it they are null."""
    query = call.query(OverviewQuery)
    return ApiResponse(overview_view(hub().insights.overview.read(call.principal, query.hours)))


@bp.function_name("dashboard")
@bp.route(route="dashboard", methods=READ, auth_level=func.AuthLevel.ANONYMOUS)
def dashboard(req: func.HttpRequest) -> func.HttpResponse:
    """The page; its data comes from the API with the token that is entered there."""
    from functions.http.insights.page import PAGE, headers

    return func.HttpResponse(PAGE, headers=headers(hub().settings), mimetype="text/html")
