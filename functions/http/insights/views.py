"""Signals and the overview as they go over the wire."""

from __future__ import annotations

from typing import Any, Literal, cast
from uuid import UUID

from pydantic import Field

from domain.core.shown_address import SHOWN_ADDRESS, host_of, shown_address
from domain.core.wire import UtcMoment
from domain.journal.signals import Sketch, Tally
from domain.monitoring.dashboard import IntegrationLine, KeyLine, Overview, SyncLine, WebhookLine
from domain.monitoring.signal_series import Point, Series
from domain.sync.progress import progress_payload
from functions.http.kit.views import Moment, Query, View
from functions.http.webhooks.views import StateName

KindName = Literal[
    "Tenant", "Webhook", "Integration", "SyncFull", "SyncIncremental", "SyncDifferential", "ApiKey"
]


class SignalQuery(Query):
    kind: KindName = Field("Tenant", description="What the signals count; `Tenant`: all deliveries together")
    subject_id: UUID | None = Field(
        None,
        description="Id of a webhook, an API key, or (for the other kinds) an integration; all of the kind when absent",
    )
    by: Literal["hour", "day"] = "hour"
    since: UtcMoment | None = Field(None, alias="from", description="At or after; whole hours or days")
    until: UtcMoment | None = Field(None, alias="to", description="Before; now when absent")


class OverviewQuery(Query):
    hours: int = Field(24, ge=1, le=24 * 14, description="Number of hours, including the current one")


class LatencyView(View):
    p50_ms: int
    p95_ms: int
    p99_ms: int


class TallyView(View):
    total: int
    succeeded: int
    failed: int
    failed_for_good: int = Field(description="Failures that are not retried")
    volume: int = Field(description="Records; sync jobs only")
    success_rate: float | None = Field(description="0 to 1; null when nothing was counted")
    errors: dict[str, int] = Field(
        description="Failures by class: `timeout`, `connect`, `tls`, `blocked`, `protocol`, `throttled` (429), "
        "`unauthorized` (401, 403), `4xx`, `5xx` and others; of requests with an API key `limited` and `refused`"
    )
    latency: LatencyView | None = Field(
        description="Milliseconds, to within 7 %; null when nothing was counted"
    )


class PointView(TallyView):
    start: Moment


class SeriesView(View):
    since: Moment = Field(serialization_alias="from")
    until: Moment = Field(serialization_alias="to")
    by: Literal["hour", "day"]
    totals: TallyView
    items: list[PointView]


class DeliveriesView(TallyView):
    series: list[PointView]


class WebhookLineView(TallyView):
    webhook_id: UUID
    url_host: str
    url: str = Field(description=SHOWN_ADDRESS)
    description: str | None
    state: StateName
    disabled_reason: str | None
    last_error: str | None = Field(description="The most frequent class of failure")


class SampleView(View):
    at: Moment
    milliseconds: int
    failed: bool


class IntegrationLineView(View):
    integration_id: UUID
    name: str
    provider: str
    integration_type: str
    status: str
    reason: str | None = Field(description="Why it is not active")
    health_status: str
    last_health_check: Moment | None
    samples: list[SampleView]


class KeyLineView(View):
    api_key_id: UUID
    key_name: str
    key_prefix: str
    limit: int
    used: int = Field(description="Requests used of this hour's quota")


class SyncLineView(View):
    data_sync_job_id: UUID
    integration_id: UUID
    integration_name: str
    status: str
    records_total: int
    records_processed: int
    records_failed: int
    rate_per_second: float | None
    eta_seconds: float | None


class OverviewView(View):
    at: Moment
    hours: int
    by: Literal["hour"] = "hour"
    permissions: list[str] = Field(description="Permissions of the caller")
    deliveries: DeliveriesView | None
    webhooks: list[WebhookLineView] | None = Field(description="Most failures first, at most 200")
    integrations: list[IntegrationLineView] | None = Field(description="At most 200")
    api_keys: list[KeyLineView] | None = Field(description="Usable keys, at most 200")
    syncs: list[SyncLineView] | None


