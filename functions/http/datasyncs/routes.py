"""`/api/datasyncs` (section 5.4)."""

from __future__ import annotations

import csv
import io

from domain.core.paging import PageRequest
from domain.core.permissions import INTEGRATION_MANAGE
from domain.sync.service import StartSync
from functions.http.datasyncs.views import (
    LogsQuery,
    RecordErrorPage,
    SyncJobDetailView,
    SyncJobPage,
    SyncJobQuery,
    SyncJobView,
    error_view,
    job_detail,
    job_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import PageQuery, page_of
from functions.http.records.views import SyncedRecordPage, record_view
from infra.app.build import hub

datasyncs = Resource("datasyncs", tag="Data synchronisation", permission=INTEGRATION_MANAGE)
_CSV_MOST = 100_000


@datasyncs.post(body=StartSync, response=SyncJobView, status=201, refusals=(409,))
def create_datasync(call: Call) -> ApiResponse:
    """Synchronise an integration.

    Now, or at `scheduledAt`. A Full sync runs at most once a day for each integration (BR-DS-01), an Incremental
    one once an hour (BR-DS-02); jobs that failed or were cancelled do not count, and one of the past counts as of now.
    One job of an integration runs at a time; jobs that find no room wait, and tenants take turns."""
    job = hub().sync.service.start(call.principal, call.body(StartSync))
    view = job_view(job, hub().clock.now())
    return ApiResponse(view, status=201, location=datasyncs.location(job.data_sync_job_id))


@datasyncs.get(query=SyncJobQuery, response=SyncJobPage)
def list_datasyncs(call: Call) -> ApiResponse:
    """List synchronisation jobs.

    Newest first."""
    query = call.query(SyncJobQuery)
    page = hub().sync.service.page(call.principal, query.to_filter(), query.page_request())
    now = hub().clock.now()
    return ApiResponse(page_of(page, lambda one: job_view(one, now), SyncJobPage))


@datasyncs.get("{id}", response=SyncJobDetailView)
def get_datasync(call: Call) -> ApiResponse:
    """Get a job and its progress.

    With its progress, rate and estimated end, and each of its streams."""
    job, steps = hub().sync.service.get(call.principal, call.id())
    return ApiResponse(job_detail(job, steps, hub().clock.now()))


@datasyncs.delete("{id}", status=204, refusals=(409,))
def cancel_datasync(call: Call) -> ApiResponse:
    """Cancel a job.

    At once: what was stored stays, the batch under way is dropped. POST to its `/resume` to go on."""
    hub().sync.service.cancel(call.principal, call.id())
    return ApiResponse(status=204)


@datasyncs.post("{id}/resume", response=SyncJobView, status=202, refusals=(409,))
def resume_datasync(call: Call) -> ApiResponse:
    """Resume a job.

    One that failed or was cancelled goes on from its checkpoint: batches that were stored are not fetched
    again. Refused as a new job would be while another that counts for BR-DS-01 or BR-DS-02 is too near."""
    job = hub().sync.service.resume(call.principal, call.id())
    return ApiResponse(job_view(job, hub().clock.now()), status=202)


@datasyncs.get("{id}/logs", query=LogsQuery, response=RecordErrorPage)
def list_datasync_logs(call: Call) -> ApiResponse:
    """List records that failed.

    One entry for each reason, oldest first (BR-DS-04); no value of a record is in any. `?format=csv` gives all of
    them as text/csv."""
    query = call.query(LogsQuery)
    service = hub().sync.service
    if query.format == "json":
        page = service.errors(call.principal, call.id(), query.page_request())
        return ApiResponse(page_of(page, error_view, RecordErrorPage))
    rows: list[list[str]] = []
    for number in range(1, _CSV_MOST // 1000 + 1):
        page = service.errors(call.principal, call.id(), PageRequest(number, 1000))
        views = [error_view(one) for one in page.items]
        rows += [[v.stream, v.record_id, v.pointer, v.reason, v.created_at.isoformat()] for v in views]
        if len(page.items) < 1000:
            break
    return ApiResponse(
        text=_csv(rows), headers={"Content-Disposition": 'attachment; filename="sync-log.csv"'}
    )


@datasyncs.get("{id}/records", query=PageQuery, response=SyncedRecordPage)
def list_datasync_records(call: Call) -> ApiResponse:
    """List records a job wrote.

    Those that no later job wrote again."""
    page = hub().sync.service.written(call.principal, call.id(), call.query(PageQuery).page_request())
    return ApiResponse(page_of(page, record_view, SyncedRecordPage))


def _csv(rows: list[list[str]]) -> str:
    """RFC 4180. A cell that a spreadsheet would take for a formula gets a quote before it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["stream", "recordId", "pointer", "reason", "createdAt"])
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
