"""Where incoming webhooks are kept, and how an integration's adapter is reached without delay."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.incoming.model import IncomingBody, IncomingEndpoint, IncomingStatus, IncomingWebhook
from domain.integrations.ports import Integrations
from domain.journal.audit import AuditTransaction
from domain.journal.occurrences import OccurrenceTransaction
from domain.journal.ports import OutboxTransaction


@dataclass(frozen=True, slots=True)
class IncomingFilter:
    """All given conditions hold. Moments of receipt are inclusive and exclusive."""

    statuses: Sequence[IncomingStatus] = ()
    event_types: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


class AlreadyStored(Exception):
    """Another transaction stored one of the events a moment ago; nothing of this one may be committed."""


class IncomingWebhooks(Protocol):
    """The inbox. The last two serve the product itself and see all tenants."""

    def known(self, tenant_id: UUID, integration_id: UUID, provider_event_ids: Collection[str]) -> set[str]:
        """Those of the ids that are stored."""

    def add(
        self, tenant_id: UUID, bodies: Sequence[IncomingBody], webhooks: Sequence[IncomingWebhook]
    ) -> None:
        """Raises AlreadyStored."""

    def page(
        self, tenant_id: UUID, integration_id: UUID, filter_: IncomingFilter, page: PageRequest
    ) -> Page[IncomingWebhook]:
        """Newest first."""

    def get(self, tenant_id: UUID, integration_id: UUID, incoming_webhook_id: UUID) -> IncomingWebhook:
        """Raises NotFound."""

    def body(self, tenant_id: UUID, incoming_body_id: UUID) -> IncomingBody | None:
        """None once it is past its retention."""

    def raised(self, tenant_id: UUID, event_id: str) -> str | None:
        """The payload of the domain event with this id, None when it is no longer kept."""

    def update(self, tenant_id: UUID, webhook: IncomingWebhook) -> None:
        """Store what another attempt made of it. Raises Conflict when `webhook.attempts` is not one more than
        what is stored: someone else retried it too."""

    def endpoint(self, tenant_id: UUID, integration_id: UUID) -> IncomingEndpoint:
        """A fresh one with version 0 when nothing was ever set."""

    def save_endpoint(self, tenant_id: UUID, endpoint: IncomingEndpoint) -> None:
        """Store address and allow list if `endpoint.version` is still current, and count the version up. Raises
        PreconditionFailed."""

    def count_refusals(
        self, tenant_id: UUID, integration_id: UUID, count: int, reason: str, at: datetime
    ) -> None:
        """Add to the refusals; versions stay."""

    def delete_bodies_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` requests received before `cutoff`; their events stay known."""

    def forget_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` events received before `cutoff`: a repeat of one would be new again."""


class IncomingTransaction(OutboxTransaction, AuditTransaction, OccurrenceTransaction, Protocol):
    """The transaction of incoming webhooks: their inbox, the integration they belong to, and what they raise."""

    @property
    def incoming(self) -> IncomingWebhooks: ...
    @property
    def integrations(self) -> Integrations: ...
