"""`/api/insights/recommendations`: what to change, why, and what it would bring (section 10.1)."""

from __future__ import annotations

import azure.functions as func

from domain.insights.model import PERMISSION
from functions.http.endpoint import Answer, Call, Endpoint, serve
from functions.http.recommendation_views import (
    RecommendationPage,
    RecommendationQuery,
    RecommendationView,
    recommendation_view,
)
from functions.http.views import page_of
from infra.bootstrap import hub

bp = func.Blueprint()
_TAG = "Recommendations"
_ONE = "insights/recommendations/{id}"


@serve(
    bp,
    Endpoint(
        "GET",
        "insights/recommendations",
        "list_recommendations",
        "List recommendations",
        _TAG,
        permission=PERMISSION,
        query=RecommendationQuery,
        response=RecommendationPage,
    ),
)
def list_recommendations(call: Call) -> Answer:
    """The most urgent first, computed from what was counted up to this moment. Those about webhooks need
    `webhook:manage` as well, those about API keys and integrations `integration:manage`; without it they are left
    out."""
    query = call.query(RecommendationQuery)
    page = hub().recommendations.service.page(call.principal, query.to_filter(), query.page_request())
    return Answer(page_of(page, recommendation_view, RecommendationPage))


@serve(
    bp,
    Endpoint(
        "GET",
        _ONE,
        "get_recommendation",
        "Get a recommendation",
        _TAG,
        permission=PERMISSION,
        response=RecommendationView,
        refusals=(404,),
    ),
)
def get_recommendation(call: Call) -> Answer:
    """404 also when it does not hold any more."""
    return Answer(recommendation_view(hub().recommendations.service.get(call.principal, call.id())))
