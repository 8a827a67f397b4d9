"""Tenants as the platform's administrators see them."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from domain.core.tenants import TenantState
from domain.tenants.model import Tenant, TenantFilter
from functions.http.kit.views import Moment, PageQuery, PageView, View
from functions.http.usage.views import UsageCountsView, counts_view

StateName = Literal["Active", "Suspended", "Deleting", "Deleted"]


class TenantQuery(PageQuery):
    state: StateName | None = Field(None, description="Only tenants in this state; deleted ones only so")

    def filter(self) -> TenantFilter:
        return TenantFilter(TenantState(self.state) if self.state else None)


class TenantLimitsView(View):
    webhooks: int | None
    api_keys: int | None
    integrations: int | None
    requests_per_hour: int | None
    events_per_hour: int | None


class TenantUsageView(View):
    users: int = Field(description="People that the hub has met")
    webhooks: int
    api_keys: int = Field(description="Keys that are not revoked")
    integrations: int = Field(description="Those that are not disconnected")
    this_month: UsageCountsView = Field(description="What was used in the present month (UTC)")


class DeletedFromView(View):
    source: str = Field(description="A table or a store")
    count: int


class DeletionView(View):
    requested_at: Moment
    requested_by: UUID | None
    deleted_at: Moment | None = Field(description="When nothing was left; null: it is under way")
    deleted: list[DeletedFromView] = Field(description="What was deleted so far")


class TenantView(View):
    tenant_id: UUID
    state: StateName
    created_at: Moment | None = Field(description="When the hub met it; null of a deleted one")
    suspended_at: Moment | None
    reason: str | None = Field(description="Why it is suspended")
    limits: TenantLimitsView = Field(
        description="What was set; null: the installation's setting, or no limit"
    )
    usage: TenantUsageView
    deletion: DeletionView | None


class TenantPage(PageView[TenantView]):
    pass


def tenant_view(tenant: Tenant) -> TenantView:
    standing, limits = tenant.standing, tenant.standing.limits
    return TenantView(
        tenant_id=standing.tenant_id,
        state=standing.state.value,
        created_at=tenant.created_at,
        suspended_at=standing.suspended_at,
        reason=standing.reason,
        limits=TenantLimitsView(
            webhooks=limits.webhooks,
            api_keys=limits.api_keys,
            integrations=limits.integrations,
            requests_per_hour=limits.requests_per_hour,
            events_per_hour=limits.events_per_hour,
        ),
        usage=TenantUsageView(
            users=tenant.usage.users,
            webhooks=tenant.usage.webhooks,
            api_keys=tenant.usage.api_keys,
            integrations=tenant.usage.integrations,
            this_month=counts_view(tenant.this_month),
        ),
        deletion=_deletion(tenant),
    )


def _deletion(tenant: Tenant) -> DeletionView | None:
    standing = tenant.standing
    if standing.deletion_requested_at is None:
        return None
    return DeletionView(
        requested_at=standing.deletion_requested_at,
        requested_by=standing.deletion_requested_by,
        deleted_at=standing.deleted_at,
        deleted=[
            DeletedFromView(source=name, count=count)
            for name, count in sorted(tenant.deletion.counts.items())
        ],
    )
