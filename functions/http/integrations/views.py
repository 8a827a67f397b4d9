"""Integrations as they go over the wire. No view contains a secret: secret fields show as `********`."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from pydantic import Field

from domain.core.principal import Principal
from domain.core.text_length import TextConstraints
from domain.core.wire import UtcMoment
from domain.integrations.commands import TypeName
from domain.integrations.health_history import HealthReport, HealthWindow
from domain.integrations.model import HealthStatus, Integration, IntegrationLog, IntegrationStatus, LogLevel
from domain.integrations.ports import IntegrationFilter, LogFilter, SortField
from domain.integrations.service import IntegrationService, IntegrationTestResult
from domain.integrations.validation import ValidationResult
from domain.providers.contract import IntegrationType
from functions.http.kit.views import CommaSeparated, Moment, PageQuery, PageView, Query, View

StatusName = Literal["Draft", "PendingValidation", "Active", "Suspended", "Disconnected", "Error"]
HealthName = Literal["Healthy", "Degraded", "Unhealthy", "Unknown"]
LevelName = Literal["Debug", "Information", "Warning", "Error", "Critical"]
FailureName = Literal["unauthorized", "forbidden", "rate_limited", "unavailable", "malformed", "rejected"]


class TestStepView(View):
    __test__ = False

    name: str
    detail: str
    reference: str | None = Field(description="The provider's id of the created record")


class ValidationView(View):
    succeeded: bool
    stage: Literal["authorization", "credentials", "test", "done"] = Field(
        description="The last stage that was reached"
    )
    detail: str
    failure: FailureName | None = Field(description="Why it stopped there")
    retry_after_seconds: float | None = Field(description="Wait that the provider asked for, in seconds")
    cause: Literal["recipient-needed"] | None = Field(
        description="What the caller has to add: `recipient-needed`, nobody is known who gets the test message"
    )
    delivered: bool | None = Field(
        description="Whether the provider took the test message to deliver it: false in its sandbox, where nothing is "
        "delivered; null of other tests"
    )
    steps: list[TestStepView] = Field(description="Steps of the provider's test")


class AccountView(View):
    account: str = Field(description="The account that the provider reports")
    scopes: list[str]
    verified: bool = Field(
        description="False where the provider has no way to check credentials; see `detail`"
    )
    detail: str
    test_mode: bool | None


class IntegrationView(View):
    integration_id: UUID
    name: str
    integration_type: TypeName
    provider: str
    status: StatusName
    reason: str | None = Field(description="Why it is not active")
    is_enabled: bool
    configuration: dict[str, Any] = Field(
        description="Secret fields show as `********`; addresses are whole only for who may change them"
    )
    allow_tls12: bool = Field(alias="allowTls12")
    account: AccountView | None = Field(description="Result of the last validation")
    validated_at: Moment | None
    suspension_cause: Literal["Manual", "Authentication", "Grant"] | None
    health_status: HealthName
    consecutive_failures: int = Field(description="Failed health checks in a row")
    last_health_check: Moment | None
    last_sync_time: Moment | None
    created_at: Moment
    created_by: UUID
    modified_at: Moment | None
    modified_by: UUID | None
    owner_id: UUID | None = Field(description="Whose calendar it is; null for other types")
    validation: ValidationView | None = Field(
        None, description="Present when this request called the provider"
    )


class IntegrationPage(PageView[IntegrationView]):
    pass


class TestResultView(View):
    __test__ = False

    succeeded: bool
    tested_at: Moment
    validation: ValidationView


class CheckView(View):
    at: Moment
    succeeded: bool
    duration_ms: int
    failure: str | None


class WindowView(View):
    checks: int
    success_rate: float | None = Field(description="0 to 1; null without checks")
    p50_ms: int | None
    p95_ms: int | None
    p99_ms: int | None


class HealthView(View):
    integration_id: UUID
    status: StatusName
    is_enabled: bool
    health_status: HealthName
    last_health_check: Moment | None
    consecutive_failures: int
    baseline_ms: float | None = Field(
        description="Usual response time in milliseconds; null before the first success"
    )
    next_probe_at: Moment | None = Field(description="When a suspended integration is checked again")
    windows: dict[str, WindowView] = Field(description="`1h`, `24h` and `7d`")
    last_checks: list[CheckView] = Field(description="The last 20, newest first")


class LogView(View):
    integration_log_id: UUID
    integration_id: UUID
    log_level: LevelName
    message: str
    details: Any
    exception: str | None
    request_id: UUID | None
    created_at: Moment


class LogPage(PageView[LogView]):
    pass


class IntegrationQuery(PageQuery):
    type: CommaSeparated[TypeName] | None = Field(None, description="One or more, separated by commas")
    status: CommaSeparated[StatusName] | None = Field(
        None, description="One or more, separated by commas; all but Disconnected when absent"
    )
    provider: CommaSeparated[str] | None = Field(None, description="One or more, separated by commas")
    health: CommaSeparated[HealthName] | None = Field(None, description="One or more, separated by commas")
    q: Annotated[str, TextConstraints(max_length=200)] | None = Field(
        None, description="Part of the name or the provider"
    )
    sort: Literal[
        "name",
        "createdAt",
        "modifiedAt",
        "status",
        "integrationType",
        "provider",
        "lastHealthCheck",
        "-name",
        "-createdAt",
        "-modifiedAt",
        "-status",
        "-integrationType",
        "-provider",
        "-lastHealthCheck",
    ] = Field("createdAt", description="A leading `-` sorts in descending order")

    def to_filter(self) -> IntegrationFilter:
        field = cast("SortField", self.sort.removeprefix("-"))
        return IntegrationFilter(
            types=[IntegrationType[name] for name in self.type or ()],
            statuses=[IntegrationStatus[name] for name in self.status or ()],
            providers=self.provider or (),
            health=[HealthStatus[name] for name in self.health or ()],
            text=self.q,
            sort=field,
            descending=self.sort.startswith("-"),
        )


class LogQuery(PageQuery):
    level: CommaSeparated[LevelName] | None = Field(None, description="One or more, separated by commas")
    since: UtcMoment | None = Field(None, alias="from", description="Written at or after")
    until: UtcMoment | None = Field(None, alias="to", description="Written before")
    q: Annotated[str, TextConstraints(max_length=200)] | None = Field(None, description="Part of the message")

    def to_filter(self) -> LogFilter:
        levels = [LogLevel[name] for name in self.level or ()]
        return LogFilter(levels, self.since, self.until, self.q)


class DisconnectQuery(Query):
    reason: Annotated[str, TextConstraints(min_length=1, max_length=400)] = "Disconnected by hand."


def integration_view(
    integration: Integration,
    service: IntegrationService,
    principal: Principal,
    validation: ValidationResult | None = None,
) -> IntegrationView:
    shown = service.shown_configuration(principal, integration)
    suspension = integration.suspension
    is_calendar = integration.integration_type == IntegrationType.CalendarSync
    fields: dict[str, Any] = {
        "integration_id": integration.integration_id,
        "name": integration.name,
        "integration_type": integration.integration_type.name,
        "provider": integration.provider,
        "status": integration.status.name,
        "reason": integration.reason,
        "is_enabled": integration.is_enabled,
        "configuration": shown.configuration,
        "allow_tls12": integration.allow_tls_1_2,
        "account": shown.account,
        "validated_at": integration.validated_at,
        "suspension_cause": suspension.name if suspension is not None else None,
        "health_status": integration.health_status.name,
        "consecutive_failures": integration.consecutive_failures,
        "last_health_check": integration.last_health_check,
        "last_sync_time": integration.last_sync_time,
        "created_at": integration.created_at,
        "created_by": integration.created_by,
        "modified_at": integration.modified_at,
        "modified_by": integration.modified_by,
        "owner_id": integration.owner if is_calendar else None,
        "validation": validation_view(validation) if validation else None,
    }
    return IntegrationView(**fields)


def validation_view(validation: ValidationResult) -> ValidationView:
    failure = validation.failure
    return ValidationView(
        succeeded=validation.succeeded,
        stage=validation.stage,
        detail=validation.detail,
        failure=failure.kind if failure else None,
        retry_after_seconds=failure.retry_after_seconds if failure else None,
        cause=validation.cause,
        delivered=validation.delivered,
        steps=[
            TestStepView(name=step.name, detail=step.detail, reference=step.reference)
            for step in validation.steps
        ],
    )


def test_result_view(result: IntegrationTestResult) -> TestResultView:
    return TestResultView(
        succeeded=result.validation.succeeded,
        tested_at=result.tested_at,
        validation=validation_view(result.validation),
    )


def health_view(report: HealthReport) -> HealthView:
    integration = report.integration
    return HealthView(
        integration_id=integration.integration_id,
        status=integration.status.name,
        is_enabled=integration.is_enabled,
        health_status=integration.health_status.name,
        last_health_check=integration.last_health_check,
        consecutive_failures=integration.consecutive_failures,
        baseline_ms=report.vitals.baseline_ms if report.vitals.baseline_of else None,
        next_probe_at=integration.probe_after,
        windows={name: _window_view(window) for name, window in report.windows.items()},
        last_checks=[
            CheckView(
                at=last_check.at,
                succeeded=last_check.failure is None,
                duration_ms=last_check.milliseconds,
                failure=last_check.failure,
            )
            for last_check in report.last_checks
        ],
    )


def log_view(log: IntegrationLog) -> LogView:
    return LogView(
        integration_log_id=log.integration_log_id,
        integration_id=log.integration_id,
        log_level=log.log_level.name,
        message=log.message,
        details=json.loads(log.details) if log.details else None,
        exception=log.exception,
        request_id=log.request_id,
        created_at=log.created_at,
    )


def _window_view(window: HealthWindow) -> WindowView:
    return WindowView(
        checks=window.checks,
        success_rate=window.success_rate,
        p50_ms=window.p50_ms,
        p95_ms=window.p95_ms,
        p99_ms=window.p99_ms,
    )
