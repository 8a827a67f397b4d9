"""Lists that go round: what a run remembers of its pages, and for how long."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.providers.records import ListPage, SourceRecord
from domain.sync.model import Checkpoint
from domain.sync.rounds import ListGoesRound, Trail

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def page(*ids: object, following: str | None = "more", restarted: bool = False, **data: Any) -> ListPage:
    records = [SourceRecord(str(name), {"name": name, **data}) for name in ids]
    return ListPage(records, following, restarted=restarted)


def read(trail: Trail, pages: list[ListPage], *, cursors: list[str | None] | None = None) -> Trail:
    """Read pages as an import does; each batch of seven keeps the trail as text."""
    for number, found in enumerate(pages):
        cursor = cursors[number] if cursors else f"{id(pages)}-{number}"
        trail.check_cursor(cursor)
        trail.add_page(found, NOW)
        trail.add_cursor(cursor)
        if number % 7 == 0:
            trail = Trail.from_text(trail.to_text())
    return trail


def test_a_cursor_leads_to_its_page_once() -> None:
    trail = read(Trail(), [page(n) for n in range(4)], cursors=[None, "b", "c", "d"])
    for cursor in ("b", "c", "d"):
        with pytest.raises(ListGoesRound, match="leads to one that was read before"):
            trail.check_cursor(cursor)
    trail.check_cursor("e")


def test_the_content_of_a_page_comes_once_whatever_its_cursor() -> None:
    trail = read(Trail(), [page(1, 2), page(3), page()])
    with pytest.raises(ListGoesRound, match="what a page before held"):
        trail.add_page(page(1, 2), NOW)
    trail.add_page(page(1, 2, seats=4), NOW)
    trail.add_page(page(2, 1), NOW)


def test_pages_whose_rows_cannot_be_read_are_not_taken_for_each_other() -> None:
    odd = ListPage([SourceRecord("", {}), SourceRecord("", {})], "more")
    assert read(Trail(), [odd] * 100).stale == 0


def test_a_list_that_is_read_again_from_its_first_page_may_repeat_it() -> None:
    trail = read(Trail(), [page(1, 2), page(3)])
    trail.add_page(page(1, 2, restarted=True), NOW)
    with pytest.raises(ListGoesRound):
        trail.add_page(page(1, 2), NOW)


def test_a_thousand_empty_pages_in_a_row_lead_on_and_one_more_does_not() -> None:
    trail = read(Trail(), [page()] * 1_000 + [page("a")] + [page()] * 1_000)
    with pytest.raises(ListGoesRound, match="1,000 empty pages"):
        trail.add_page(page(), NOW)
    read(Trail(), [page()] * 1_000 + [page(following=None)])


def test_after_three_pages_without_a_new_record_one_is_asked_for_in_five_seconds_and_sixty_are_the_end() -> (
    None
):
    trail = Trail()
    for number in range(61):
        trail.check_cursor(str(number))
        assert trail.wait(NOW) == (5.0 if number > 3 else 0.0), number
        assert trail.wait(NOW + timedelta(seconds=4)) == (1.0 if number > 3 else 0.0)
        trail.add_page(page(1, 2, read=number), NOW)
    with pytest.raises(ListGoesRound, match="60 pages"):
        trail.check_cursor("another")


def test_a_new_record_makes_the_list_fast_again_and_an_empty_page_does_not() -> None:
    trail = read(Trail(), [page(1, read=number) for number in range(5)])
    trail.add_page(page(), NOW)
    assert trail.is_slow
    trail.add_page(page(1, 2, read=6), NOW)
    assert not trail.is_slow


def test_another_version_of_a_record_is_a_new_record() -> None:
    """As in a list of events about one payment."""
    versions = [
        ListPage([SourceRecord("ch_1", {"n": number}, NOW, f"evt_{number}")], "more") for number in range(99)
    ]
    assert read(Trail(), versions).stale == 0


@pytest.mark.parametrize("rounds", [3, 2_500, 6_000])
def test_a_round_of_any_length_is_noticed(rounds: int) -> None:
    trail = Trail()
    with pytest.raises(ListGoesRound):
        for number in range(3 * rounds):
            trail.add_page(page(number % rounds), NOW)
    assert number < 2 * rounds


@pytest.mark.parametrize("pages", [20, 500])
def test_records_that_come_again_in_a_list_of_any_length_are_noticed(pages: int) -> None:
    """The contents differ, as where each row tells when it was read."""
    trail = Trail()
    with pytest.raises(ListGoesRound, match="60 pages"):
        for number in range(pages + 1_000):
            trail.check_cursor(str(number))
            first = number % pages * 50
            trail.add_page(page(*range(first, first + 50), read=number), NOW)
    assert number <= pages + 200


def test_a_long_list_is_never_taken_for_one_that_goes_round_and_its_trail_stays_small() -> None:
    trail = read(Trail(), [page(*range(n * 20, n * 20 + 20)) for n in range(2_000)])
    assert (trail.stale, trail.empty) == (0, 0)
    assert len(trail.to_text()) < 120_000


def test_a_checkpoint_of_before_trails_can_be_read_and_one_of_a_later_version_too() -> None:
    stored = json.loads(Checkpoint(cursor="c", since=NOW).to_text())
    del stored["trail"]
    checkpoint = Checkpoint.from_text(json.dumps(stored | {"ofTomorrow": 1}))
    assert asdict(checkpoint) == asdict(Checkpoint(cursor="c", since=NOW))
    assert Trail.from_text(checkpoint.trail).stale == 0
