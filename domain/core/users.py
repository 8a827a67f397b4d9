"""Users belong to User Management; the hub keeps a row for each it has met, because its own rows refer to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID


class Users(Protocol):
    def see(self, tenant_id: UUID, user_id: UUID, name: str, at: datetime) -> None:
        """Remember the tenant and the user; nothing happens when both are known."""

    def lock_tenant(self, tenant_id: UUID) -> None:
        """Hold the tenant's row until the transaction ends, so that a limit cannot be raced."""

    def tenants(self) -> Sequence[UUID]:
        """Every tenant met so far."""
