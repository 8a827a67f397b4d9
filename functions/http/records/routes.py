"""What synchronisation keeps of an integration: `/api/integrations/{id}/records`, `/mapping`, `/sync-schedule`."""

from __future__ import annotations

import azure.functions as func

from domain.core.permissions import INTEGRATION_MANAGE
from domain.sync.mapping import FieldMapping
from domain.sync.record_service import PreviewMapping, PutRecords
from domain.sync.schedules import PutSchedule
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.endpoint import Endpoint, serve
from functions.http.records.views import (
    ChangedView,
    MappingView,
    PreviewView,
    RecordListView,
    RecordQuery,
    ScheduleView,
    mapping_view,
    preview_view,
    record_list,
    schedule_view,
)
from infra.app.build import hub

bp = func.Blueprint()
_TAG = "Data synchronisation"
_ONE = "integrations/{id}"


def _endpoint(method: str, route: str, name: str, summary: str, **options: object) -> Endpoint:
    return Endpoint(method, route, name, summary, _TAG, permission=INTEGRATION_MANAGE, **options)  # type: ignore[arg-type]


@serve(
    bp,
    _endpoint(
        "GET",
        f"{_ONE}/records",
        "list_integration_records",
        "List synchronised records",
        query=RecordQuery,
        response=RecordListView,
        refusals=(404,),
    ),
)
def list_integration_records(call: Call) -> ApiResponse:
    """In the order in which they changed here, deleted ones included. Keep the last `cursor` and ask with it later
    for what changed since."""
    query = call.query(RecordQuery)
    records = hub().sync.records.page(call.principal, call.id(), query.to_filter())
    return ApiResponse(record_list(records, query))


@serve(
    bp,
    _endpoint(
        "PUT",
        f"{_ONE}/records",
        "change_integration_records",
        "Change records for the next export",
        body=PutRecords,
        response=ChangedView,
        refusals=(404, 409),
    ),
)
def change_integration_records(call: Call) -> ApiResponse:
    """The tenant's own changes; an Export or Bidirectional sync pushes them. All are stored, or none; those older
    than what is stored are left out (BR-DS-07)."""
    command = call.body(PutRecords)
    stored = hub().sync.records.change(call.principal, call.id(), command)
    return ApiResponse(ChangedView(stored=stored, left_out=len(command.records) - stored))


@serve(
    bp,
    _endpoint(
        "GET",
        f"{_ONE}/mapping",
        "get_integration_mapping",
        "Get the field mapping",
        response=MappingView,
        refusals=(404,),
    ),
)
def get_integration_mapping(call: Call) -> ApiResponse:
    """Empty unless one was set."""
    stored = hub().sync.records.mapping(call.principal, call.id())
    return ApiResponse(mapping_view(stored), version=stored.version)


@serve(
    bp,
    _endpoint(
        "PUT",
        f"{_ONE}/mapping",
        "put_integration_mapping",
        "Set the field mapping",
        body=FieldMapping,
        response=MappingView,
        refusals=(404, 412),
    ),
)
def put_integration_mapping(call: Call) -> ApiResponse:
    """JMESPath expressions by internal field. Takes effect with the next batch; records already here are mapped
    anew by the next Full or Differential sync."""
    mapping = call.body(FieldMapping)
    stored = hub().sync.records.set_mapping(call.principal, call.id(), mapping, call.if_match())
    return ApiResponse(mapping_view(stored), version=stored.version)


@serve(
    bp,
    _endpoint(
        "POST",
        f"{_ONE}/mapping/preview",
        "preview_integration_mapping",
        "Try a field mapping",
        body=PreviewMapping,
        response=PreviewView,
        refusals=(404, 409),
    ),
)
async def preview_integration_mapping(call: Call) -> ApiResponse:
    """On the provider's first records, or on `sample`. Nothing is stored."""
    command = call.body(PreviewMapping)
    return ApiResponse(preview_view(await hub().sync.records.preview(call.principal, call.id(), command)))


@serve(
    bp,
    _endpoint(
        "GET",
        f"{_ONE}/sync-schedule",
        "get_sync_schedule",
        "Get the schedule",
        response=ScheduleView,
        refusals=(404,),
    ),
)
def get_sync_schedule(call: Call) -> ApiResponse:
    """404 when there is none."""
    schedule = hub().sync.schedules.get(call.principal, call.id())
    return ApiResponse(schedule_view(schedule), version=schedule.version)


@serve(
    bp,
    _endpoint(
        "PUT",
        f"{_ONE}/sync-schedule",
        "put_sync_schedule",
        "Set the schedule",
        body=PutSchedule,
        response=ScheduleView,
        refusals=(404, 409, 412),
    ),
)
def put_sync_schedule(call: Call) -> ApiResponse:
    """An NCRONTAB expression in UTC, or an interval. Occurrences keep the distance of BR-DS-01 and BR-DS-02."""
    command = call.body(PutSchedule)
    schedule = hub().sync.schedules.put(call.principal, call.id(), command, call.if_match())
    return ApiResponse(schedule_view(schedule), version=schedule.version)
