"""`/api/integrations` (section 5.1)."""

from __future__ import annotations

import azure.functions as func

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
from functions.http.kit.endpoint import Endpoint, serve
from functions.http.kit.views import page_of
from infra.app.build import hub

bp = func.Blueprint()
_TAG = "Integrations"
_ONE = "integrations/{id}"


def _endpoint(
    method: str, route: str, name: str, summary: str, permission: str, **options: object
) -> Endpoint:
    return Endpoint(method, route, name, summary, _TAG, permission=permission, **options)  # type: ignore[arg-type]


def _answer(outcome: LifecycleResult, status: int = 200, location: str | None = None) -> ApiResponse:
    integration = outcome.integration
    view = integration_view(integration, hub().integrations.service, outcome.proof)
    return ApiResponse(view, status=status, location=location, version=integration.version)


@serve(
    bp,
    _endpoint(
        "POST",
        "integrations",
        "create_integration",
        "Create an integration",
        INTEGRATION_ADMIN,
        body=CreateIntegration,
        response=IntegrationView,
        status=201,
        refusals=(409,),
    ),
)
async def create_integration(call: Call) -> ApiResponse:
    """Stores the credentials in the secret store, validates them with the provider, makes the provider's test
    where the type asks for it, and activates the integration. When the provider refuses or does not answer, the
    integration is kept all the same: `status`, `reason` and `validation` say how far it came. A second active
    payment gateway, e-mail or SMS service is refused (BR-IM-01) unless `activate` is false."""
    outcome = await hub().integrations.service.create(call.principal, call.body(CreateIntegration))
    return _answer(outcome, 201, f"/api/integrations/{outcome.integration.integration_id}")


@serve(
    bp,
    _endpoint(
        "GET",
        "integrations",
        "list_integrations",
        "List integrations",
        INTEGRATION_MANAGE,
        query=IntegrationQuery,
        response=IntegrationPage,
    ),
)
def list_integrations(call: Call) -> ApiResponse:
    """Oldest first unless `sort` says otherwise. Disconnected ones only when `status` asks for them."""
    service = hub().integrations.service
    query = call.query(IntegrationQuery)
    page = service.page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, lambda one: integration_view(one, service), IntegrationPage))


@serve(
    bp,
    _endpoint(
        "GET",
        _ONE,
        "get_integration",
        "Get an integration",
        INTEGRATION_MANAGE,
        response=IntegrationView,
        refusals=(404,),
    ),
)
def get_integration(call: Call) -> ApiResponse:
    """The `ETag` names its version, for `If-Match`; health checks do not change it."""
    return _answer(LifecycleResult(hub().integrations.service.get(call.principal, call.id())))


@serve(
    bp,
    _endpoint(
        "PUT",
        _ONE,
        "update_integration",
        "Change an integration",
        INTEGRATION_ADMIN,
        body=UpdateIntegration,
        response=IntegrationView,
        refusals=(404, 409, 412),
    ),
)
async def update_integration(call: Call) -> ApiResponse:
    """The fields sent replace, the others stay. In `configuration`, secret fields that are absent or `********`
    stay too. An active integration takes a new configuration only once the provider has accepted it; otherwise
    409 `BR-IM-02`, and the old one stays in use."""
    command = call.body(UpdateIntegration)
    credentials = hub().integrations.credentials
    return _answer(await credentials.update(call.principal, call.id(), command, call.if_match()))


@serve(
    bp,
    _endpoint(
        "DELETE",
        _ONE,
        "disconnect_integration",
        "Disconnect an integration",
        INTEGRATION_ADMIN,
        query=DisconnectQuery,
        status=204,
        refusals=(404, 412),
    ),
)
def disconnect_integration(call: Call) -> ApiResponse:
    """For good: its credentials are destroyed. It stays readable as Disconnected, for its logs and the audit."""
    reason = call.query(DisconnectQuery).reason
    hub().integrations.lifecycle.disconnect(call.principal, call.id(), reason, call.if_match())
    return ApiResponse(status=204)


