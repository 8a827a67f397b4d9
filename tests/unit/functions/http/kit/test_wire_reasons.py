"""What was wrong with a request, in words for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from domain.apikeys.model import CreateApiKey
from domain.core.errors import ValidationFailed
from domain.integrations.configuration import accept
from domain.journal.events import RaiseEvent
from domain.privacy.model import ExportSubject
from domain.providers.contract import Configuration
from domain.sync.schedules import PutSchedule
from functions.http.audit.routes import AuditQuery
from functions.http.kit.calls import parse

_KEY = b'{"keyName": "K", "scopes": ["events:read"], "allowedIps": ["nowhere"]}'
_MOMENT = (
    "Should be a moment such as 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00; in an address + is %2B."
)


@pytest.mark.parametrize(
    ("command", "body", "pointer", "detail"),
    [
        (ExportSubject, b"{}", "", "Give identifiers, records or both."),
        (PutSchedule, b"{}", "", "Give either expression or intervalMinutes."),
        (
            CreateApiKey,
            _KEY,
            "/allowedIps/0",
            "Must be an IP address or a CIDR range, such as 203.0.113.0/24.",
        ),
        (
            RaiseEvent,
            b'{"type": "A", "data": {}, "occurredAt": "2026-01-31T12:00:00"}',
            "/occurredAt",
            "Should have its offset from UTC, such as 2026-01-31T12:00:00Z.",
        ),
        (AuditQuery, b'{"from": "2026-01-31T12:00:00 01:00"}', "/from", _MOMENT),
        (AuditQuery, b'{"from": "0.5"}', "/from", _MOMENT),
        (CreateApiKey, b'{"keyName": "K", "scopes": ["events:read"], "notBefore": 0}', "/notBefore", _MOMENT),
        (
            CreateApiKey,
            b'{"keyName": "K", "scopes": ["events:read"], "notBefore": "-5"}',
            "/notBefore",
            _MOMENT,
        ),
        (PutSchedule, b'{"intervalMinutes": "5"}', "/intervalMinutes", "Input should be a valid integer."),
    ],
)
def test_a_refusal_is_told_in_the_validators_own_words(
    command: type[BaseModel], body: bytes, pointer: str, detail: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse(command, body)
    assert [(error.pointer, error.detail) for error in refused.value.errors] == [(pointer, detail)]


def test_a_providers_validator_is_quoted_in_the_same_way() -> None:
    class Paired(Configuration):
        user: str | None = None

        @model_validator(mode="after")
        def _named(self) -> Any:
            if self.user is None:
                raise ValueError("name a user.")
            return self

    with pytest.raises(ValidationFailed) as refused:
        accept(Paired, {})
    assert [error.detail for error in refused.value.errors] == ["Name a user."]


def test_what_a_provider_needs_is_told_in_sentences_too() -> None:
    class Keyed(Configuration):
        api_key: str

    with pytest.raises(ValidationFailed) as refused:
        accept(Keyed, {})
    assert [error.detail for error in refused.value.errors] == ["Field required."]


def test_pydantics_words_are_taken_in_one_place_only() -> None:
    sources = [path for folder in ("domain", "functions", "infra") for path in Path(folder).rglob("*.py")]
    takers = [str(path) for path in sources if '["msg"]' in path.read_text()]
    assert takers == ["domain/core/wire.py"]
