"""`/api/insights/recommendations`: suggested changes, with evidence and expected effect (section 10.1)."""

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
from infra.app.build import use

recommendations = Resource("insights/recommendations", tag="Recommendations", permission=INSIGHTS_READ)


@recommendations.get(query=RecommendationQuery, response=RecommendationPage)
async def list_recommendations(call: Call) -> ApiResponse:
    """List recommendations.

    The most urgent first, computed from the counts up to this hour; after them those with a decision that no
    longer apply. Recommendations about webhooks also need `webhook:manage`, those about API keys and
    integrations `integration:manage`; the others are left out."""
    from domain.recommendations.service import RecommendationService

    query = call.query(RecommendationQuery)
    page = await use(RecommendationService).page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, recommendation_view, RecommendationPage))


@recommendations.get("{id}", response=RecommendationView)
async def get_recommendation(call: Call) -> ApiResponse:
    """Get a recommendation.

    The answer is also 404 when it no longer applies and has no decision."""
    from domain.recommendations.service import RecommendationService

    return ApiResponse(recommendation_view(await use(RecommendationService).get(call.principal, call.id())))


@recommendations.post("{id}/apply", response=RecommendationView, refusals=(409, 412))
async def apply_recommendation(call: Call) -> ApiResponse:
    """Apply a recommendation.

    Makes the change that `apply` shows, with the same permission, checks and audit as the request there.
    `If-Match` may name `subject.version`; if the subject was modified since the evidence was read, the answer
    is 412. The answer is 409 when the recommendation no longer applies, or when only a person can do what it
    suggests."""
    from domain.recommendations.service import RecommendationService

    service = use(RecommendationService)
    return ApiResponse(recommendation_view(await service.apply(call.principal, call.id(), call.if_match())))


@recommendations.post(
    "{id}/dismiss", body=DismissRecommendation, response=RecommendationView, refusals=(409,)
)
def dismiss_recommendation(call: Call) -> ApiResponse:
    """Dismiss a recommendation.

    It is no longer Open, until the given moment or for good. Also needs the permission for its subject."""
    from domain.recommendations.service import RecommendationService

    service = use(RecommendationService)
    listed = service.dismiss(call.principal, call.id(), call.body(DismissRecommendation))
    return ApiResponse(recommendation_view(listed))


@recommendations.post("{id}/reopen", response=RecommendationView, refusals=(409,))
def reopen_recommendation(call: Call) -> ApiResponse:
    """Reopen a dismissed recommendation.

    Also needs the permission for its subject."""
    from domain.recommendations.service import RecommendationService

    return ApiResponse(recommendation_view(use(RecommendationService).reopen(call.principal, call.id())))
