"""`/api/webhooks`: subscriptions and their deliveries (section 5.3)."""

from __future__ import annotations

import asyncio

from domain.core.permissions import WEBHOOK_MANAGE
from domain.webhooks.deliveries import DeliveryService
from domain.webhooks.model import CreateWebhook, Replay, RotateSecret, TestWebhook, UpdateWebhook
from domain.webhooks.service import WebhookService
from functions.http.kit.bodies import PAYLOAD
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
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
    changed_webhook_view,
    delivery_detail,
    delivery_view,
    replay_view,
    webhook_view,
    webhook_with_secret,
)
from infra.app.build import use

webhooks = Resource("webhooks", tag="Webhooks", permission=WEBHOOK_MANAGE)


@webhooks.post(body=CreateWebhook, response=WebhookWithSecretView, status=201, refusals=(409,))
async def create_webhook(call: Call) -> ApiResponse:
    """Create a webhook subscription.

    The answer contains the signing secret, once. The receiver gets a signed `webhook.verification` request and
    must answer 2xx with JSON `{"challenge": "<data.challenge>"}`. Until then the webhook is PendingVerification
    and gets no events. No order of deliveries is promised unless `ordering` asks for one."""
    service = use(WebhookService)
    created = await service.create(call.principal, call.body(CreateWebhook))
    return ApiResponse(
        webhook_with_secret(created, service),
        status=201,
        location=webhooks.location(created.webhook.webhook_id),
        version=created.webhook.version,
    )


@webhooks.get(query=WebhookQuery, response=WebhookPage)
def list_webhooks(call: Call) -> ApiResponse:
    """List webhooks.

    Oldest first."""
    service = use(WebhookService)
    query = call.query(WebhookQuery)
    page = service.page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, lambda webhook: webhook_view(webhook, service), WebhookPage))


@webhooks.get("{id}", response=WebhookView)
def get_webhook(call: Call) -> ApiResponse:
    """Get a webhook.

    The `ETag` names its version, for `If-Match`."""
    service = use(WebhookService)
    webhook = service.get(call.principal, call.id())
    return ApiResponse(webhook_view(webhook, service), version=webhook.version)


@webhooks.put("{id}", body=UpdateWebhook, response=WebhookView, refusals=(409, 412))
async def update_webhook(call: Call) -> ApiResponse:
    """Change a webhook.

    Only the fields that are sent change. A new URL must be verified again; until then its events are held.
    `isActive: true` resumes a paused or disabled webhook and sends the held events that have not expired;
    `activation` counts them, and those that wait for a replay. Switching `ordering` on takes in what has not ended;
    switching it off sends what waited for its turn."""
    service = use(WebhookService)
    command = call.body(UpdateWebhook)
    changed = await service.update(call.principal, call.id(), command, call.if_match())
    return ApiResponse(changed_webhook_view(changed, service), version=changed.webhook.version)


@webhooks.delete("{id}", status=204, refusals=(412,))
def delete_webhook(call: Call) -> ApiResponse:
    """Delete a webhook and its deliveries."""
    use(WebhookService).delete(call.principal, call.id(), call.if_match())
    return ApiResponse(status=204)


@webhooks.post("{id}/verify", response=WebhookView)
async def verify_webhook(call: Call) -> ApiResponse:
    """Verify a webhook's receiver again.

    See `verification` for the result."""
    service = use(WebhookService)
    verified = await service.verify(call.principal, call.id())
    return ApiResponse(changed_webhook_view(verified, service), version=verified.webhook.version)


@webhooks.post(
    "{id}/secret/rotate",
    body=RotateSecret,
    body_is_optional=True,
    response=WebhookWithSecretView,
    refusals=(412,),
)
def rotate_webhook_secret(call: Call) -> ApiResponse:
    """Rotate a webhook's signing secret.

    The answer contains the new secret, once. During the overlap each delivery is signed with both secrets, so
    that receivers can switch without missing a delivery."""
    service = use(WebhookService)
    command = call.body(RotateSecret, is_optional=True)
    rotated = service.rotate_secret(call.principal, call.id(), command)
    return ApiResponse(webhook_with_secret(rotated, service), version=rotated.webhook.version)


@webhooks.post(
    "{id}/test",
    body=TestWebhook,
    body_is_optional=True,
    body_limit=PAYLOAD,
    response=DeliveryDetailView,
)
async def test_webhook(call: Call) -> ApiResponse:
    """Send a test event.

    Posts a sample event now and answers with the receiver's response. The delivery is listed with `isTest` and
    never retried. It counts neither for the webhook's counters and health nor for its disabling."""
    command = await asyncio.to_thread(call.body, TestWebhook, is_optional=True)
    delivery = await use(DeliveryService).test(call.principal, call.id(), command)
    return ApiResponse(delivery_detail(delivery))


@webhooks.post("{id}/replay", body=Replay, response=ReplayView, status=202, refusals=(409,))
def replay_webhook(call: Call) -> ApiResponse:
    """Replay the deliveries of a time range.

    Sends the deliveries with the given statuses again (Failed and Expired by default), oldest first, at most
    10,000 a request, as long as they are kept. Each gets a full number of retries again."""
    replayed = use(DeliveryService).replay(call.principal, call.id(), call.body(Replay))
    return ApiResponse(replay_view(replayed), status=202)


@webhooks.get("{id}/deliveries", query=DeliveryQuery, response=DeliveryPage)
def list_deliveries(call: Call) -> ApiResponse:
    """List a webhook's deliveries.

    Newest first."""
    query = call.query(DeliveryQuery)
    page = use(DeliveryService).page(call.principal, call.id(), query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, delivery_view, DeliveryPage))


@webhooks.get("{id}/deliveries/{deliveryId}", response=DeliveryDetailView)
def get_delivery(call: Call) -> ApiResponse:
    """Get a delivery with its payload and attempts."""
    return ApiResponse(
        delivery_detail(use(DeliveryService).get(call.principal, call.id(), call.id("deliveryId")))
    )


@webhooks.post("{id}/deliveries/{deliveryId}/retry", response=DeliveryDetailView, status=202, refusals=(409,))
def retry_delivery(call: Call) -> ApiResponse:
    """Retry a delivery now.

    Possible when it failed, expired, or waits for its next retry. It gets a full number of retries again."""
    delivery = use(DeliveryService).retry(call.principal, call.id(), call.id("deliveryId"))
    return ApiResponse(delivery_detail(delivery), status=202)
