"""`/api/datasyncs`: synchronisation jobs (section 5.4)."""

from __future__ import annotations

import csv
import io

from domain.core.paging import PageRequest
from domain.core.permissions import CALENDAR_CONNECT, INTEGRATION_MANAGE
from domain.sync.service import StartSync, SyncService
from functions.http.datasyncs.views import (
    LogsQuery,
    SyncJobDetailView,
    SyncJobPage,
    SyncJobQuery,
    SyncJobView,
    SyncLogPage,
    job_detail,
    job_view,
    log_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import PageQuery, page_of
from functions.http.records.views import SyncedRecordPage, record_view
from infra.app.build import hub, use

datasyncs = Resource(
    "datasyncs",
    tag="Data synchronisation",
    permission=INTEGRATION_MANAGE,
    own_permission=CALENDAR_CONNECT,
)
_CSV_MOST = 100_000


@datasyncs.post(body=StartSync, response=SyncJobView, status=201, refusals=(409,))
def create_datasync(call: Call) -> ApiResponse:
    """Create a synchronisation job.

    The job runs now, or at `scheduledAt`; a time in the past counts as now. For each integration:

    - A Full sync runs at most once a day (BR-DS-01), an Incremental sync at most once an hour (BR-DS-02). Jobs
      that failed or were cancelled do not count, nor those that the hub starts by itself (`origin` Authorization and
      Push), and a chain of resumed jobs counts once, as its first job.
    - One job runs at a time. Further jobs wait, and tenants take turns.
    - A job ends after 60 minutes (BR-DS-05). If it stored something, another job goes on from its checkpoint by
      itself: `resumedBy` names it, its own `resumedFrom` names the one before. The counts go on with it. A chain has
      at most 24 jobs; when a job of it stores nothing within 60 minutes, it ends as Failed, with an alert."""
    job = use(SyncService).start(call.principal, call.body(StartSync))
    view = job_view(job, hub().clock.now())
    return ApiResponse(view, status=201, location=datasyncs.location(job.data_sync_job_id))


@datasyncs.get(query=SyncJobQuery, response=SyncJobPage)
def list_datasyncs(call: Call) -> ApiResponse:
    """List synchronisation jobs.

    Newest first."""
    query = call.query(SyncJobQuery)
    page = use(SyncService).page(call.principal, query.to_filter(), query.page_request())
    now = hub().clock.now()
    return ApiResponse(page_of(page, lambda job: job_view(job, now), SyncJobPage))


@datasyncs.get("{id}", response=SyncJobDetailView)
def get_datasync(call: Call) -> ApiResponse:
    """Get a synchronisation job.

    The answer includes its progress, its rate, its estimated end, and the state of each stream."""
    job, steps = use(SyncService).get(call.principal, call.id())
    return ApiResponse(job_detail(job, steps, hub().clock.now()))


@datasyncs.delete("{id}", status=204, refusals=(409,))
def cancel_datasync(call: Call) -> ApiResponse:
    """Cancel a synchronisation job.

    Takes effect at once. Records that were stored stay; the batch in progress is dropped. POST to its `/resume`
    to continue it. Of a chain of resumed jobs any may be named; the one that waits or runs is cancelled."""
    use(SyncService).cancel(call.principal, call.id())
    return ApiResponse(status=204)


@datasyncs.post("{id}/resume", response=SyncJobView, status=202, refusals=(409,))
def resume_datasync(call: Call) -> ApiResponse:
    """Resume a synchronisation job.

    Continues a job that failed or was cancelled from its checkpoint; stored batches are not fetched again. The
    limits of BR-DS-01 and BR-DS-02 apply as they do to a new job. A job whose time was up goes on by itself: then
    the answer is the job that does."""
    job = use(SyncService).resume(call.principal, call.id())
    return ApiResponse(job_view(job, hub().clock.now()), status=202)


@datasyncs.get("{id}/logs", query=LogsQuery, response=SyncLogPage)
def list_datasync_logs(call: Call) -> ApiResponse:
    """List what a job did and which records it refused.

    Oldest first: one entry for each reason of a refused record (kind `Record`), and beside them the execution: its
    starts, batches, retries with their reasons and the halved size, waits that the provider asked for, time-outs,
    resumptions and end. `kind` chooses some of them. Of the batches of a stream, and of the retries and waits of a
    job, the first 99 are told, then every tenth, beyond 1,000 every hundredth and so on; a stream's last batch
    always. Entries never contain a value of a record. `?format=csv` returns all entries as text/csv."""
    query = call.query(LogsQuery)
    service = use(SyncService)
    if query.format == "json":
        page = service.log(call.principal, call.id(), query.kinds(), query.page_request())
        return ApiResponse(page_of(page, log_view, SyncLogPage))
    rows: list[list[str]] = []
    for number in range(1, _CSV_MOST // 1000 + 1):
        page = service.log(call.principal, call.id(), query.kinds(), PageRequest(number, 1000))
        views = [log_view(entry) for entry in page.items]
        rows += [
            [v.stream, v.record_id, v.pointer, v.reason, v.created_at.isoformat(), v.kind] for v in views
        ]
        if len(page.items) < 1000:
            break
    return ApiResponse(
        text=_csv(rows), headers={"Content-Disposition": 'attachment; filename="sync-log.csv"'}
    )


@datasyncs.get("{id}/records", query=PageQuery, response=SyncedRecordPage)
def list_datasync_records(call: Call) -> ApiResponse:
    """List the records a job wrote.

    Records that a later job wrote again are left out."""
    page = use(SyncService).written(call.principal, call.id(), call.query(PageQuery).page_request())
    return ApiResponse(page_of(page, record_view, SyncedRecordPage))


def _csv(rows: list[list[str]]) -> str:
    """Return the rows as CSV (RFC 4180).

    A cell that a spreadsheet would take for a formula gets a quote before it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["stream", "recordId", "pointer", "reason", "createdAt", "kind"])
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    return text.getvalue()


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
