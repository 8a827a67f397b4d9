"""`/api/insights/recommendations`: what to change, why, and what it would bring (section 10.1)."""

from __future__ import annotations

import azure.functions as func

from domain.core.permissions import INSIGHTS_READ
from domain.recommendations.decisions import DismissRecommendation
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.endpoint import Endpoint, serve
from functions.http.kit.views import page_of
from functions.http.recommendations.views import (
    RecommendationPage,
    RecommendationQuery,
    RecommendationView,
    recommendation_view,
)
from infra.app.build import hub

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
        permission=INSIGHTS_READ,
        query=RecommendationQuery,
        response=RecommendationPage,
    ),
)
async def list_recommendations(call: Call) -> ApiResponse:
    """The most urgent first, computed from what was counted up to this hour; then those decided upon that do not hold
    any more. Those about webhooks need
    `webhook:manage` as well, those about API keys and integrations `integration:manage`; without it they are left
    out."""
    query = call.query(RecommendationQuery)
    page = await hub().recommendations.service.page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, recommendation_view, RecommendationPage))


@serve(
    bp,
    Endpoint(
        "GET",
        _ONE,
        "get_recommendation",
        "Get a recommendation",
        _TAG,
        permission=INSIGHTS_READ,
        response=RecommendationView,
        refusals=(404,),
    ),
)
async def get_recommendation(call: Call) -> ApiResponse:
    """404 also when it does not hold any more and nothing was decided on it."""
    return ApiResponse(
        recommendation_view(await hub().recommendations.service.get(call.principal, call.id()))
    )


@serve(
    bp,
    Endpoint(
        "POST",
        f"{_ONE}/apply",
        "apply_recommendation",
        "Apply a recommendation",
        _TAG,
        permission=INSIGHTS_READ,
        response=RecommendationView,
        refusals=(404, 409, 412),
    ),
)
async def apply_recommendation(call: Call) -> ApiResponse:
    """Makes the change that `apply` shows, through the same use case and with the same permission, checks and audit as
    the request there. `If-Match` may name `subject.version`; a subject that was changed since the evidence was read is
    refused with 412. 409 when it does not hold any more, or when only a person can do what it asks for."""
    service = hub().recommendations.service
    return ApiResponse(recommendation_view(await service.apply(call.principal, call.id(), call.if_match())))


@serve(
    bp,
    Endpoint(
        "POST",
        f"{_ONE}/dismiss",
        "dismiss_recommendation",
        "Dismiss a recommendation",
        _TAG,
        permission=INSIGHTS_READ,
        body=DismissRecommendation,
        response=RecommendationView,
        refusals=(404, 409),
    ),
)
def dismiss_recommendation(call: Call) -> ApiResponse:
    """It is no longer open, for good or until a moment. Needs the permission for its subject as well."""
    service = hub().recommendations.service
    listed = service.dismiss(call.principal, call.id(), call.body(DismissRecommendation))
    return ApiResponse(recommendation_view(listed))


@serve(
    bp,
    Endpoint(
        "POST",
        f"{_ONE}/reopen",
        "reopen_recommendation",
        "Reopen a recommendation",
        _TAG,
        permission=INSIGHTS_READ,
        response=RecommendationView,
        refusals=(404, 409),
    ),
)
def reopen_recommendation(call: Call) -> ApiResponse:
    """Takes a dismissal back. Needs the permission for its subject as well."""
    return ApiResponse(recommendation_view(hub().recommendations.service.reopen(call.principal, call.id())))
