"""Where the audit log is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.audit.model import AuditEntry, AuditFilter, AuditRecord, ChainEnds
from domain.paging import Page, PageRequest


class Audit(Protocol):
    """One tenant's audit log. There is no way to change a row, and none to delete but by retention."""

    def append(self, tenant_id: UUID, entry: AuditEntry) -> None:
        """Add to the tenant's chain in this transaction. Holds the tenant's row until the transaction ends."""

    def page(self, tenant_id: UUID, filter_: AuditFilter, page: PageRequest) -> Page[AuditRecord]:
        """Newest first."""

    def ends(self, tenant_id: UUID) -> ChainEnds: ...

    def chain(self, tenant_id: UUID, after: int, limit: int) -> Sequence[AuditRecord | int]:
        """Rows in the order of their sequence, from beyond `after`; a row that can no longer be read is just its
        sequence."""

    def forget_before(self, tenant_id: UUID, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` of the oldest rows, older than `cutoff`, and remember where the chain now begins;
        returns how many."""
