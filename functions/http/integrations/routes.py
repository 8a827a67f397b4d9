"""`/api/integrations` (section 5.1)."""

from __future__ import annotations

from domain.core.permissions import INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.integrations.commands import (
    ActivateIntegration,
    CreateIntegration,
    ReviewIntegration,
    RotateCredentials,
    SuspendIntegration,
    TestIntegration,
    UpdateIntegration,
)
from domain.integrations.lifecycle import LifecycleResult
from functions.http.integrations.views import (
    DisconnectQuery,
    HealthView,
    IntegrationPage,
    IntegrationQuery,
    IntegrationView,
    LogPage,
    LogQuery,
    TestResultView,
    health_view,
    integration_view,
    log_view,
    test_result_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import page_of
from infra.app.build import hub

integrations = Resource("integrations", tag="Integrations", permission=INTEGRATION_MANAGE)


def _answer(result: LifecycleResult, status: int = 200, location: str | None = None) -> ApiResponse:
    integration = result.integration
    view = integration_view(integration, hub().integrations.service, result.validation)
    return ApiResponse(view, status=status, location=location, version=integration.version)


@integrations.post(
    permission=INTEGRATION_ADMIN,
    body=CreateIntegration,
    response=IntegrationView,
    status=201,
    refusals=(409,),
)
async def create_integration(call: Call) -> ApiResponse:
    """Create an integration.

    Stores the credentials in the secret store, validates them with the provider, makes the provider's test
    where the type asks for it, and activates the integration. When the provider refuses or does not answer, the
    integration is kept all the same: `status`, `reason` and `validation` say how far it came. A second active
    payment gateway, e-mail or SMS service is refused (BR-IM-01) unless `activate` is false."""
    result = await hub().integrations.service.create(call.principal, call.body(CreateIntegration))
    return _answer(result, 201, integrations.location(result.integration.integration_id))


@integrations.get(query=IntegrationQuery, response=IntegrationPage)
def list_integrations(call: Call) -> ApiResponse:
    """List integrations.

    Oldest first unless `sort` says otherwise. Disconnected ones only when `status` asks for them."""
    service = hub().integrations.service
    query = call.query(IntegrationQuery)
    page = service.page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, lambda one: integration_view(one, service), IntegrationPage))


@integrations.get("{id}", response=IntegrationView)
def get_integration(call: Call) -> ApiResponse:
    """Get an integration.

    The `ETag` names its version, for `If-Match`; health checks do not change it."""
    return _answer(LifecycleResult(hub().integrations.service.get(call.principal, call.id())))


@integrations.put(
    "{id}",
    permission=INTEGRATION_ADMIN,
    body=UpdateIntegration,
    response=IntegrationView,
    refusals=(409, 412),
)
async def update_integration(call: Call) -> ApiResponse:
    """Change an integration.

    The fields sent replace, the others stay. In `configuration`, secret fields that are absent or `********`
    stay too. An active integration takes a new configuration only once the provider has accepted it; otherwise
    409 `BR-IM-02`, and the old one stays in use."""
    command = call.body(UpdateIntegration)
    credentials = hub().integrations.credentials
    return _answer(await credentials.update(call.principal, call.id(), command, call.if_match()))


@integrations.delete("{id}", permission=INTEGRATION_ADMIN, query=DisconnectQuery, status=204, refusals=(412,))
def disconnect_integration(call: Call) -> ApiResponse:
    """Disconnect an integration.

    For good: its credentials are destroyed. It stays readable as Disconnected, for its logs and the audit."""
    reason = call.query(DisconnectQuery).reason
    hub().integrations.lifecycle.disconnect(call.principal, call.id(), reason, call.if_match())
    return ApiResponse(status=204)


@integrations.put(
    "{id}/credentials",
    permission=INTEGRATION_ADMIN,
    body=RotateCredentials,
    response=IntegrationView,
    refusals=(409, 412),
)
async def rotate_integration_credentials(call: Call) -> ApiResponse:
    """Replace credentials.

    The provider must accept the new ones before they replace the old; otherwise 409 `BR-IM-02`. An integration
    suspended because its credentials were refused is active again."""
    command = call.body(RotateCredentials)
    credentials = hub().integrations.credentials
    return _answer(await credentials.rotate(call.principal, call.id(), command, call.if_match()))


@integrations.post(
    "{id}/test", body=TestIntegration, body_is_optional=True, response=TestResultView, refusals=(409,)
)
async def test_integration(call: Call) -> ApiResponse:
    """Test the connection.

    Validates the stored credentials and makes the provider's test: a test-mode charge and its reversal, a test
    message to `recipient`, a record made and deleted. `succeeded` says how it went; refused credentials suspend
    an active integration."""
    command = call.body(TestIntegration, is_optional=True)
    result = await hub().integrations.tester.test(call.principal, call.id(), command)
    return ApiResponse(test_result_view(result))


@integrations.get("{id}/health", response=HealthView)
def get_integration_health(call: Call) -> ApiResponse:
    """Get health.

    State, the last checks, and success rate and response times over an hour, a day and a week. Times are of
    the checks that succeeded."""
    return ApiResponse(health_view(hub().integrations.history.health(call.principal, call.id())))


@integrations.post(
    "{id}/activate",
    body=ActivateIntegration,
    body_is_optional=True,
    response=IntegrationView,
    refusals=(409, 412),
)
async def activate_integration(call: Call) -> ApiResponse:
    """Validate and activate.

    From Draft, PendingValidation or Suspended. `status` and `validation` in the answer say how it went."""
    command = call.body(ActivateIntegration, is_optional=True)
    lifecycle = hub().integrations.lifecycle
    return _answer(await lifecycle.activate(call.principal, call.id(), command, call.if_match()))


@integrations.post(
    "{id}/suspend",
    body=SuspendIntegration,
    body_is_optional=True,
    response=IntegrationView,
    refusals=(409, 412),
)
def suspend_integration(call: Call) -> ApiResponse:
    """Suspend.

    Until it is activated again; it frees its place meanwhile (BR-IM-01)."""
    command = call.body(SuspendIntegration, is_optional=True)
    lifecycle = hub().integrations.lifecycle
    return _answer(LifecycleResult(lifecycle.suspend(call.principal, call.id(), command, call.if_match())))


@integrations.post("{id}/review", body=ReviewIntegration, response=IntegrationView, refusals=(409, 412))
async def review_integration(call: Call) -> ApiResponse:
    """Review an error.

    An integration in Error leaves it only by a person's decision (BR-IM-05), whose note goes to its log and to
    the audit log."""
    lifecycle = hub().integrations.lifecycle
    command = call.body(ReviewIntegration)
    return _answer(await lifecycle.review(call.principal, call.id(), command, call.if_match()))


@integrations.get("{id}/logs", query=LogQuery, response=LogPage)
def list_integration_logs(call: Call) -> ApiResponse:
    """List an integration's log.

    Newest first; kept for 90 days."""
    query = call.query(LogQuery)
    page = hub().integrations.history.logs(call.principal, call.id(), query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, log_view, LogPage))
