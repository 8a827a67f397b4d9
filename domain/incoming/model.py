"""Incoming webhooks: what providers sent, what became of it, and how each integration is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from pydantic import Field

from domain.apikeys.model import AllowedIps
from domain.core.wire import Command


class IncomingStatus(IntEnum):
    """What became of a verified event. It is stored and re-raised in one transaction, so nothing is in between."""

    Processed = 0
    Failed = 1


@dataclass(frozen=True, slots=True)
class IncomingWebhook:
    """One event of a verified request; the inbox. `(integration_id, provider_event_id)` is unique.

    `event_type` is `<provider>.<type>`; `event_id` names the domain event that was raised last, None while none
    could be."""

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


@dataclass(frozen=True, slots=True)
class IncomingBody:
    """The request that brought one or more events. `sealed` opens in `body_context` to all of it, the raw body and
    its signature."""

    incoming_body_id: UUID
    tenant_id: UUID
    integration_id: UUID
    sealed: str = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class IncomingEndpoint:
    """How an integration's webhooks come in. Until the first rotation the address is the integration's plain one
    and `token_hash` is None. `previous_token_hash` (`""`: the plain address) is good until
    `previous_expires_at`. `version` 0 means that nothing was ever set."""

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
    version: int = 0


@dataclass(frozen=True, slots=True)
class IncomingSettings:
    """How an integration's webhooks come in, with the provider's `scheme` (None: it sends none). `closed` says why
    no webhook is taken at all, and what to do about it; None while they are."""

    endpoint: IncomingEndpoint
    scheme: str | None
    closed: str | None


class UpdateIncoming(Command):
    """Body of `PUT /api/integrations/{id}/incoming`."""

    allowed_ips: AllowedIps


class RotateIncomingUrl(Command):
    """Body of `POST /api/integrations/{id}/incoming-url/rotate`; may be empty."""

    overlap_hours: int = Field(24, ge=0, le=168, description="Hours the address in use stays good")


def body_context(incoming_body_id: UUID) -> str:
    """The cipher context of a stored request."""
    return f"incoming-body:{incoming_body_id}"