@serve(
    bp,
    _endpoint(
        "PUT",
        f"{_ONE}/credentials",
        "rotate_integration_credentials",
        "Replace credentials",
        INTEGRATION_ADMIN,
        body=RotateCredentials,
        response=IntegrationView,
        refusals=(404, 409, 412),
    ),
)
async def rotate_integration_credentials(call: Call) -> ApiResponse:
    """The provider must accept the new ones before they replace the old; otherwise 409 `BR-IM-02`. An integration
    suspended because its credentials were refused is active again."""
    command = call.body(RotateCredentials)
    credentials = hub().integrations.credentials
    return _answer(await credentials.rotate(call.principal, call.id(), command, call.if_match()))


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/test",
        "test_integration",
        "Test the connection",
        INTEGRATION_MANAGE,
        body=TestIntegration,
        body_is_optional=True,
        response=TestResultView,
        refusals=(404, 409),
    ),
)
async def test_integration(call: Call) -> ApiResponse:
    """Validates the stored credentials and makes the provider's test: a test-mode charge and its reversal, a test
    message to `recipient`, a record made and deleted. `succeeded` says how it went; refused credentials suspend
    an active integration."""
    command = call.body(TestIntegration, is_optional=True)
    trial = await hub().integrations.trials.test(call.principal, call.id(), command)
    return ApiResponse(test_result_view(trial))


@serve(
    bp,
    _endpoint(
        "GET",
        f"{_ONE}/health",
        "get_integration_health",
        "Get health",
        INTEGRATION_MANAGE,
        response=HealthView,
        refusals=(404,),
    ),
)
def get_integration_health(call: Call) -> ApiResponse:
    """State, the last checks, and success rate and response times over an hour, a day and a week. Times are of
    the checks that succeeded."""
    return ApiResponse(health_view(hub().integrations.reports.health(call.principal, call.id())))


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/activate",
        "activate_integration",
        "Validate and activate",
        INTEGRATION_MANAGE,
        body=ActivateIntegration,
        body_is_optional=True,
        response=IntegrationView,
        refusals=(404, 409, 412),
    ),
)
async def activate_integration(call: Call) -> ApiResponse:
    """From Draft, PendingValidation or Suspended. `status` and `validation` in the answer say how it went."""
    command = call.body(ActivateIntegration, is_optional=True)
    lifecycle = hub().integrations.lifecycle
    return _answer(await lifecycle.activate(call.principal, call.id(), command, call.if_match()))


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/suspend",
        "suspend_integration",
        "Suspend",
        INTEGRATION_MANAGE,
        body=SuspendIntegration,
        body_is_optional=True,
        response=IntegrationView,
        refusals=(404, 409, 412),
    ),
)
def suspend_integration(call: Call) -> ApiResponse:
    """Until it is activated again; it frees its place meanwhile (BR-IM-01)."""
    command = call.body(SuspendIntegration, is_optional=True)
    lifecycle = hub().integrations.lifecycle
    return _answer(LifecycleResult(lifecycle.suspend(call.principal, call.id(), command, call.if_match())))


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/review",
        "review_integration",
        "Review an error",
        INTEGRATION_MANAGE,
        body=ReviewIntegration,
        response=IntegrationView,
        refusals=(404, 409, 412),
    ),
)
async def review_integration(call: Call) -> ApiResponse:
    """An integration in Error leaves it only by a person's decision (BR-IM-05), whose note goes to its log and to
    the audit log."""
    lifecycle = hub().integrations.lifecycle
    command = call.body(ReviewIntegration)
    return _answer(await lifecycle.review(call.principal, call.id(), command, call.if_match()))


@serve(
    bp,
    _endpoint(
        "GET",
        f"{_ONE}/logs",
        "list_integration_logs",
        "List an integration's log",
        INTEGRATION_MANAGE,
        query=LogQuery,
        response=LogPage,
        refusals=(404,),
    ),
)
def list_integration_logs(call: Call) -> ApiResponse:
    """Newest first; kept for 90 days."""
    query = call.query(LogQuery)
    page = hub().integrations.reports.logs(call.principal, call.id(), query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, log_view, LogPage))
