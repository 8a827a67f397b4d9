"""What clients ask of synchronisation (section 5.4)."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from domain.sync.mapping import FieldMapping, RecordTypeName, StreamName
from domain.sync.schedules import DirectionName, TypeName
from domain.wire import Command, UtcMoment

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00]+$")]
LocalIdentifier = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]+$")]


class StartSync(Command):
    """Body of `POST /api/datasyncs`."""

    integration_id: UUID = Field(strict=False)
    sync_type: TypeName = "Incremental"
    direction: DirectionName = "Import"
    scheduled_at: UtcMoment | None = Field(None, strict=False, description="When to run; now when absent")


class PreviewMapping(Command):
    """Body of `POST /api/integrations/{id}/mapping/preview`: try a mapping on the provider's first records, or
    on `sample`, without storing anything."""

    stream: StreamName | None = Field(None, description="The first stream when absent")
    mapping: FieldMapping | None = Field(None, description="The stored mapping when absent")
    sample: Annotated[list[dict[str, Any]], Field(max_length=20)] | None = Field(
        None, description="Records as the provider sends them; fetched from it when absent"
    )
    limit: int = Field(5, ge=1, le=20, description="Records to fetch")


class LocalRecord(Command):
    """One change of the tenant's own."""

    stream: StreamName | None = Field(None, description="The first exportable stream when absent")
    local_id: LocalIdentifier | None = Field(
        None, description="The tenant's own id of a record; new or known"
    )
    external_id: Identifier | None = Field(None, description="The provider's id, for a record it has")
    record_type: RecordTypeName | None = Field(None, description="The stream's when absent")
    data: dict[str, Any] | None = Field(None, description="The internal record; null deletes it")
    modified_at: UtcMoment | None = Field(None, strict=False, description="Now when absent (BR-DS-07)")


class PutRecords(Command):
    """Body of `PUT /api/integrations/{id}/records`."""

    records: Annotated[list[LocalRecord], Field(min_length=1, max_length=1000)]
