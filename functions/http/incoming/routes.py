"""`/api/webhooks/incoming/{integrationId}/events` and an integration's settings for incoming webhooks."""

from __future__ import annotations

from uuid import UUID

from domain.core.permissions import INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.incoming.model import IncomingSettings, RotateIncomingUrl, UpdateIncoming
from domain.incoming.service import IncomingService
from functions.http.incoming.views import (
    IncomingEndpointView,
    IncomingWebhookDetailView,
    IncomingWebhookPage,
    IncomingWebhookQuery,
    IncomingWebhookView,
    RotatedUrlView,
    rotated_view,
    settings_view,
    webhook_detail,
    webhook_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.operations import API
from functions.http.kit.resource import Resource
from functions.http.kit.views import page_of
from infra.app.build import hub, use

incoming = Resource(
    "webhooks/incoming/{integrationId}/events", tag="Incoming webhooks", permission=INTEGRATION_MANAGE
)
incoming_settings = Resource("integrations/{id}", tag="Incoming webhooks", permission=INTEGRATION_ADMIN)


@incoming.get(query=IncomingWebhookQuery, response=IncomingWebhookPage)
def list_incoming_webhooks(call: Call) -> ApiResponse:
    """List incoming webhook events.

    Newest first. One item for each event: a request of a provider may contain several."""
    query = call.query(IncomingWebhookQuery)
    page = use(IncomingService).page(
        call.principal, call.id("integrationId"), query.to_filter(), query.page_request()
    )
    return ApiResponse(page_of(page, webhook_view, IncomingWebhookPage))


@incoming.get("{eventId}", response=IncomingWebhookDetailView)
def get_incoming_webhook(call: Call) -> ApiResponse:
    """Get an incoming webhook event with its raw body.

    The body is that of the whole request, which may contain other events too."""
    content = use(IncomingService).get(call.principal, call.id("integrationId"), call.id("eventId"))
    return ApiResponse(webhook_detail(content))


@incoming.post("{eventId}/retry", response=IncomingWebhookView, status=202, refusals=(409,))
async def retry_incoming_webhook(call: Call) -> ApiResponse:
    """Raise an incoming webhook event again.

    Subscribers get it under a new event id. An event that cannot be raised stays Failed; `errorMessage` says
    why."""
    from domain.incoming.retry import IncomingRetries

    webhook = await use(IncomingRetries).retry(
        call.principal, call.id("integrationId"), call.id("eventId"), call.trace.header
    )
    return ApiResponse(webhook_view(webhook), status=202)


@incoming_settings.get("incoming", permission=INTEGRATION_MANAGE, response=IncomingEndpointView)
def get_incoming_settings(call: Call) -> ApiResponse:
    """Get an integration's incoming webhook settings.

    The answer includes the URL to register at the provider, whether webhooks are accepted there and otherwise
    why not, the addresses that may send them, and how many requests were refused. Some providers create their
    webhook secret only when they have the URL: register the URL first, then set the secret."""
    return _settings(use(IncomingService).settings(call.principal, call.id()))


@incoming_settings.put("incoming", body=UpdateIncoming, response=IncomingEndpointView, refusals=(412,))
def update_incoming_settings(call: Call) -> ApiResponse:
    """Change the addresses that may send webhooks.

    Takes addresses and CIDR ranges; an empty list accepts webhooks from any address. Signatures are checked in
    either case. An API key can narrow the list; widening it needs a person's token."""
    command = call.body(UpdateIncoming)
    return _settings(use(IncomingService).update(call.principal, call.id(), command, call.if_match()))


@incoming_settings.post(
    "incoming-url/rotate",
    body=RotateIncomingUrl,
    body_is_optional=True,
    response=RotatedUrlView,
    refusals=(412,),
)
def rotate_incoming_url(call: Call) -> ApiResponse:
    """Rotate an integration's incoming webhook URL.

    The answer contains the new URL, once: it ends in a secret. The URL in use keeps working for the overlap (24
    hours by default) and then answers 404. A URL from an earlier rotation stops working at once."""
    command = call.body(RotateIncomingUrl, is_optional=True)
    settings, token = use(IncomingService).rotate(call.principal, call.id(), command)
    url = f"{_plain_url(settings.endpoint.integration_id)}/{token}"
    return ApiResponse(rotated_view(settings, url), version=settings.endpoint.version)


def _settings(settings: IncomingSettings) -> ApiResponse:
    view = settings_view(settings, _plain_url(settings.endpoint.integration_id))
    return ApiResponse(view, version=settings.endpoint.version)


def _plain_url(integration_id: UUID) -> str:
    return f"{hub().settings.public_url.rstrip('/')}{API}webhooks/incoming/{integration_id}"
