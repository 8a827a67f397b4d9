"""Incoming webhooks as they go over the wire."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from domain.core.wire import UtcMoment
from domain.incoming.model import IncomingSettings, IncomingStatus, IncomingWebhook
from domain.incoming.ports import IncomingFilter
from domain.incoming.service import IncomingContent
from functions.http.kit.views import CommaSeparated, Moment, PageQuery, PageView, View

StatusName = Literal["Processed", "Failed"]


class ReceiptView(View):
    accepted: int = Field(description="Events stored by this request")
    duplicates: int = Field(description="Events that were stored before")
    note: str | None = Field(
        None, description="Why an event without an id counts as a repeat; absent where none does"
    )


class IncomingWebhookView(View):
    incoming_webhook_id: UUID
    integration_id: UUID
    provider_event_id: str = Field(description="The provider's own id, by which repeats are recognised")
    event_type: str = Field(description="`<provider>.<type>`, the type that subscribers get")
    status: StatusName = Field(description="Failed: verified and stored, but it could not be raised")
    attempts: int
    event_id: str | None = Field(
        description="Id of the event raised last; subscribers get it as `webhook-id`"
    )
    source_ip: str | None
    occurred_at: Moment | None = Field(description="When it happened, according to the provider")
    received_at: Moment
    processed_at: Moment | None
    error_message: str | None
    same_body_as: UUID | None = Field(
        description="The event that brought an equal body before, under another id that is not signed"
    )
    unsigned_fields: list[str] = Field(
        description="Which of `id` and `type` come from headers that the provider does not sign"
    )


class IncomingWebhookDetailView(IncomingWebhookView):
    headers: dict[str, str] = Field(
        description="Headers that describe the body and its sender, without any that authenticate"
    )
    body: str | None = Field(description="The raw body where it is UTF-8; null after its retention")
    body_base64: str | None = Field(description="The raw body where it is not UTF-8")


class IncomingWebhookPage(PageView[IncomingWebhookView]):
    pass


class IncomingWebhookQuery(PageQuery):
    status: CommaSeparated[StatusName] | None = Field(None, description="One or more, separated by commas")
    event_type: Annotated[
        CommaSeparated[str] | None, Field(description="One or more, separated by commas")
    ] = None
    since: UtcMoment | None = Field(None, alias="from", description="Received at or after")
    until: UtcMoment | None = Field(None, alias="to", description="Received before")

    def to_filter(self) -> IncomingFilter:
        return IncomingFilter(
            statuses=[IncomingStatus[name] for name in self.status or ()],
            event_types=self.event_type or (),
            since=self.since,
            until=self.until,
        )


class IncomingEndpointView(View):
    integration_id: UUID
    url: str | None = Field(
        description="The URL for the provider's webhooks; null after a rotation, whose answer shows the new URL once, "
        "and where the provider sends none"
    )
    is_receiving: bool = Field(description="Whether webhooks are accepted; if not, see `reason`")
    reason: str | None = Field(
        description="Why webhooks are not accepted, and what to set; null while they are accepted"
    )
    webhook_scheme: str | None = Field(
        description="How the provider signs webhooks; null where it sends none"
    )
    allowed_ips: list[str] = Field(description="Empty allows any address")
    repeat_window: int | None = Field(
        description="Seconds for which an equal body is a repeat, where neither an id nor a timestamp is signed; "
        "null: 365 days"
    )
    rotated_at: Moment | None
    previous_url_expires_at: Moment | None = Field(description="Until then the previous URL still works")
    refused_count: int = Field(description="Requests refused for their signature or address")
    last_refused_at: Moment | None
    last_refusal: str | None


class RotatedUrlView(IncomingEndpointView):
    url: str | None = Field(description="The new URL; shown only in this answer")


def webhook_view(webhook: IncomingWebhook) -> IncomingWebhookView:
    return IncomingWebhookView(**_fields(webhook))


def webhook_detail(content: IncomingContent) -> IncomingWebhookDetailView:
    text, encoded = _body(content.body)
    return IncomingWebhookDetailView(
        **_fields(content.webhook), headers=dict(content.headers), body=text, body_base64=encoded
    )


def settings_view(settings: IncomingSettings, plain_url: str) -> IncomingEndpointView:
    shown = settings.endpoint.token_hash is None and settings.scheme is not None
    return IncomingEndpointView(**_settings_fields(settings, plain_url if shown else None))


def rotated_view(settings: IncomingSettings, url: str) -> RotatedUrlView:
    return RotatedUrlView(**_settings_fields(settings, url))


def _settings_fields(settings: IncomingSettings, url: str | None) -> dict[str, Any]:
    endpoint = settings.endpoint
    return {
        "integration_id": endpoint.integration_id,
        "url": url,
        "is_receiving": settings.closed is None,
        "reason": settings.closed,
        "webhook_scheme": settings.scheme,
        "allowed_ips": endpoint.allowed_ips,
        "repeat_window": endpoint.repeat_window_seconds,
        "rotated_at": endpoint.rotated_at,
        "previous_url_expires_at": endpoint.previous_expires_at,
        "refused_count": endpoint.refused_count,
        "last_refused_at": endpoint.last_refused_at,
        "last_refusal": endpoint.last_refusal,
    }


def _fields(webhook: IncomingWebhook) -> dict[str, Any]:
    return {
        "incoming_webhook_id": webhook.incoming_webhook_id,
        "integration_id": webhook.integration_id,
        "provider_event_id": webhook.provider_event_id,
        "event_type": webhook.event_type,
        "status": webhook.status.name,
        "attempts": webhook.attempts,
        "event_id": webhook.event_id,
        "source_ip": webhook.source_ip,
        "occurred_at": webhook.occurred_at,
        "received_at": webhook.received_at,
        "processed_at": webhook.processed_at,
        "error_message": webhook.error_message,
        "same_body_as": webhook.same_body_as,
        "unsigned_fields": webhook.unsigned_fields.split(",") if webhook.unsigned_fields else [],
    }


def _body(body: bytes | None) -> tuple[str | None, str | None]:
    if body is None:
        return None, None
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode()
