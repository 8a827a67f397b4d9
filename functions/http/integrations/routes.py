"""`/api/integrations`: connections to external systems (section 5.1)."""

from __future__ import annotations

from domain.core.permissions import CALENDAR_CONNECT, INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.integrations.commands import (
    ActivateIntegration,
    CreateIntegration,
    ReviewIntegration,
    RotateCredentials,
    SuspendIntegration,
    TestIntegration,
    UpdateIntegration,
)
from domain.integrations.health_history import IntegrationHistory
from domain.integrations.lifecycle import Lifecycle, LifecycleResult
from domain.integrations.service import IntegrationService, IntegrationTester
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
from infra.app.build import use

integrations = Resource("integrations", tag="Integrations", permission=INTEGRATION_MANAGE)


def _answer(
    call: Call, result: LifecycleResult, status: int = 200, location: str | None = None
) -> ApiResponse:
    integration = result.integration
    view = integration_view(integration, use(IntegrationService), call.principal, result.validation)
    return ApiResponse(view, status=status, location=location, version=integration.version)


@integrations.post(
    permission=INTEGRATION_ADMIN,
    own_permission=CALENDAR_CONNECT,
    body=CreateIntegration,
    response=IntegrationView,
    status=201,
    refusals=(409,),
)
async def create_integration(call: Call) -> ApiResponse:
    """Create an integration.

    Stores the credentials in the secret store, validates them with the provider, runs the provider's test where
    the type needs one, and activates the integration. If the provider refuses or does not answer, the
    integration is stored without being activated: see `status`, `reason` and `validation`. A second active
    payment gateway, e-mail or SMS service is refused (BR-IM-01) unless `activate` is false, and so is a calendar
    whose owner connects the same account a second time. The owner of a calendar is the caller unless an
    administrator names another one by `ownerId`. Where the provider has an OAuth app of the installation (`hasApp`
    of `GET /api/providers`), `configuration` may leave out `clientId` and `clientSecret`."""
    result = await use(IntegrationService).create(call.principal, call.body(CreateIntegration))
    return _answer(call, result, 201, integrations.location(result.integration.integration_id))


@integrations.get(own_permission=CALENDAR_CONNECT, query=IntegrationQuery, response=IntegrationPage)
def list_integrations(call: Call) -> ApiResponse:
    """List integrations.

    Oldest first unless `sort` is given. Disconnected integrations are listed only when `status` asks for them. Who
    has only `calendar:connect` sees their own calendars."""
    service = use(IntegrationService)
    query = call.query(IntegrationQuery)
    page = service.page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(
        page_of(
            page, lambda integration: integration_view(integration, service, call.principal), IntegrationPage
        )
    )


@integrations.get("{id}", own_permission=CALENDAR_CONNECT, response=IntegrationView)
def get_integration(call: Call) -> ApiResponse:
    """Get an integration.

    The `ETag` names its version, for `If-Match`; health checks do not change it."""
    return _answer(call, LifecycleResult(use(IntegrationService).get(call.principal, call.id())))


@integrations.put(
    "{id}",
    permission=INTEGRATION_ADMIN,
    body=UpdateIntegration,
    response=IntegrationView,
    refusals=(409, 412),
)
async def update_integration(call: Call) -> ApiResponse:
    """Change an integration.

    Only the fields that are sent change. In `configuration`, secret fields that are absent or `********` stay
    as they are, unless a field with `destination: true` of `GET /api/providers` changes, or `allowTls12` becomes
    true: then the secrets must be given again (422 `secrets-needed`), and an OAuth grant ends. An active
    integration uses a new configuration only after the provider has accepted it; otherwise the answer is 409
    `BR-IM-02` and the old configuration stays in use."""
    from domain.integrations.credentials import CredentialService

    command = call.body(UpdateIntegration)
    credentials = use(CredentialService)
    return _answer(call, await credentials.update(call.principal, call.id(), command, call.if_match()))


