"""Full syncs that mostly find what was there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from domain.core.errors import Conflict
from domain.integrations.model import Integration
from domain.providers.records import RecordType, StreamProfile
from domain.recommendations.facts import ScheduleFacts
from domain.recommendations.model import Advice, Confidence, Operation, Period, RecommendationKind
from domain.recommendations.sync_rules import incremental
from domain.sync.model import SyncDirection, SyncJob, SyncStatus, SyncType
from infra.sql.sync.tables import data_sync_jobs
from tests.worlds.builders import TENANT, USER
from tests.worlds.recommendation_facts import NOW, SUBJECT, figures, schedule
from tests.worlds.recommendation_world import RecommendationWorld

TODAY = NOW.replace(hour=0)
CHARGES = StreamProfile("charges", RecordType.Payment, "since", lists_deletions=True)
CONTACTS = StreamProfile("contacts", RecordType.Contact, "since")
FILES = StreamProfile("files", RecordType.FileObject, None)
WINDOWED = replace(CONTACTS, complete_history=False)


def run(days_ago: int, *, read: int = 1000, written: int = 10, deleted: int = 0, minutes: int = 4) -> SyncJob:
    began = TODAY - timedelta(days=days_ago) + timedelta(hours=2)
    return SyncJob(
        data_sync_job_id=UUID(int=days_ago),
        tenant_id=TENANT,
        integration_id=SUBJECT,
        sync_type=SyncType.Full,
        direction=SyncDirection.Import,
        status=SyncStatus.Completed,
        scheduled_at=began,
        created_at=began,
        created_by=USER,
        records_processed=read,
        records_written=written,
        records_deleted=deleted,
        run_started_at=began,
        completed_at=began + timedelta(minutes=minutes),
    )


def said(
    runs: Sequence[SyncJob], streams: Sequence[StreamProfile] = (CHARGES,), **fields: Any
) -> Advice | None:
    given: dict[str, Any] = {"sync_type": SyncType.Full, **fields}
    period = Period(TODAY - timedelta(days=28), TODAY)
    return incremental(ScheduleFacts(schedule(**given), period, (), runs, streams))


def test_full_imports_that_change_little_become_incremental() -> None:
    advice = said([run(n) for n in (4, 3, 2, 1)])
    assert figures(advice) == {
        "runs": 4,
        "recordsRead": 4000,
        "recordsChanged": 40,
        "recordsDeleted": 0,
        "minutesTaken": 16,
        # in the 3 days and 22 hours since the first of them began
        "recordsSavedPerDay": 1011.1,
        "minutesSavedPerDay": 4.04,
    }
    assert advice is not None and advice.change is not None
    assert (advice.change.operation, advice.confidence) == (Operation.PutSyncSchedule, Confidence.High)
    assert advice.change.body == {
        "expression": "0 0 2 * * *",
        "syncType": "Incremental",
        "direction": "Import",
        "isEnabled": True,
    }


def test_an_interval_stays_one() -> None:
    advice = said([run(n) for n in (3, 2, 1)], expression=None, interval_minutes=1440)
    assert advice is not None and advice.change is not None
    assert (advice.change.body["intervalMinutes"], "expression" in advice.change.body) == (1440, False)


def test_the_first_run_which_changes_everything_does_not_hide_the_others() -> None:
    assert said([run(4, written=1000), run(3), run(2)]) is not None


def test_a_provider_that_does_not_tell_of_deletions_is_said_to_with_less_confidence() -> None:
    advice = said([run(n) for n in (4, 3, 2, 1)], (CHARGES, CONTACTS))
    assert advice is not None and advice.confidence == Confidence.Medium
    assert "only a full sync notices" in advice.explanation
    figures(advice)


def test_records_that_a_full_listing_would_not_miss_either_are_no_reason_to_hesitate() -> None:
    advice = said([run(n) for n in (4, 3, 2, 1)], (WINDOWED,))
    assert advice is not None and advice.confidence == Confidence.High


@pytest.mark.parametrize(
    ("runs", "streams", "fields"),
    [
        ([run(2), run(1)], (CHARGES,), {}),
        ([run(n, read=30, written=0) for n in (3, 2, 1)], (CHARGES,), {}),
        ([run(n, written=150) for n in (3, 2, 1)], (CHARGES,), {}),
        ([run(n) for n in (3, 2, 1)], (CHARGES, FILES), {}),
        ([run(n) for n in (3, 2, 1)], (), {}),
        ([run(3, deleted=1), run(2), run(1)], (CONTACTS,), {}),
        ([run(n) for n in (3, 2, 1)], (CHARGES,), {"sync_type": SyncType.Incremental}),
        ([run(n) for n in (3, 2, 1)], (CHARGES,), {"direction": SyncDirection.Bidirectional}),
        ([run(n) for n in (3, 2, 1)], (CHARGES,), {"is_enabled": False}),
    ],
    ids=[
        "two runs",
        "few records",
        "much changes",
        "no changes to ask for",
        "nothing known of the provider",
        "a deletion that would be missed",
        "incremental already",
        "exports too",
        "switched off",
    ],
)
def test_otherwise_nothing_is_said(
    runs: Sequence[SyncJob], streams: Sequence[StreamProfile], fields: dict[str, Any]
) -> None:
    assert said(runs, streams, **fields) is None


def _ran(world: RecommendationWorld) -> Integration:
    """An integration whose full syncs of the last three days changed little."""
    integration = world.scheduled("0 0 2 * * *", "Full")
    world.clock.advance(days=3)
    today = world.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    with world.transactions.write() as tx:
        for n in (3, 2, 1):
            began = today - timedelta(days=n) + timedelta(hours=20)
            job = replace(run(n), integration_id=integration.integration_id, created_at=began)
            job = replace(job, scheduled_at=began, completed_at=began + timedelta(minutes=4))
            assert tx.sync_jobs.add(job.tenant_id, job)
        tx.commit()
    # what runs count is stored batch by batch: here at once
    with world.database.write() as connection:
        connection.execute(update(data_sync_jobs).values(RecordsProcessed=1000, RecordsWritten=10))
        connection.commit()
    return integration


async def test_applying_makes_the_stored_schedule_incremental__10_1(tmp_path: Path) -> None:
    world = RecommendationWorld(tmp_path)
    world.providers.streamed = [CHARGES]
    integration = _ran(world)
    [one] = await world.listed()
    assert one.recommendation.advice.kind == RecommendationKind.SyncIncremental
    assert await world.listed(world.other) == []
    await world.recommendations.apply(world.principal, one.recommendation.recommendation_id, None)
    stored = world.schedules.get(world.principal, integration.integration_id)
    assert (stored.sync_type, stored.expression) == (SyncType.Incremental, "0 0 2 * * *")
    assert [one.status.name for one in await world.listed()] == ["Applied"]
    world.close()


async def test_a_provider_that_cannot_be_asked_is_no_failure_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = RecommendationWorld(tmp_path)
    _ran(world)
    asked = []

    def refuse(integration: Integration) -> Sequence[StreamProfile]:
        asked.append(integration)
        raise Conflict("The credentials are not in the secret store; set them again.")

    monkeypatch.setattr(world.providers, "streams", refuse)
    assert await world.listed() == []
    assert len(asked) == 1
    world.close()
