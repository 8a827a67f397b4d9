"""What a tenant set of a record beside what its provider has: which fields wait, which stay, which are told."""

from __future__ import annotations

from typing import Any

import pytest

from domain.providers.records import RecordType
from domain.sync.local_fields import LocalFields, differ, named_together

PUSHES = frozenset(("title", "location"))


@pytest.mark.parametrize(
    ("ours", "theirs", "waiting", "not_pushed"),
    [
        ({"title": "A"}, {"title": "B"}, {"title"}, set()),
        ({"title": "A"}, {"title": "A"}, set(), set()),
        ({"title": "A"}, {}, {"title"}, set()),
        ({"location": None}, {"location": "Hall"}, {"location"}, set()),
        ({"location": None}, {"location": ""}, set(), set()),
        ({"attendees": [{"email": "b@x"}]}, {"attendees": []}, set(), {"attendees"}),
        ({"attendees": [{"email": "b@x", "name": None}]}, {"attendees": [{"email": "b@x"}]}, set(), set()),
        ({"attendees": []}, {}, set(), set()),
        ({"title": "A", "status": "tentative"}, {"title": "A"}, set(), {"status"}),
    ],
)
def test_fields_wait_or_are_told_by_what_the_provider_has_and_takes(
    ours: dict[str, Any], theirs: dict[str, Any], waiting: set[str], not_pushed: set[str]
) -> None:
    local = LocalFields(ours, theirs)
    assert (local.waiting(PUSHES), local.not_pushed(PUSHES)) == (waiting, not_pushed)
    assert local.not_pushed(None) == frozenset()


@pytest.mark.parametrize(
    ("provider", "kept"),
    [
        ({"status": "confirmed", "title": "B"}, {"status": "tentative"}),
        ({"status": "cancelled", "title": "B"}, {}),  # changed there since
        ({"status": "tentative"}, {}),  # the same by now
    ],
)
def test_what_no_push_takes_stays_until_the_provider_changes_it(
    provider: dict[str, Any], kept: dict[str, Any]
) -> None:
    local = LocalFields({"title": "A", "status": "tentative"}, {"title": "B", "status": "confirmed"})
    assert local.kept(provider, PUSHES).ours == kept
    assert local.kept(None, PUSHES).ours == {"status": "tentative"}
    assert local.kept(provider, None).ours == {}


def test_a_field_that_the_provider_has_not_told_stays() -> None:
    local = LocalFields({"status": "tentative"})
    assert local.kept({"status": "confirmed"}, PUSHES).theirs == {"status": "confirmed"}


def test_editing_again_keeps_what_the_provider_had_before_the_first_edit() -> None:
    first = LocalFields().edited({"title": "A"}, {"title": "B", "location": "Hall"})
    second = first.edited({"title": "C", "location": "Yard"}, {"title": "A", "location": "Hall"})
    assert second.theirs == {"title": "B", "location": "Hall"}
    assert second.over({"title": "A", "location": "Hall"}) == {"title": "C", "location": "Yard"}
    assert LocalFields.from_text(second.to_text()) == second
    assert LocalFields().to_text() is None


def test_the_moments_of_an_event_are_named_together_and_no_other_fields_are() -> None:
    named = named_together(RecordType.Event, {"startsAt": "2026-03-05T18:00:00Z"})
    assert named == {
        "startsAt": "2026-03-05T18:00:00Z",
        "endsAt": None,
        "startDate": None,
        "endDate": None,
        "allDay": False,
    }
    assert named_together(RecordType.Event, {"title": "A"}) == {"title": "A"}
    assert named_together(RecordType.Contact, {"email": "a@x"}) == {"email": "a@x"}


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [(None, "", False), ([], None, False), (False, None, False), (0, None, True), ("a", "A", True)],
)
def test_empty_values_do_not_differ(one: Any, other: Any, answer: bool) -> None:
    assert differ(one, other) is answer