@integrations.delete(
    "{id}",
    permission=INTEGRATION_ADMIN,
    own_permission=CALENDAR_CONNECT,
    query=DisconnectQuery,
    status=204,
    refusals=(412,),
)
def disconnect_integration(call: Call) -> ApiResponse:
    """Disconnect an integration.

    Revokes an OAuth grant at the provider where that is possible and ends no other integration's access, destroys
    the credentials, and cannot be undone; the integration's log says what became of the grant. The integration stays
    readable with the status Disconnected, for its logs and the audit log."""
    reason = call.query(DisconnectQuery).reason
    use(Lifecycle).disconnect(call.principal, call.id(), reason, call.if_match())
    return ApiResponse(status=204)


@integrations.put(
    "{id}/credentials",
    permission=INTEGRATION_ADMIN,
    body=RotateCredentials,
    response=IntegrationView,
    refusals=(409, 412),
)
async def rotate_integration_credentials(call: Call) -> ApiResponse:
    """Replace an integration's credentials.

    The provider must accept the new credentials before they replace the old ones; otherwise the answer is 409
    `BR-IM-02`. An integration that was suspended because its credentials were refused becomes active again. A field
    with `destination: true` of `GET /api/providers` changes only together with the secrets (422 `secrets-needed`)."""
    from domain.integrations.credentials import CredentialService

    command = call.body(RotateCredentials)
    credentials = use(CredentialService)
    return _answer(call, await credentials.rotate(call.principal, call.id(), command, call.if_match()))


@integrations.post(
    "{id}/test", body=TestIntegration, body_is_optional=True, response=TestResultView, refusals=(409,)
)
async def test_integration(call: Call) -> ApiResponse:
    """Test an integration.

    Validates the stored credentials and runs the provider's test: a test-mode charge that is reversed, a test
    message to `recipient`, or a record that is created and deleted. See `succeeded` for the result. Refused
    credentials suspend an active integration."""
    command = call.body(TestIntegration, is_optional=True)
    result = await use(IntegrationTester).test(call.principal, call.id(), command)
    return ApiResponse(test_result_view(result))


@integrations.get("{id}/health", own_permission=CALENDAR_CONNECT, response=HealthView)
def get_integration_health(call: Call) -> ApiResponse:
    """Get an integration's health.

    The answer includes its state, the last checks, and success rate and response times over an hour, a day and
    a week. Response times count successful checks only."""
    return ApiResponse(health_view(use(IntegrationHistory).health(call.principal, call.id())))


@integrations.post(
    "{id}/activate",
    body=ActivateIntegration,
    body_is_optional=True,
    response=IntegrationView,
    refusals=(409, 412),
)
async def activate_integration(call: Call) -> ApiResponse:
    """Validate and activate an integration.

    Possible in Draft, PendingValidation and Suspended. See `status` and `validation` for the result."""
    command = call.body(ActivateIntegration, is_optional=True)
    lifecycle = use(Lifecycle)
    return _answer(call, await lifecycle.activate(call.principal, call.id(), command, call.if_match()))


@integrations.post(
    "{id}/suspend",
    body=SuspendIntegration,
    body_is_optional=True,
    response=IntegrationView,
    refusals=(409, 412),
)
def suspend_integration(call: Call) -> ApiResponse:
    """Suspend an integration.

    It stays suspended until it is activated again. Meanwhile another integration may be active in its place
    (BR-IM-01)."""
    command = call.body(SuspendIntegration, is_optional=True)
    lifecycle = use(Lifecycle)
    return _answer(
        call, LifecycleResult(lifecycle.suspend(call.principal, call.id(), command, call.if_match()))
    )


@integrations.post("{id}/review", body=ReviewIntegration, response=IntegrationView, refusals=(409, 412))
async def review_integration(call: Call) -> ApiResponse:
    """Review an integration in error.

    An integration in Error leaves that state only by a person's decision (BR-IM-05). The note is stored in its
    log and in the audit log."""
    lifecycle = use(Lifecycle)
    command = call.body(ReviewIntegration)
    return _answer(call, await lifecycle.review(call.principal, call.id(), command, call.if_match()))


@integrations.get("{id}/logs", own_permission=CALENDAR_CONNECT, query=LogQuery, response=LogPage)
def list_integration_logs(call: Call) -> ApiResponse:
    """List an integration's log entries.

    Newest first. Entries are kept for 90 days."""
    query = call.query(LogQuery)
    page = use(IntegrationHistory).logs(call.principal, call.id(), query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, log_view, LogPage))
