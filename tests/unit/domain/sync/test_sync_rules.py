"""The pure rules of synchronisation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.text_length import utf16_units
from domain.sync.merging import (
    IncomingRecord,
    MergeAction,
    StoredVersion,
    decide,
    latest,
    merge,
    number_of,
    numbered,
)
from domain.sync.model import BatchResult, BatchState, RecordCounts, SyncStatus
from domain.sync.rules import (
    after_failure,
    after_success,
    backoff_seconds,
    batch_size,
    final_status,
    is_logged,
    since_of,
    stored_id,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(
    external_id: str = "a", data: str | None = "{}", minutes: int | None = 0, version: str | None = None
) -> IncomingRecord:
    moment = None if minutes is None else NOON + timedelta(minutes=minutes)
    return IncomingRecord(external_id, data, f"hash-{data}", moment, version, "Contact")


@pytest.mark.parametrize(("wanted", "size"), [(-1, 1), (0, 1), (1, 1), (10_000, 10_000), (10_001, 10_000)])
def test_a_batch_holds_between_1_and_10_000_records__BR_DS_03(wanted: int, size: int) -> None:
    assert batch_size(wanted) == size


@given(st.integers(1, 10_000))
def test_a_failing_batch_halves_down_to_1_and_grows_back_no_further_than_it_was(full: int) -> None:
    size, steps = full, 0
    while size > 1:
        size, steps = after_failure(size), steps + 1
    assert steps <= 14
    for _ in range(15):
        size = after_success(size, full)
    assert size == full


def test_the_pause_doubles_up_to_a_minute() -> None:
    assert [backoff_seconds(tries) for tries in (1, 2, 3, 6, 7, 50)] == [1, 2, 4, 32, 60, 60]


def test_repeats_within_a_page_leave_the_latest_of_each_external_id__BR_DS_06() -> None:
    newer, older, other = record(data='{"n":2}', minutes=5), record(data='{"n":1}', minutes=1), record("b")
    kept, left_out = latest([newer, older, other, older], NOON)
    assert ({row.external_id: row.data for row in kept}, left_out) == ({"a": '{"n":2}', "b": "{}"}, 2)


def test_a_repeat_in_a_later_page_of_the_same_full_run_is_a_duplicate__BR_DS_06() -> None:
    stored = StoredVersion("hash-{}", NOON, is_deleted=False, generation=7)
    assert decide(stored, record(), 7, NOON) == MergeAction.Duplicate
    assert merge({"a": stored}, [record()], 7, now=NOON).duplicate == 1


@pytest.mark.parametrize("state", ["more", "done", "wait", "retry", "failed", "stopped"])
def test_a_result_in_the_history_of_an_earlier_release_can_be_read(state: str) -> None:
    assert BatchResult.from_wire({"state": state}) == BatchResult(BatchState(state))
    wire = {"state": state, "records": 7, "seconds": 1.5, "cause": "unavailable", "detail": "No answer."}
    assert BatchResult.from_wire(wire).to_wire() == wire


@given(st.text(min_size=1, max_size=2_000))
def test_an_external_id_of_any_length_is_one_key__BR_DS_06(external_id: str) -> None:
    assert stored_id(external_id) == stored_id(external_id)
    assert stored_id(external_id + "x") != stored_id(external_id)


@pytest.mark.parametrize(
    ("external_id", "is_kept"),
    [
        ("x" * 300, True),
        ("x" * 301, False),
        ("\N{GRINNING FACE}" * 150, True),
        ("\N{GRINNING FACE}" * 150 + "x", False),
    ],
)
def test_an_external_id_of_more_units_than_its_column_ends_in_a_digest(
    external_id: str, is_kept: bool
) -> None:
    key = stored_id(external_id)
    assert (key == external_id) == is_kept and utf16_units(key) <= 300 and key.startswith(external_id[:100])


@pytest.mark.parametrize(
    ("incoming", "action"),
    [
        (record(data='{"n":2}', minutes=1), MergeAction.Update),
        (record(data='{"n":2}', minutes=0), MergeAction.Update),
        (record(data='{"n":2}', minutes=-1), MergeAction.Unchanged),
        (record(data='{"n":2}', minutes=None), MergeAction.Update),
        (record(data=None, minutes=1), MergeAction.Tombstone),
        (record(data=None, minutes=-1), MergeAction.Unchanged),
        (record(minutes=1), MergeAction.Unchanged),
    ],
)
def test_the_later_modification_wins__BR_DS_07(incoming: IncomingRecord, action: MergeAction) -> None:
    assert (
        decide(StoredVersion("hash-{}", NOON, is_deleted=False, generation=1), incoming, None, NOON) == action
    )


@pytest.mark.parametrize(
    ("stored", "incoming", "action"),
    [
        # the provider's record is the one that the change was made to
        ({"version": "v1"}, record(data='{"n":2}', minutes=9, version="v1"), MergeAction.Unchanged),
        ({"version": "v1"}, record(minutes=9, version="v2"), MergeAction.Keep),
        ({}, record(minutes=None), MergeAction.Unchanged),
        ({"is_deleted": True}, record(minutes=None), MergeAction.Unchanged),
        # it was changed
        ({}, record(data='{"n":2}', minutes=-1), MergeAction.Keep),
        ({}, record(data='{"n":2}', minutes=0), MergeAction.Update),
        ({}, record(data='{"n":2}', minutes=1), MergeAction.Update),
        ({}, record(data='{"n":2}', minutes=None), MergeAction.Update),
        ({"is_deleted": True}, record(data='{"n":2}', minutes=-1), MergeAction.Keep),
        ({"is_deleted": True}, record(data='{"n":2}', minutes=1), MergeAction.Update),
        # it was deleted
        ({}, record(data=None, minutes=-1), MergeAction.Keep),
        ({}, record(data=None, minutes=0), MergeAction.Tombstone),
        ({}, record(data=None, minutes=1), MergeAction.Tombstone),
        ({}, record(data=None, minutes=None), MergeAction.Keep),
        ({"source_hash": None}, record(data=None, minutes=None), MergeAction.Unchanged),
        ({"is_deleted": True}, record(data=None, minutes=-1), MergeAction.Tombstone),
        # the tenant's moment has not come yet, and decides nothing
        ({"modified_at": NOON + timedelta(hours=1)}, record(data='{"n":2}', minutes=1), MergeAction.Update),
    ],
)
def test_a_waiting_change_stays_when_it_is_the_later_one__BR_DS_07(
    stored: dict[str, Any], incoming: IncomingRecord, action: MergeAction
) -> None:
    waiting = StoredVersion("hash-{}", NOON, is_deleted=False, generation=1, is_waiting=True)
    assert decide(replace(waiting, **stored), incoming, None, NOON) == action


def test_what_is_given_up_is_told_and_what_both_deleted_is_not() -> None:
    waiting = StoredVersion("hash-{}", NOON, is_deleted=False, generation=1, is_waiting=True)
    stored = {"a": waiting, "b": waiting, "c": replace(waiting, is_deleted=True), "d": waiting}
    records = [
        record("a", data='{"n":2}', minutes=1),
        record("b", data=None, minutes=1),
        record("c", data=None, minutes=1),
        record("d", data='{"n":2}', minutes=-1),
    ]
    merged = merge(stored, records, None, now=NOON)
    assert merged.given_up == ["a", "b"]
    assert [kept.external_id for kept in merged.kept] == ["d"]
    assert merged.unchanged == 1


def test_the_next_listing_begins_a_little_before_the_newest_change_and_never_after_the_run_began() -> None:
    assert since_of(NOON, NOON + timedelta(hours=1)) < NOON
    assert since_of(NOON + timedelta(days=1), NOON) < NOON
    assert since_of(None, NOON) < NOON


@pytest.mark.parametrize(
    ("stored", "incoming", "action"),
    [
        (60 * 24 * 365, record(data='{"n":2}', minutes=-1), MergeAction.Update),
        (6, record(data='{"n":2}', minutes=1), MergeAction.Update),
        (5, record(data='{"n":2}', minutes=1), MergeAction.Unchanged),  # clocks differ
        (60, record(data=None, minutes=1), MergeAction.Tombstone),
        (60, record(minutes=1), MergeAction.Unchanged),
        (60, record(data='{"n":2}', minutes=90), MergeAction.Update),
    ],
)
def test_a_stored_moment_that_has_not_come_decides_nothing(
    stored: int, incoming: IncomingRecord, action: MergeAction
) -> None:
    moment = NOON + timedelta(minutes=stored)
    assert (
        decide(StoredVersion("hash-{}", moment, is_deleted=False, generation=1), incoming, None, NOON)
        == action
    )
    assert (
        decide(StoredVersion("hash-{}", moment, is_deleted=False, generation=1), incoming, 2, NOON) == action
    )


@pytest.mark.parametrize(
    ("stored", "incoming", "minutes", "action"),
    [
        (2, 1, 5, MergeAction.Unchanged),
        (2, 3, -5, MergeAction.Update),
        (10, 9, None, MergeAction.Unchanged),
        (2, 2, -5, MergeAction.Unchanged),
        (2, 2, 5, MergeAction.Update),
        (None, 1, -5, MergeAction.Unchanged),
        (2, None, 5, MergeAction.Update),
    ],
)
def test_numbered_revisions_are_told_apart_by_their_numbers(
    stored: int | None, incoming: int | None, minutes: int | None, action: MergeAction
) -> None:
    known = StoredVersion("hash-{}", NOON, is_deleted=False, generation=1, version=numbered("digest", stored))
    found = replace(record(data='{"n":2}', minutes=minutes), version=numbered("digest", incoming))
    assert decide(known, found, None, NOON) == action
    assert decide(replace(known, is_deleted=True, modified_at=None), found, None, NOON) == MergeAction.Update


@pytest.mark.parametrize("version", [None, "", '"sequence=3;x"', "sequence=x;", "3;x", "sequence=;"])
def test_a_version_without_a_number_has_none(version: str | None) -> None:
    assert number_of(version) is None


def test_of_repeats_the_one_stamped_in_the_future_is_not_the_latest_for_that() -> None:
    ahead, repaired = record(data='{"n":1}', minutes=600), record(data='{"n":2}', minutes=-5)
    assert latest([ahead, repaired], NOON)[0] == [repaired]


@pytest.mark.parametrize(
    ("processed", "failed", "status"),
    [
        (0, 0, SyncStatus.Completed),
        (5, 0, SyncStatus.Completed),
        (5, 1, SyncStatus.PartialSuccess),
        (1, 500, SyncStatus.PartialSuccess),
        (0, 1, SyncStatus.Failed),
    ],
)
def test_a_job_that_could_take_no_record_has_failed(processed: int, failed: int, status: SyncStatus) -> None:
    assert final_status(processed, failed) == status


@pytest.mark.parametrize(
    ("upto", "told"), [(99, 99), (100, 100), (999, 189), (1_000, 190), (9_999, 279), (100_000, 370)]
)
def test_the_log_thins_out_by_powers_of_ten(upto: int, told: int) -> None:
    assert sum(is_logged(number) for number in range(1, upto + 1)) == told


def test_what_failed_is_not_processed_and_all_the_rest_is() -> None:
    assert RecordCounts(written=1, unchanged=2, duplicate=4, deleted=8, failed=16).processed == 15
