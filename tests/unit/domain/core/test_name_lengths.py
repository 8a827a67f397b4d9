"""Names whose length is part of a pattern: at it they are taken, one letter more is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from domain.apikeys.model import Scope
from domain.core.errors import ValidationFailed
from domain.core.json_text import DIGITS_AT_MOST, check_json
from domain.journal.events import EventType, RaiseEvent
from domain.sync.mapping import FieldName
from domain.webhooks.model import CreateWebhook


@pytest.mark.parametrize(
    ("kind", "most"), [(EventType, 100), (FieldName, 60)], ids=["type of an event", "field of a mapping"]
)
def test_a_name_is_taken_at_its_length_and_refused_past_it(kind: Any, most: int) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python("a" * most) == "a" * most
    with pytest.raises(ValidationError):
        adapter.validate_python("a" * (most + 1))


def test_an_id_of_an_event_has_at_most_100_characters() -> None:
    def event(length: int) -> RaiseEvent:
        return RaiseEvent.model_validate({"id": "a" * length, "type": "A", "data": {}})

    assert len(event(100).id or "") == 100
    with pytest.raises(ValidationError):
        event(101)


@pytest.mark.parametrize("suffix", ["", ".*"])
def test_a_subscription_has_at_most_100_characters(suffix: str) -> None:
    def webhook(length: int) -> CreateWebhook:
        types = ["a" * (length - len(suffix)) + suffix]
        return CreateWebhook.model_validate({"url": "https://a.example/", "eventTypes": types})

    assert len(webhook(100).event_types[0]) == 100
    with pytest.raises(ValidationError):
        webhook(101)


def test_a_scope_has_an_action_of_a_resource() -> None:
    adapter = TypeAdapter(Scope)
    assert adapter.validate_python("a:b") == "a:b"
    for refused in ("a", "a:", ":b", "a:b:c d"):
        with pytest.raises(ValidationError):
            adapter.validate_python(refused)


@pytest.mark.parametrize(
    ("at", "past"),
    [
        ("9" * DIGITS_AT_MOST, "9" * (DIGITS_AT_MOST + 1)),
        ("[" * 200 + "1" + "]" * 200, "[" * 201 + "1" + "]" * 201),
    ],
    ids=["digits", "levels"],
)
def test_json_is_taken_at_its_bounds_and_refused_past_them(at: str, past: str) -> None:
    check_json(at.encode())
    with pytest.raises(ValidationFailed):
        check_json(past.encode())
