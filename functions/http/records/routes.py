"""Synchronised records of an integration, its field mapping and its schedule.

`/api/integrations/{id}/records`, `/mapping` and `/sync-schedule`."""

from __future__ import annotations

import asyncio

from domain.core.permissions import CALENDAR_CONNECT, INTEGRATION_MANAGE
from domain.sync.mapping import FieldMapping
from domain.sync.record_service import PreviewMapping, PutRecords, RecordService
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from functions.http.kit.bodies import DATA
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
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
from infra.app.build import use

records = Resource("integrations/{id}", tag="Data synchronisation", permission=INTEGRATION_MANAGE)


@records.get("records", own_permission=CALENDAR_CONNECT, query=RecordQuery, response=RecordListView)
def list_integration_records(call: Call) -> ApiResponse:
    """List synchronised records.

    In the order in which they were changed here, with deleted records. Store the last `cursor` and send it
    later to get what changed since."""
    query = call.query(RecordQuery)
    records = use(RecordService).page(call.principal, call.id(), query.to_filter())
    return ApiResponse(record_list(records, query))


@records.put("records", body=PutRecords, body_limit=DATA, response=ChangedView, refusals=(409,))
def change_integration_records(call: Call) -> ApiResponse:
    """Change records for the next export.

    Stores the tenant's own changes, which an Export or Bidirectional sync sends to the provider. Either all are
    stored or none; changes older than the stored record are left out (BR-DS-07). A field that is not given stays
    as it is, one that is null is emptied."""
    command = call.body(PutRecords)
    changed = use(RecordService).change(call.principal, call.id(), command)
    left_out = len(command.records) - changed.stored
    view = ChangedView(stored=changed.stored, left_out=left_out, not_pushed=sorted(changed.not_pushed))
    return ApiResponse(view)


@records.get("mapping", own_permission=CALENDAR_CONNECT, response=MappingView)
def get_integration_mapping(call: Call) -> ApiResponse:
    """Get the field mapping.

    Empty unless one was set."""
    stored = use(RecordService).mapping(call.principal, call.id())
    return ApiResponse(mapping_view(stored), version=stored.version)


@records.put("mapping", body=FieldMapping, body_limit=DATA, response=MappingView, refusals=(412,))
def put_integration_mapping(call: Call) -> ApiResponse:
    """Set the field mapping.

    JMESPath expressions by internal field. The next batch uses it. Records that are already stored are mapped
    again by the next Full or Differential sync."""
    mapping = call.body(FieldMapping)
    stored = use(RecordService).set_mapping(call.principal, call.id(), mapping, call.if_match())
    return ApiResponse(mapping_view(stored), version=stored.version)


@records.post("mapping/preview", body=PreviewMapping, body_limit=DATA, response=PreviewView, refusals=(409,))
async def preview_integration_mapping(call: Call) -> ApiResponse:
    """Preview a field mapping.

    Maps the provider's first records, or `sample`. Nothing is stored."""
    command = await asyncio.to_thread(call.body, PreviewMapping)
    return ApiResponse(preview_view(await use(RecordService).preview(call.principal, call.id(), command)))


@records.get("sync-schedule", own_permission=CALENDAR_CONNECT, response=ScheduleView)
def get_sync_schedule(call: Call) -> ApiResponse:
    """Get the sync schedule.

    The answer is 404 when there is none."""
    schedule = use(ScheduleService).get(call.principal, call.id())
    return ApiResponse(schedule_view(schedule), version=schedule.version)


@records.put(
    "sync-schedule",
    own_permission=CALENDAR_CONNECT,
    body=PutSchedule,
    response=ScheduleView,
    refusals=(409, 412),
)
def put_sync_schedule(call: Call) -> ApiResponse:
    """Set the sync schedule.

    An NCRONTAB expression in UTC, or an interval. Two occurrences must be as far apart as BR-DS-01 and BR-DS-02
    require."""
    command = call.body(PutSchedule)
    schedule = use(ScheduleService).put(call.principal, call.id(), command, call.if_match())
    return ApiResponse(schedule_view(schedule), version=schedule.version)
