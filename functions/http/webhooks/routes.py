"""`/api/webhooks`: subscriptions and their deliveries (section 5.3)."""

from __future__ import annotations

import azure.functions as func

from domain.core.permissions import WEBHOOK_MANAGE
from domain.webhooks.model import CreateWebhook, Replay, RotateSecret, TestWebhook, UpdateWebhook
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.endpoint import Endpoint, serve
from functions.http.kit.views import page_of
from functions.http.webhooks.views import (
    DeliveryDetailView,
    DeliveryPage,
    DeliveryQuery,
    ReplayView,
    WebhookPage,
    WebhookQuery,
    WebhookView,
    WebhookWithSecretView,
    delivery_detail,
    delivery_view,
    replay_view,
    webhook_view,
    webhook_with_secret,
)
from infra.app.build import hub

bp = func.Blueprint()
_TAG = "Webhooks"
_ONE = "webhooks/{id}"
_DELIVERY = "webhooks/{id}/deliveries/{deliveryId}"


def _endpoint(method: str, route: str, name: str, summary: str, **options: object) -> Endpoint:
    return Endpoint(method, route, name, summary, _TAG, permission=WEBHOOK_MANAGE, **options)  # type: ignore[arg-type]


@serve(
    bp,
    _endpoint(
        "POST",
        "webhooks",
        "create_webhook",
        "Create a webhook subscription",
        body=CreateWebhook,
        response=WebhookWithSecretView,
        status=201,
        refusals=(409,),
    ),
)
async def create_webhook(call: Call) -> ApiResponse:
    """The answer carries the signing secret, once. The receiver is sent a signed `webhook.verification` request
    and must answer 2xx with JSON `{"challenge": "<data.challenge>"}`; until it does the webhook is
    PendingVerification and gets no events."""
    service = hub().webhooks
    created = await service.create(call.principal, call.body(CreateWebhook))
    return ApiResponse(
        webhook_with_secret(created, service),
        status=201,
        location=f"/api/webhooks/{created.webhook.webhook_id}",
        version=created.webhook.version,
    )


@serve(
    bp,
    _endpoint("GET", "webhooks", "list_webhooks", "List webhooks", query=WebhookQuery, response=WebhookPage),
)
def list_webhooks(call: Call) -> ApiResponse:
    """Oldest first."""
    service = hub().webhooks
    query = call.query(WebhookQuery)
    page = service.page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, lambda webhook: webhook_view(webhook, service), WebhookPage))


@serve(bp, _endpoint("GET", _ONE, "get_webhook", "Get a webhook", response=WebhookView, refusals=(404,)))
def get_webhook(call: Call) -> ApiResponse:
    """The `ETag` names its version, for `If-Match`."""
    service = hub().webhooks
    webhook = service.get(call.principal, call.id())
    return ApiResponse(webhook_view(webhook, service), version=webhook.version)


@serve(
    bp,
    _endpoint(
        "PUT",
        _ONE,
        "update_webhook",
        "Change a webhook",
        body=UpdateWebhook,
        response=WebhookView,
        refusals=(404, 409, 412),
    ),
)
async def update_webhook(call: Call) -> ApiResponse:
    """The fields sent replace, the others stay. A new URL must be verified again; meanwhile its events are
    held. `isActive: true` resumes a paused or disabled webhook and sends what was held."""
    service = hub().webhooks
    command = call.body(UpdateWebhook)
    webhook, verification = await service.update(call.principal, call.id(), command, call.if_match())
    return ApiResponse(webhook_view(webhook, service, verification), version=webhook.version)


@serve(bp, _endpoint("DELETE", _ONE, "delete_webhook", "Delete a webhook", status=204, refusals=(404, 412)))
def delete_webhook(call: Call) -> ApiResponse:
    """With its deliveries."""
    hub().webhooks.delete(call.principal, call.id(), call.if_match())
    return ApiResponse(status=204)


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/verify",
        "verify_webhook",
        "Verify the receiver again",
        response=WebhookView,
        refusals=(404,),
    ),
)
async def verify_webhook(call: Call) -> ApiResponse:
    """`verification` in the answer says how it went."""
    service = hub().webhooks
    webhook, verification = await service.verify(call.principal, call.id())
    return ApiResponse(webhook_view(webhook, service, verification), version=webhook.version)


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/secret/rotate",
        "rotate_webhook_secret",
        "Rotate the signing secret",
        body=RotateSecret,
        body_is_optional=True,
        response=WebhookWithSecretView,
        refusals=(404, 412),
    ),
)
def rotate_webhook_secret(call: Call) -> ApiResponse:
    """The answer carries the new secret, once. The old one signs beside it for the overlap, so that receivers
    may change over without missing a delivery."""
    service = hub().webhooks
    command = call.body(RotateSecret, is_optional=True)
    rotated = service.rotate_secret(call.principal, call.id(), command)
    return ApiResponse(webhook_with_secret(rotated, service), version=rotated.webhook.version)


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/test",
        "test_webhook",
        "Send a test event",
        body=TestWebhook,
        body_is_optional=True,
        response=DeliveryDetailView,
        refusals=(404,),
    ),
)
async def test_webhook(call: Call) -> ApiResponse:
    """Posts a sample event now and answers with what the receiver said. Recorded like any delivery; never
    retried."""
    command = call.body(TestWebhook, is_optional=True)
    delivery = await hub().delivery_history.test(call.principal, call.id(), command)
    return ApiResponse(delivery_detail(delivery))


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/replay",
        "replay_webhook",
        "Send a time range again",
        body=Replay,
        response=ReplayView,
        status=202,
        refusals=(404, 409),
    ),
)
def replay_webhook(call: Call) -> ApiResponse:
    """Deliveries of the given statuses (Failed and Expired by default), oldest first, at most 10,000 a
    request; each gets a fresh retry budget."""
    replayed = hub().delivery_history.replay(call.principal, call.id(), call.body(Replay))
    return ApiResponse(replay_view(replayed), status=202)


@serve(
    bp,
    _endpoint(
        "GET",
        f"{_ONE}/deliveries",
        "list_deliveries",
        "List a webhook's deliveries",
        query=DeliveryQuery,
        response=DeliveryPage,
        refusals=(404,),
    ),
)
def list_deliveries(call: Call) -> ApiResponse:
    """Newest first."""
    query = call.query(DeliveryQuery)
    page = hub().delivery_history.page(call.principal, call.id(), query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, delivery_view, DeliveryPage))


@serve(
    bp,
    _endpoint(
        "GET", _DELIVERY, "get_delivery", "Get a delivery", response=DeliveryDetailView, refusals=(404,)
    ),
)
def get_delivery(call: Call) -> ApiResponse:
    """With its payload and every attempt."""
    return ApiResponse(
        delivery_detail(hub().delivery_history.get(call.principal, call.id(), call.id("deliveryId")))
    )


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_DELIVERY}/retry",
        "retry_delivery",
        "Send a delivery again now",
        response=DeliveryDetailView,
        status=202,
        refusals=(404, 409),
    ),
)
def retry_delivery(call: Call) -> ApiResponse:
    """For one that failed, expired, or waits for its next retry; it gets a fresh retry budget."""
    delivery = hub().delivery_history.retry(call.principal, call.id(), call.id("deliveryId"))
    return ApiResponse(delivery_detail(delivery), status=202)
