"""Tenants as the platform's administrators see and change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from domain.core.tenants import TenantLimits, TenantStanding, TenantState
from domain.core.text_length import TextConstraints
from domain.core.wire import Command
from domain.journal.usage import UsageCounts

_MOST = 1_000_000_000


class SetTenantLimits(Command):
    """Body of `PUT /api/platform/tenants/{tenantId}/limits`; what is absent or null is the installation's."""

    webhooks: int | None = Field(
        None, ge=0, le=500, description="Webhooks; null: HUB_WEBHOOK_LIMIT_PER_TENANT"
    )
    api_keys: int | None = Field(
        None, ge=0, le=10_000, description="Active API keys; null: HUB_API_KEY_LIMIT_PER_TENANT"
    )
    integrations: int | None = Field(
        None, ge=0, le=10_000, description="Integrations that are not disconnected; null: no limit"
    )
    requests_per_hour: int | None = Field(
        None, ge=0, le=_MOST, description="Requests in 60 minutes, of all people and keys; null: no limit"
    )
    events_per_hour: int | None = Field(
        None, ge=0, le=_MOST, description="Events raised over the API in 60 minutes; null: no limit"
    )

    def limits(self) -> TenantLimits:
        return TenantLimits(
            self.webhooks, self.api_keys, self.integrations, self.requests_per_hour, self.events_per_hour
        )


class SuspendTenant(Command):
    """Body of `POST /api/platform/tenants/{tenantId}/suspend`."""

    reason: Annotated[str, TextConstraints(strip_whitespace=True, min_length=1, max_length=400)] = Field(
        description="Why; for the audit logs of the platform and of the tenant"
    )


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """What a tenant has: users met, webhooks, active API keys, integrations that are not disconnected."""

    users: int = 0
    webhooks: int = 0
    api_keys: int = 0
    integrations: int = 0


@dataclass(frozen=True, slots=True)
class DeletionProgress:
    """How far a deletion has come.

    - `place`: the index of the place at hand; `position`: the last thing that was seen to there.
    - `counts`: what was deleted, by table or store."""

    place: int = 0
    position: UUID | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


NOTHING_USED: Final = UsageCounts()


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant that the hub has met. `created_at` is None for one of which only the standing is left."""

    standing: TenantStanding
    created_at: datetime | None = None
    usage: TenantUsage = TenantUsage()
    this_month: UsageCounts = NOTHING_USED
    deletion: DeletionProgress = DeletionProgress()


@dataclass(frozen=True, slots=True)
class TenantFilter:
    state: TenantState | None = None
