"""Where keys are kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.apikeys.model import ApiKey, KeyFilter
from domain.core.paging import Page, PageRequest
from domain.journal.audit import AuditTransaction
from domain.journal.ports import OutboxTransaction


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """What the usage windows say of a key since it was made: requests that passed and the last of them, those
    that its quota refused, and those refused for another reason."""

    api_key_id: UUID
    usage_count: int
    last_used_at: datetime | None
    limited_count: int = 0
    refused_count: int = 0


@dataclass(frozen=True, slots=True)
class KeyRef:
    """A key and the quota it draws on."""

    api_key_id: UUID
    quota_id: UUID


class ApiKeys(Protocol):
    """One tenant's keys, but for the last seven, which serve the product itself. `get` and `update` raise NotFound
    for a key of another tenant as for an unknown one."""

    def count_active(self, tenant_id: UUID, now: datetime) -> int:
        """Keys neither revoked nor expired. Hold the tenant's row (`Users.lock_tenant`) to rely on it."""

    def add(self, tenant_id: UUID, key: ApiKey) -> None: ...

    def get(self, tenant_id: UUID, api_key_id: UUID) -> ApiKey: ...

    def page(self, tenant_id: UUID, filter_: KeyFilter, page: PageRequest, now: datetime) -> Page[ApiKey]:
        """Oldest first, those revoked or expired included."""

    def update(self, tenant_id: UUID, key: ApiKey) -> None:
        """Replace if `key.version` is still current, and raise the version. A revoked key never becomes active,
        whatever `key` says. Raises PreconditionFailed."""

    def by_hashes(self, hashes: Collection[str]) -> Mapping[str, ApiKey]:
        """The keys of any tenant with these hashes, by hash: authentication."""

    def expired(self, now: datetime, limit: int, *, rotated: bool) -> Sequence[ApiKey]:
        """Keys of all tenants that expired and are not revoked for it yet, at most `limit`; with `rotated` only
        those that another key replaced."""

    def unclosed(self, revoked_before: datetime, limit: int) -> Sequence[UUID]:
        """Keys of all tenants whose realtime connections are not known to be closed, the longest revoked first."""

    def set_closed(self, api_key_ids: Collection[UUID], at: datetime) -> None:
        """Their realtime connections are closed for good; touches no version."""

    def refs(self, after: UUID | None, *, used_since: datetime | None, limit: int) -> Sequence[KeyRef]:
        """Keys of all tenants in the order of their ids, from beyond `after`; with `used_since` only those that
        were active at some time since."""

    def set_usage(self, totals: Sequence[UsageTotal]) -> None:
        """Write the counts and LastUsedAt where none of them falls; touches no version."""


class ApiKeyTransaction(OutboxTransaction, AuditTransaction, Protocol):
    """What keys are kept in, and what is told of them."""

    @property
    def api_keys(self) -> ApiKeys: ...
