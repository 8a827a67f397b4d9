"""The business rules that a record must keep (UC-DS-02 step 5), at their edges."""

from __future__ import annotations

from typing import Any

import pytest

from domain.providers.records import RecordType
from domain.sync.records import MODELS, Record
from domain.sync.transforming import validate

_TALK = {"title": "Talk", "startsAt": "2026-03-01T10:00:00Z"}
_DAYS = {"title": "Fair", "allDay": True, "startDate": "2026-03-02"}
_PAID = {"amountMinor": 1_000, "currency": "EUR", "status": "paid"}
_BACK = {"amountMinor": -1_000, "currency": "EUR", "status": "refund"}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (RecordType.Event, {**_TALK, "endsAt": "2026-03-01T10:00:00Z"}),
        (RecordType.Event, {**_TALK, "endsAt": "2026-03-01T12:00:00+02:00"}),
        (RecordType.Event, {**_TALK, "endsAt": None}),
        (RecordType.Event, {"title": "Some day", "endsAt": "2026-03-01T10:00:00Z"}),
        (RecordType.Event, {**_DAYS, "endDate": "2026-03-02"}),
        (RecordType.Event, _DAYS),
        (RecordType.Contact, {"firstName": "Ada"}),
        (RecordType.Contact, {"lastName": "Lovelace"}),
        (RecordType.Contact, {"email": "ada@example.org"}),
        (RecordType.Contact, {"phone": "+44 20 7946 0000"}),
        (RecordType.Contact, {"company": "Analytical Engines"}),
        (RecordType.Payment, {**_PAID, "refundedMinor": 0}),
        (RecordType.Payment, {**_PAID, "refundedMinor": 1_000}),
        (RecordType.Payment, {**_BACK, "refundedMinor": 1_000}),
    ],
)
def test_a_record_within_the_rules_is_taken__UC_DS_02(kind: RecordType, fields: dict[str, Any]) -> None:
    assert isinstance(validate(kind, fields), MODELS[kind])


@pytest.mark.parametrize(
    ("kind", "fields", "pointer", "reason"),
    [
        (RecordType.Event, {**_TALK, "endsAt": "2026-03-01T09:59:59.999Z"}, "/endsAt", "before it starts"),
        (RecordType.Event, {**_TALK, "endsAt": "2026-03-01T11:59:00+02:00"}, "/endsAt", "before it starts"),
        (RecordType.Event, {**_DAYS, "endDate": "2026-03-01"}, "/endDate", "before it starts"),
        (RecordType.Contact, {}, "", "neither name"),
        (RecordType.Contact, {"firstName": "", "lastName": "  ", "email": None}, "", "neither name"),
        (RecordType.Contact, {"jobTitle": "Countess", "address": "London"}, "", "neither name"),
        (RecordType.Payment, {**_PAID, "refundedMinor": 1_001}, "/refundedMinor", "More was refunded"),
        (RecordType.Payment, {**_BACK, "refundedMinor": 1_001}, "/refundedMinor", "More was refunded"),
        (RecordType.Payment, {**_PAID, "refundedMinor": -1}, "/refundedMinor", "greater than or equal"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused_with_the_field__UC_DS_02(
    kind: RecordType, fields: dict[str, Any], pointer: str, reason: str
) -> None:
    refused = validate(kind, fields)
    assert isinstance(refused, list)
    assert [error.pointer for error in refused] == [pointer]
    assert reason in refused[0].detail


def test_only_three_kinds_of_record_have_rules_of_their_own() -> None:
    own = {kind for kind, model in MODELS.items() if model.broken_rule is not Record.broken_rule}
    assert own == {RecordType.Event, RecordType.Contact, RecordType.Payment}
