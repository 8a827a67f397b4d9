"""Synchronised records, mappings and schedules as they go over the wire."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from domain.core.errors import FieldError, ValidationFailed
from domain.core.text_length import TextConstraints
from domain.core.wire import UtcMoment, rfc3339
from domain.providers.charset import with_whole_characters
from domain.providers.records import RecordType
from domain.sync.mapping import FieldMapping, RecordTypeName
from domain.sync.model import SyncedRecord
from domain.sync.ports import RecordFilter, StoredMapping
from domain.sync.record_service import MappingPreview
from domain.sync.schedules import DirectionName, SyncSchedule, SyncTypeName
from functions.http.kit.views import Moment, PageView, Query, View


class SyncedRecordView(View):
    stream: str
    external_id: str
    local_id: str | None
    record_type: RecordTypeName
    data: Any = Field(description="The internal record; null when it is deleted")
    modified_at: Moment | None
    synced_at: Moment
    deleted_at: Moment | None
    is_local: bool = Field(description="Whether the tenant made the last change")
    export_pending: bool = Field(description="Whether it waits for the next export")


class SyncedRecordPage(PageView[SyncedRecordView]):
    pass


class RecordListView(View):
    items: list[SyncedRecordView]
    cursor: str | None = Field(description="Cursor of the next page; store it to request later changes")
    has_more: bool


class ChangedView(View):
    stored: int
    left_out: int = Field(description="Changes older than the stored record (BR-DS-07)")
    not_pushed: list[str] = Field(
        description="Fields that the provider takes from nobody here, such as the guests of an event: kept in the "
        "hub over what the provider has, until it changes there"
    )


class ScheduleView(View):
    integration_id: UUID
    expression: str | None
    interval_minutes: int | None
    sync_type: SyncTypeName
    direction: DirectionName
    is_enabled: bool
    next_run_at: Moment | None
    modified_at: Moment
    modified_by: UUID


class MappingView(View):
    streams: dict[str, Any] = Field(description="In the form that PUT accepts")
    events: dict[str, Any] = Field(description="Likewise, of providers that take events")


class FieldErrorView(View):
    pointer: str
    detail: str


class PreviewRecordView(View):
    external_id: str
    source: Any
    record_type: RecordTypeName | None
    record: Any
    errors: list[FieldErrorView]


class PreviewView(View):
    records: list[PreviewRecordView]


class RecordQuery(Query):
    type: RecordTypeName | None = None
    stream: Annotated[str, TextConstraints(max_length=60)] | None = None
    updated_since: UtcMoment | None = Field(None, description="Changed here at or after")
    cursor: Annotated[str, TextConstraints(max_length=1000)] | None = Field(
        None, description="`cursor` of the previous answer"
    )
    limit: int = Field(100, ge=1, le=1000)

    def to_filter(self) -> RecordFilter:
        return RecordFilter(
            record_type=RecordType(self.type) if self.type else None,
            stream=self.stream,
            since=self.updated_since,
            after=_position(self.cursor) if self.cursor else None,
            limit=self.limit,
        )


def record_view(record: SyncedRecord) -> SyncedRecordView:
    return SyncedRecordView(
        stream=record.stream,
        external_id=record.external_id,
        local_id=record.local_id,
        record_type=record.record_type,
        data=with_whole_characters(json.loads(record.data)) if record.data is not None else None,
        modified_at=record.modified_at,
        synced_at=record.synced_at,
        deleted_at=record.deleted_at,
        is_local=record.is_local,
        export_pending=record.export_pending,
    )


def record_list(records: Sequence[SyncedRecord], query: RecordQuery) -> RecordListView:
    cursor = _cursor(records[-1]) if records else query.cursor
    return RecordListView(
        items=[record_view(record) for record in records], cursor=cursor, has_more=len(records) == query.limit
    )


def schedule_view(schedule: SyncSchedule) -> ScheduleView:
    return ScheduleView(
        integration_id=schedule.integration_id,
        expression=schedule.expression,
        interval_minutes=schedule.interval_minutes,
        sync_type=schedule.sync_type.name,
        direction=schedule.direction.name,
        is_enabled=schedule.is_enabled,
        next_run_at=schedule.next_run_at,
        modified_at=schedule.modified_at,
        modified_by=schedule.modified_by,
    )


def mapping_view(stored: StoredMapping) -> MappingView:
    mapping = FieldMapping.model_validate_json(stored.mapping)
    dumped = mapping.model_dump(by_alias=True)
    return MappingView(streams=dumped["streams"], events=dumped["events"])


def preview_view(previews: Sequence[MappingPreview]) -> PreviewView:
    return PreviewView(
        records=[
            PreviewRecordView(
                external_id=preview.external_id,
                source=preview.source,
                record_type=preview.record_type,
                record=preview.record,
                errors=[
                    FieldErrorView(pointer=error.pointer, detail=error.detail) for error in preview.errors
                ],
            )
            for preview in previews
        ]
    )


def _cursor(record: SyncedRecord) -> str:
    position = [rfc3339(record.synced_at), record.stream, record.external_id]
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[datetime, str, str]:
    try:
        at, stream, key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not isinstance(stream, str) or not isinstance(key, str):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        detail = "Not a cursor of an earlier answer."
        raise ValidationFailed(detail, [FieldError("/cursor", detail)]) from None
    return moment, stream, key
