"""Where incoming webhooks are stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.core.tenants import StandingTransaction
from domain.incoming.model import IncomingBody, IncomingEndpoint, IncomingStatus, IncomingWebhook
from domain.integrations.ports import Integrations
from domain.journal.audit import AuditTransaction
from domain.journal.bursts import BurstTransaction
from domain.journal.ports import OutboxTransaction


@dataclass(frozen=True, slots=True)
class IncomingFilter:
    """Conditions that all hold; `since` (inclusive) and `until` (exclusive) are moments of receipt."""

    statuses: Sequence[IncomingStatus] = ()
    event_types: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


class AlreadyStored(Exception):
    """Another transaction stored one of the events just now; nothing of this transaction may be committed."""


class IncomingWebhooks(Protocol):
    """The inbox. The methods without `tenant_id` serve the product itself and see all tenants."""

    def known(self, tenant_id: UUID, integration_id: UUID, provider_event_ids: Collection[str]) -> set[str]:
        """Return those of the ids that are stored."""

    def last_with(
        self, tenant_id: UUID, integration_id: UUID, content_digests: Collection[str]
    ) -> dict[str, tuple[UUID, datetime]]:
        """Return the latest event of each content, with the moment of its receipt."""

    def same_bodies_since(self, tenant_id: UUID, integration_id: UUID, since: datetime) -> int:
        """Return how many equal bodies came under new ids."""

    def add(
        self, tenant_id: UUID, bodies: Sequence[IncomingBody], webhooks: Sequence[IncomingWebhook]
    ) -> None:
        """Store requests with their events. Raises AlreadyStored."""

    def page(
        self, tenant_id: UUID, integration_id: UUID, filter_: IncomingFilter, page: PageRequest
    ) -> Page[IncomingWebhook]:
        """Return a page of events, newest first."""

    def get(self, tenant_id: UUID, integration_id: UUID, incoming_webhook_id: UUID) -> IncomingWebhook:
        """Return an event. Raises NotFound."""

    def body(self, tenant_id: UUID, incoming_body_id: UUID) -> IncomingBody | None:
        """Return the stored request, None once it is past its retention."""

    def raised(self, tenant_id: UUID, event_id: str) -> str | None:
        """Return the payload of the domain event with this id, None when it is not stored any more."""

    def update(self, tenant_id: UUID, webhook: IncomingWebhook) -> None:
        """Store another attempt. Raises Conflict unless `attempts` counts up by one: another caller was first."""

    def endpoint(self, tenant_id: UUID, integration_id: UUID) -> IncomingEndpoint:
        """Return the stored address, or one with version 0 when nothing was ever set."""

    def save_endpoint(self, tenant_id: UUID, endpoint: IncomingEndpoint) -> None:
        """Store address and allow list if `endpoint.version` is current, and count it up. Raises PreconditionFailed."""

    def count_refusals(
        self, tenant_id: UUID, integration_id: UUID, count: int, reason: str, *, at: datetime
    ) -> None:
        """Add `count` refusals; versions stay."""

    def delete_bodies_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` requests received before `cutoff`; their events stay. Return how many."""

    def forget_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` events received before `cutoff`; return how many. A repeat of one is new again."""


class IncomingTransaction(
    OutboxTransaction, AuditTransaction, BurstTransaction, StandingTransaction, Protocol
):
    """The transaction of incoming webhooks: their inbox, the integration they belong to, and what they raise."""

    @property
    def incoming(self) -> IncomingWebhooks: ...
    @property
    def integrations(self) -> Integrations: ...
