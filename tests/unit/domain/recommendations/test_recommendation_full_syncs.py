"""Full syncs that mostly find what was there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.providers.records import RecordType, StreamProfile
from domain.recommendations.facts import ScheduleFacts
from domain.recommendations.model import Advice, Confidence, Operation, Period
from domain.recommendations.sync_rules import incremental
from domain.sync.model import SyncDirection, SyncJob, SyncType
from tests.worlds.recommendation_facts import CHARGES, TODAY, figures, run, schedule

CONTACTS = StreamProfile("contacts", RecordType.Contact, "since")
FILES = StreamProfile("files", RecordType.FileObject, None)
WINDOWED = replace(CONTACTS, complete_history=False)


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
