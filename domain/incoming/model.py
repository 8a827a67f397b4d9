"""Incoming webhooks: what providers sent, its status, and the address where each integration receives."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from pydantic import Field

from domain.apikeys.model import AllowedIps
from domain.core.wire import Command


class IncomingStatus(IntEnum):
    """A verified event is stored and raised in one transaction, so there is no pending status."""

    Processed = 0
    Failed = 1


@dataclass(frozen=True, slots=True)
class IncomingWebhook:
    """One event of a verified request: a row of the inbox. `(integration_id, provider_event_id)` is unique.

    - `event_type` is `<provider>.<type>`, `event_id` the domain event raised last (None: none could be raised).
    - `same_body_as`: the row that brought an equal body before under another id that is not signed.
    - `unsigned_fields`: which of `id,type` come from headers that are not signed."""

    incoming_webhook_id: UUID
    tenant_id: UUID
    integration_id: UUID
    incoming_body_id: UUID
    provider_event_id: str
    event_type: str
    status: IncomingStatus
    attempts: int
    received_at: datetime
    source_ip: str | None = None
    occurred_at: datetime | None = None
    event_id: str | None = None
    processed_at: datetime | None = None
    error_message: str | None = None
    content_digest: str | None = None
    same_body_as: UUID | None = None
    unsigned_fields: str | None = None


@dataclass(frozen=True, slots=True)
class IncomingBody:
    """The request that brought one or more events; `sealed` (in `body_context`) is all of it, signature included."""

    incoming_body_id: UUID
    tenant_id: UUID
    integration_id: UUID
    sealed: str = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class IncomingEndpoint:
    """The address of an integration's webhooks, and what was refused there.

    - `token_hash`: None until the first rotation; the address is the integration's plain one then.
    - `previous_token_hash`: the address before, valid until `previous_expires_at`; `""` is the plain address.
    - `version`: 0 while nothing was ever set."""

    integration_id: UUID
    tenant_id: UUID
    allowed_ips: list[str] = field(default_factory=list)
    token_hash: str | None = field(default=None, repr=False)
    previous_token_hash: str | None = field(default=None, repr=False)
    previous_expires_at: datetime | None = None
    rotated_at: datetime | None = None
    refused_count: int = 0
    last_refused_at: datetime | None = None
    last_refusal: str | None = None
    repeat_window_seconds: int | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class IncomingSettings:
    """How an integration receives webhooks; `scheme` is how the provider signs, None when it sends none.

    `closed`: why no webhook is accepted, and what to do about it; None while they are accepted."""

    endpoint: IncomingEndpoint
    scheme: str | None
    closed: str | None


class UpdateIncoming(Command):
    """Body of `PUT /api/integrations/{id}/incoming`."""

    allowed_ips: AllowedIps
    repeat_window: int | None = Field(
        None,
        ge=60,
        le=365 * 24 * 3600,
        description="Seconds for which an equal body is a repeat, where neither an id nor a timestamp is signed; "
        "null: 365 days. A captured request can be sent again once they are over",
    )


class RotateIncomingUrl(Command):
    """Body of `POST /api/integrations/{id}/incoming-url/rotate`; may be empty."""

    overlap_hours: int = Field(
        24, ge=0, le=168, description="Hours for which the current address stays valid"
    )


def body_context(incoming_body_id: UUID) -> str:
    return f"incoming-body:{incoming_body_id}"
