"""`/api/insights/recommendations`: what to change, why, and what it would bring (section 10.1)."""

from __future__ import annotations

from domain.core.permissions import INSIGHTS_READ
from domain.recommendations.decisions import DismissRecommendation
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import page_of
from functions.http.recommendations.views import (
    RecommendationPage,
    RecommendationQuery,
    RecommendationView,
    recommendation_view,
)
from infra.app.build import hub

recommendations = Resource("insights/recommendations", tag="Recommendations", permission=INSIGHTS_READ)


@recommendations.get(query=RecommendationQuery, response=RecommendationPage)
async def list_recommendations(call: Call) -> ApiResponse:
    """List recommendations.

    The most urgent first, computed from what was counted up to this hour; then those decided upon that do not hold
    any more. Those about webhooks need
    `webhook:manage` as well, those about API keys and integrations `integration:manage`; without it they are left
    out."""
    query = call.query(RecommendationQuery)
    page = await hub().recommendations.service.page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, recommendation_view, RecommendationPage))


@recommendations.get("{id}", response=RecommendationView)
async def get_recommendation(call: Call) -> ApiResponse:
    """Get a recommendation.

    404 also when it does not hold any more and nothing was decided on it."""
    return ApiResponse(
        recommendation_view(await hub().recommendations.service.get(call.principal, call.id()))
    )


@recommendations.post("{id}/apply", response=RecommendationView, refusals=(409, 412))
async def apply_recommendation(call: Call) -> ApiResponse:
    """Apply a recommendation.

    Makes the change that `apply` shows, through the same use case and with the same permission, checks and audit as
    the request there. `If-Match` may name `subject.version`; a subject that was changed since the evidence was read is
    refused with 412. 409 when it does not hold any more, or when only a person can do what it asks for."""
    service = hub().recommendations.service
    return ApiResponse(recommendation_view(await service.apply(call.principal, call.id(), call.if_match())))


@recommendations.post(
    "{id}/dismiss", body=DismissRecommendation, response=RecommendationView, refusals=(409,)
)
def dismiss_recommendation(call: Call) -> ApiResponse:
    """Dismiss a recommendation.

    It is no longer open, for good or until a moment. Needs the permission for its subject as well."""
    service = hub().recommendations.service
    listed = service.dismiss(call.principal, call.id(), call.body(DismissRecommendation))
    return ApiResponse(recommendation_view(listed))


@recommendations.post("{id}/reopen", response=RecommendationView, refusals=(409,))
def reopen_recommendation(call: Call) -> ApiResponse:
    """Reopen a recommendation.

    Takes a dismissal back. Needs the permission for its subject as well."""
    return ApiResponse(recommendation_view(hub().recommendations.service.reopen(call.principal, call.id())))
