"""`/api/platform/tenants`: what the platform's administrators do with tenants."""

from __future__ import annotations

from domain.core.permissions import PLATFORM_ADMIN
from domain.tenants.model import SetTenantLimits, SuspendTenant, Tenant
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import page_of
from functions.http.platform.views import TenantPage, TenantQuery, TenantView, tenant_view
from infra.app.build import use

platform = Resource("platform/tenants", tag="Platform", permission=PLATFORM_ADMIN)
_PARAMETER = "tenantId"


def _answer(tenant: Tenant, status: int = 200) -> ApiResponse:
    return ApiResponse(tenant_view(tenant), status=status, version=tenant.standing.version)


@platform.get(query=TenantQuery, response=TenantPage)
def list_tenants(call: Call) -> ApiResponse:
    """List tenants with their limits and what they have.

    In the order of their ids; every tenant that called the hub once, but for those that were deleted."""
    from domain.tenants.service import TenantService

    query = call.query(TenantQuery)
    page = use(TenantService).page(call.principal, query.filter(), query.page_request())
    return ApiResponse(page_of(page, tenant_view, TenantPage))


@platform.get("{tenantId}", response=TenantView)
def get_tenant(call: Call) -> ApiResponse:
    """Get a tenant, and how far its deletion has come."""
    from domain.tenants.service import TenantService

    return _answer(use(TenantService).get(call.principal, call.id(_PARAMETER)))


@platform.put("{tenantId}/limits", body=SetTenantLimits, response=TenantView, refusals=(412,))
def set_tenant_limits(call: Call) -> ApiResponse:
    """Replace a tenant's limits.

    What is absent is the installation's setting, or no limit. What the tenant has beyond a limit stays; it gets no
    more. Takes up to 5 seconds until every process knows it."""
    from domain.tenants.service import TenantService

    command = call.body(SetTenantLimits)
    service = use(TenantService)
    return _answer(service.set_limits(call.principal, call.id(_PARAMETER), command, call.if_match()))


@platform.post("{tenantId}/suspend", body=SuspendTenant, response=TenantView, refusals=(409, 412))
def suspend_tenant(call: Call) -> ApiResponse:
    """Suspend a tenant.

    Its calls get 403 `tenant-suspended`, incoming webhooks too; its deliveries are held, its syncs wait, and the
    timers leave it out. Takes up to 5 seconds until every process knows it."""
    from domain.tenants.service import TenantService

    command = call.body(SuspendTenant)
    service = use(TenantService)
    return _answer(service.suspend(call.principal, call.id(_PARAMETER), command, call.if_match()))


@platform.post("{tenantId}/resume", response=TenantView, refusals=(409, 412))
def resume_tenant(call: Call) -> ApiResponse:
    """Resume a suspended tenant.

    What waited goes on: deliveries have their whole time again, syncs continue from their checkpoints. A tenant
    that was deleted may use the hub again, and has nothing."""
    from domain.tenants.service import TenantService

    return _answer(use(TenantService).resume(call.principal, call.id(_PARAMETER), call.if_match()))


@platform.delete("{tenantId}", response=TenantView, status=202, refusals=(409, 412))
def delete_tenant(call: Call) -> ApiResponse:
    """Delete a suspended tenant with everything it has.

    Cannot be undone. Begins 15 minutes later and is done by a timer, in small steps; the audit log
    of the platform's tenant then has the certificate, `tenant.deleted`, with what was deleted by table and store."""
    from domain.tenants.service import TenantService

    tenant = use(TenantService).delete(call.principal, call.id(_PARAMETER), call.if_match())
    return _answer(tenant, status=202)
