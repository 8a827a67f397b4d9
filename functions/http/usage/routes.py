"""`/api/usage`: what the tenant uses; apart from insights, whose signals tell how well things went."""

from __future__ import annotations

from domain.core.permissions import INSIGHTS_READ
from domain.journal.usage import TenantUsageService
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.usage.views import TenantUsagePage, TenantUsageQuery, tenant_usage_page
from infra.app.build import use

usage = Resource("usage", tag="Usage", permission=INSIGHTS_READ)


@usage.get(query=TenantUsageQuery, response=TenantUsagePage)
def list_usage(call: Call) -> ApiResponse:
    """List the tenant's usage by hour or month.

    Counts calls of the API, events, deliveries and records of the caller's own tenant. Without a range: the last 24
    hours or 12 months. Hours and months (UTC) in which nothing was counted are left out; oldest first. `total` is the
    number of periods, `totals` the sum over all of them. Counts of other instances may be some seconds old."""
    query = call.query(TenantUsageQuery)
    listed = use(TenantUsageService).page(
        call.principal, query.period(), query.page_request(), since=query.since, until=query.until
    )
    return ApiResponse(tenant_usage_page(listed, query.by))
