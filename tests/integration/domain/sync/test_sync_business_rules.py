"""The business rules of records hold wherever a record comes in (UC-DS-02 step 5); the bounds of a job (7.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.core.errors import ValidationFailed
from domain.core.paging import PageRequest
from domain.core.wire import rfc3339
from domain.sync.mapping import FieldMapping
from domain.sync.model import LogKind, SyncStatus
from domain.sync.record_service import PreviewMapping, PutRecords, RecordService
from domain.sync.service import SyncService
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld

_PAYMENT = {"amountMinor": "`900`", "currency": "'EUR'", "status": "'paid'", "refundedMinor": "source.back"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    made.crm.put("good", START - timedelta(days=1))
    yield made
    made.close()


def _mapping() -> FieldMapping:
    """Return the mapping that makes payments of the contacts."""
    return FieldMapping.model_validate(
        {"streams": {"contacts": {"recordType": "Payment", "fields": _PAYMENT}}}
    )


async def test_an_import_refuses_and_logs_what_breaks_a_rule__UC_DS_02(world: SyncWorld) -> None:
    world.crm.put("nobody", START - timedelta(days=1), email=None, jobTitle="Clerk")
    job = await world.synced(await world.integration())
    assert (job.status, job.records_written, job.records_failed) == (SyncStatus.PartialSuccess, 1, 1)
    errors = (
        world.hub.use(SyncService)
        .log(world.principal, job.data_sync_job_id, [LogKind.Record], PageRequest())
        .items
    )
    assert [(error.external_id, error.pointer) for error in errors] == [("nobody", "")]
    assert "neither name" in errors[0].reason


async def test_a_mapped_record_must_keep_the_rules_of_its_new_type__UC_DS_02(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.put("good", START - timedelta(days=1), back=900)
    world.crm.put("more", START - timedelta(days=1), back=901)
    records = world.hub.use(RecordService)
    previews = await records.preview(world.principal, integration, PreviewMapping(mapping=_mapping()))
    assert {shown.external_id: [error.pointer for error in shown.errors] for shown in previews} == {
        "good": [],
        "more": ["/refundedMinor"],
    }
    records.set_mapping(world.principal, integration, _mapping(), None)
    job = await world.synced(integration)
    assert (job.records_written, job.records_failed) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "data", "pointer"),
    [
        ("Contact", {"jobTitle": "Clerk"}, "/records/0/data"),
        (
            "Event",
            {"title": "T", "startDate": "2026-03-02", "endDate": "2026-03-01"},
            "/records/0/data/endDate",
        ),
        (
            "Payment",
            {"amountMinor": 1, "currency": "EUR", "status": "paid", "refundedMinor": 2},
            "/records/0/data/refundedMinor",
        ),
    ],
)
async def test_an_own_change_must_keep_the_rules__UC_DS_02(
    world: SyncWorld, kind: str, data: dict[str, Any], pointer: str
) -> None:
    integration = await world.integration()
    body = {"records": [{"localId": "mine", "recordType": kind, "data": data}]}
    command = PutRecords.model_validate_json(json.dumps(body))
    with pytest.raises(ValidationFailed) as refusal:
        world.hub.use(RecordService).change(world.principal, integration, command)
    assert [error.pointer for error in refusal.value.errors] == [pointer]
    assert world.stored(integration) == {}


async def test_a_schedule_exactly_30_days_past_is_taken__7_4(world: SyncWorld) -> None:
    oldest = START - timedelta(days=30)
    job = world.start(await world.integration(), scheduledAt=rfc3339(oldest))
    assert job.scheduled_at == oldest


async def test_no_count_of_records_is_ever_negative__7_4(world: SyncWorld) -> None:
    job = await world.synced(await world.integration())
    counts = (job.records_total, job.records_processed, job.records_failed)
    assert all(count >= 0 for count in counts)
