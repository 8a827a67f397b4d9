"""The repositories of the platform's administrators; they see every tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.core.tenants import StandingTransaction
from domain.journal.audit import AuditTransaction
from domain.journal.usage import UsageTransaction
from domain.tenants.model import DeletionProgress, Tenant, TenantFilter


class Tenants(Protocol):
    """Every tenant that the hub has met, or that the platform decided about."""

    def page(self, filter_: TenantFilter, page: PageRequest) -> Page[Tenant]:
        """Return tenants with their usage, in the order of their ids."""

    def get(self, tenant_id: UUID) -> Tenant:
        """Return one. Raises NotFound."""

    def restoring(self, limit: int) -> Sequence[UUID]:
        """Return tenants whose suspension is over and whose deliveries have not all their time back."""

    def restore_deliveries(
        self, tenant_id: UUID, *, scheduled_since: datetime, expires_at: datetime, now: datetime, limit: int
    ) -> int:
        """Let deliveries that wait last until `expires_at`, up to `limit` of those that would end before it.

        Return how many; each is looked at again from `now` on."""


class TenantRows(Protocol):
    """What one tenant has, to be deleted."""

    def to_delete(self, requested_before: datetime, limit: int) -> Sequence[UUID]:
        """Return tenants whose deletion was requested before a moment and is not done, the oldest first."""

    def progress(self, tenant_id: UUID) -> DeletionProgress: ...

    def advance(self, tenant_id: UUID, progress: DeletionProgress) -> None: ...

    def integrations(self, tenant_id: UUID, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Return ids in their order, beyond `after`; so do the next two."""

    def webhooks(self, tenant_id: UUID, after: UUID | None, limit: int) -> Sequence[UUID]: ...

    def quotas(self, tenant_id: UUID, after: UUID | None, limit: int) -> Sequence[UUID]:
        """Return the quotas of the tenant's API keys."""

    def tables(self) -> Sequence[str]:
        """Return the names of the tables that hold rows of tenants, those that refer to others first."""

    def delete(self, tenant_id: UUID, table: str, limit: int) -> int:
        """Delete up to `limit` of the tenant's rows of a table; return how many."""


class TenantTransaction(AuditTransaction, StandingTransaction, UsageTransaction, Protocol):
    """The transaction of the platform's administrators."""

    @property
    def tenants(self) -> Tenants: ...
    @property
    def tenant_rows(self) -> TenantRows: ...