def tally_fields(tally: Tally) -> dict[str, Any]:
    return {
        "total": tally.total,
        "succeeded": tally.succeeded,
        "failed": tally.failed,
        "failed_for_good": tally.failed_for_good,
        "volume": tally.volume,
        "success_rate": tally.success_rate,
        "errors": dict(tally.errors),
        "latency": _latency(tally.latency),
    }


def _latency(sketch: Sketch) -> LatencyView | None:
    p50, p95, p99 = (sketch.percentile(share) for share in (0.50, 0.95, 0.99))
    if p50 is None or p95 is None or p99 is None:
        return None
    return LatencyView.model_construct(p50_ms=p50, p95_ms=p95, p99_ms=p99)


def point_view(point: Point) -> PointView:
    return PointView.model_construct(start=point.start, **tally_fields(point.tally))


def series_view(series: Series) -> SeriesView:
    return SeriesView.model_construct(
        since=series.since,
        until=series.until,
        by=series.by,
        totals=TallyView.model_construct(**tally_fields(series.total)),
        items=[point_view(point) for point in series.points],
    )


def overview_view(overview: Overview) -> OverviewView:
    return OverviewView.model_construct(
        at=overview.at,
        hours=overview.hours,
        permissions=list(overview.permissions),
        deliveries=None if overview.deliveries is None else _deliveries(overview.deliveries),
        webhooks=None if overview.webhooks is None else [_webhook(webhook) for webhook in overview.webhooks],
        integrations=None
        if overview.integrations is None
        else [_integration(integration) for integration in overview.integrations],
        api_keys=None if overview.api_keys is None else [_key(api_key) for api_key in overview.api_keys],
        syncs=None if overview.syncs is None else [_sync(sync, overview) for sync in overview.syncs],
    )


def _deliveries(series: Series) -> DeliveriesView:
    points = [point_view(point) for point in series.points]
    return DeliveriesView.model_construct(series=points, **tally_fields(series.total))


def _webhook(line: WebhookLine) -> WebhookLineView:
    errors = line.tally.errors
    return WebhookLineView.model_construct(
        webhook_id=line.webhook.webhook_id,
        url_host=host_of(line.webhook.url),
        url=shown_address(line.webhook.url),
        description=line.webhook.description,
        state=cast("StateName", line.webhook.state.name),
        disabled_reason=line.webhook.disabled_reason,
        last_error=max(errors, key=lambda name: errors[name]) if errors else None,
        **tally_fields(line.tally),
    )


def _integration(line: IntegrationLine) -> IntegrationLineView:
    integration = line.integration
    return IntegrationLineView.model_construct(
        integration_id=integration.integration_id,
        name=integration.name,
        provider=integration.provider,
        integration_type=integration.integration_type.name,
        status=integration.status.name,
        reason=integration.reason,
        health_status=integration.health_status.name,
        last_health_check=integration.last_health_check,
        samples=[
            SampleView.model_construct(
                at=sample.at, milliseconds=sample.milliseconds, failed=sample.failure is not None
            )
            for sample in line.samples
        ],
    )


def _key(line: KeyLine) -> KeyLineView:
    key = line.key
    return KeyLineView.model_construct(
        api_key_id=key.api_key_id,
        key_name=key.key_name,
        key_prefix=key.key_prefix,
        limit=key.rate_limit_per_hour,
        used=line.used,
    )


def _sync(line: SyncLine, overview: Overview) -> SyncLineView:
    progress = progress_payload(line.job, overview.at)
    return SyncLineView.model_construct(
        data_sync_job_id=line.job.data_sync_job_id,
        integration_id=line.job.integration_id,
        integration_name=line.integration_name,
        status=line.job.status.name,
        records_total=line.job.records_total,
        records_processed=line.job.records_processed,
        records_failed=line.job.records_failed,
        rate_per_second=progress["ratePerSecond"],
        eta_seconds=progress["etaSeconds"],
    )
