"""Where keys are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.apikeys.model import ApiKey, KeyFilter
from domain.core.paging import Page, PageRequest
from domain.core.tenants import StandingTransaction
from domain.core.transaction import UserTransaction
from domain.journal.audit import AuditTransaction
from domain.journal.ports import OutboxTransaction


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """The totals of a key since it was created.

    Quotas refused `limited_count` requests; `refused_count` were refused for another reason."""

    api_key_id: UUID
    usage_count: int
    last_used_at: datetime | None
    limited_count: int = 0
    refused_count: int = 0


@dataclass(frozen=True, slots=True)
class KeyRef:
    api_key_id: UUID
    quota_id: UUID


class ApiKeys(Protocol):
    """The keys of one tenant; those from `by_hashes` on serve the product itself and see all tenants.

    `get` and `update` raise NotFound for a key of another tenant as for an unknown one."""

    def count_active(self, tenant_id: UUID, now: datetime) -> int:
        """Count keys neither revoked nor expired; reliable while `Users.lock_tenant` is held."""

    def limit_of(self, tenant_id: UUID, quota_id: UUID) -> int:
        """Return the limit per hour of a quota: that of the newest key of its line; 0 where there is none."""

    def given_by(self, tenant_id: UUID, root_quota: UUID, *, ended_since: datetime) -> int:
        """Add up the limits given to the lines of keys that descend from a quota, but for those ended before."""

    def add(self, tenant_id: UUID, key: ApiKey) -> None: ...

    def get(self, tenant_id: UUID, api_key_id: UUID) -> ApiKey: ...

    def page(self, tenant_id: UUID, filter_: KeyFilter, page: PageRequest, now: datetime) -> Page[ApiKey]:
        """Return a page of keys, oldest first, revoked and expired ones included."""

    def update(self, tenant_id: UUID, key: ApiKey) -> None:
        """Replace the key if `key.version` is still current, and increment the version.

        A revoked key never becomes active, whatever `key` says. Raises PreconditionFailed."""

    def by_hashes(self, hashes: Collection[str]) -> Mapping[str, ApiKey]:
        """Return the keys with these hashes, by hash, of any tenant."""

    def expired(self, now: datetime, limit: int, *, rotated: bool) -> Sequence[ApiKey]:
        """Return expired keys not revoked yet; with `rotated` only those another key replaced."""

    def unclosed(self, revoked_before: datetime, limit: int) -> Sequence[UUID]:
        """Return keys whose realtime connections are not known to be closed, the longest revoked first."""

    def set_closed(self, api_key_ids: Collection[UUID], at: datetime) -> None:
        """Record that the keys' realtime connections are closed for good. Changes no version."""

    def refs(self, after: UUID | None, *, used_since: datetime | None, limit: int) -> Sequence[KeyRef]:
        """Return keys after `after` by id; with `used_since` those active at some time since."""

    def set_usage(self, totals: Sequence[UsageTotal]) -> None:
        """Store the counts and LastUsedAt where none of them decreases. Changes no version."""


class ApiKeyTransaction(OutboxTransaction, AuditTransaction, UserTransaction, StandingTransaction, Protocol):
    """The transaction of the use cases of API keys; the limit of keys is kept by a lock on the tenant."""

    @property
    def api_keys(self) -> ApiKeys: ...
