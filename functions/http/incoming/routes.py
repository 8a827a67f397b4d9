"""`/api/webhooks/incoming/{integrationId}/events` and an integration's incoming settings."""

from __future__ import annotations

from uuid import UUID

from domain.core.permissions import INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.incoming.model import IncomingSettings, RotateIncomingUrl, UpdateIncoming
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
from infra.app.build import hub

incoming = Resource(
    "webhooks/incoming/{integrationId}/events", tag="Incoming webhooks", permission=INTEGRATION_MANAGE
)
incoming_settings = Resource("integrations/{id}", tag="Incoming webhooks", permission=INTEGRATION_ADMIN)


@incoming.get(query=IncomingWebhookQuery, response=IncomingWebhookPage)
def list_incoming_webhooks(call: Call) -> ApiResponse:
    """List what came in.

    Newest first, one item for each event."""
    query = call.query(IncomingWebhookQuery)
    page = hub().incoming.service.page(
        call.principal, call.id("integrationId"), query.to_filter(), query.page_request()
    )
    return ApiResponse(page_of(page, webhook_view, IncomingWebhookPage))


@incoming.get("{eventId}", response=IncomingWebhookDetailView)
def get_incoming_webhook(call: Call) -> ApiResponse:
    """Get one with its raw body.

    The body is that of the whole request, which may have brought more events than this one."""
    content = hub().incoming.service.get(call.principal, call.id("integrationId"), call.id("eventId"))
    return ApiResponse(webhook_detail(content))


@incoming.post("{eventId}/retry", response=IncomingWebhookView, status=202, refusals=(409,))
async def retry_incoming_webhook(call: Call) -> ApiResponse:
    """Raise one again.

    Subscribers are told anew, under a new event id. One that cannot be raised stays Failed and says why."""
    webhook = await hub().incoming.retries.retry(
        call.principal, call.id("integrationId"), call.id("eventId"), call.trace.header
    )
    return ApiResponse(webhook_view(webhook), status=202)


@incoming_settings.get("incoming", permission=INTEGRATION_MANAGE, response=IncomingEndpointView)
def get_incoming_settings(call: Call) -> ApiResponse:
    """How an integration's webhooks come in.

    The address to give to the provider, whether webhooks are taken there and else why not, who may send from
    where, and what was refused. Some providers name their secret only once they have the address: give it to them,
    then set the secret."""
    return _settings(hub().incoming.service.settings(call.principal, call.id()))


@incoming_settings.put("incoming", body=UpdateIncoming, response=IncomingEndpointView, refusals=(412,))
def update_incoming_settings(call: Call) -> ApiResponse:
    """Set who may send webhooks.

    Addresses or CIDR ranges; an empty list takes webhooks from anywhere. They are verified either way."""
    command = call.body(UpdateIncoming)
    return _settings(hub().incoming.service.update(call.principal, call.id(), command, call.if_match()))


@incoming_settings.post(
    "incoming-url/rotate",
    body=RotateIncomingUrl,
    body_is_optional=True,
    response=RotatedUrlView,
    refusals=(412,),
)
def rotate_incoming_url(call: Call) -> ApiResponse:
    """Give an integration a new address for webhooks.

    The answer carries the new address, once: it ends in a secret. The address in use stays good for the overlap
    (24 h unless given), then answers 404; one from an earlier rotation ends at once."""
    command = call.body(RotateIncomingUrl, is_optional=True)
    settings, token = hub().incoming.service.rotate(call.principal, call.id(), command)
    url = f"{_plain_url(settings.endpoint.integration_id)}/{token}"
    return ApiResponse(rotated_view(settings, url), version=settings.endpoint.version)


def _settings(settings: IncomingSettings) -> ApiResponse:
    view = settings_view(settings, _plain_url(settings.endpoint.integration_id))
    return ApiResponse(view, version=settings.endpoint.version)


def _plain_url(integration_id: UUID) -> str:
    return f"{hub().settings.public_url.rstrip('/')}{API}webhooks/incoming/{integration_id}"
