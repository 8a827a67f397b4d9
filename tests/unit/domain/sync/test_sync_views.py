"""Synchronisation on the wire: CSV logs, record cursors, progress."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from domain.core.errors import ValidationFailed
from domain.sync.model import SyncDirection, SyncedRecord, SyncJob, SyncStatus, SyncType
from functions.http.datasyncs.routes import _csv
from functions.http.datasyncs.views import job_detail, job_view
from functions.http.records.views import RecordQuery, record_list
from tests.worlds.builders import START, TENANT, USER

JOB = SyncJob(
    data_sync_job_id=UUID(int=1),
    tenant_id=TENANT,
    integration_id=UUID(int=2),
    sync_type=SyncType.Full,
    direction=SyncDirection.Import,
    status=SyncStatus.Running,
    scheduled_at=START,
    created_at=START,
    created_by=USER,
    records_total=1_000,
    records_processed=390,
    records_failed=10,
    rate=20.0,
)


def test_a_log_as_csv_survives_quotes_and_disarms_formulas() -> None:
    text = _csv([["records", '=cmd("x")', "/a,b", 'It said "no"\nand left', "2026-03-01T09:00:00Z"]])
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["stream", "recordId", "pointer", "reason", "createdAt", "kind"]
    assert rows[1][1:4] == ['\'=cmd("x")', "/a,b", 'It said "no"\nand left']


def test_a_cursor_leads_back_to_where_it_was_given() -> None:
    record = SyncedRecord(UUID(int=2), "contacts", "c/1 é", "Contact", '{"email":"a@b.c"}', START)
    shown = record_list([record], RecordQuery())
    assert shown.cursor is not None
    assert RecordQuery(cursor=shown.cursor).to_filter().after == (START, "contacts", "c/1 é")
    assert record_list([], RecordQuery(cursor=shown.cursor)).cursor == shown.cursor


@pytest.mark.parametrize("cursor", ["x", "e30", "WzEsMiwzXQ", "é"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        RecordQuery(cursor=cursor).to_filter()
    assert refusal.value.errors[0].pointer == "/cursor"


def test_progress_names_what_is_left_and_when_it_ends__UC_DS_03() -> None:
    progress = job_view(JOB, START).progress
    assert (progress.processed, progress.failed, progress.remaining) == (390, 10, 600)
    assert (progress.rate_per_second, progress.eta_seconds) == (20.0, 30.0)
    assert progress.estimated_completion_at == START + timedelta(seconds=30)


def test_a_wait_that_the_provider_asked_for_is_part_of_the_estimate() -> None:
    waiting = replace(JOB, waiting_until=START + timedelta(seconds=90))
    assert job_view(waiting, START).progress.eta_seconds == 120.0


def test_nothing_is_promised_while_the_total_is_unknown() -> None:
    progress = job_detail(JOB, [], START).progress
    assert (progress.remaining, progress.eta_seconds) == (None, None)


def test_half_a_character_that_was_stored_is_replaced_when_it_is_read() -> None:
    record = SyncedRecord(UUID(int=2), "records", "a", "Generic", r'{"fields":{"bio":"caf\ud83d"}}', START)
    assert record_list([record], RecordQuery()).items[0].data == {"fields": {"bio": "caf\ufffd"}}
