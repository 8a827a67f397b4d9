"""The bounds of section 7.1, one value at each edge and one past it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from domain.integrations.commands import (
    CONFIGURATION_MAX_BYTES,
    CreateIntegration,
    RotateCredentials,
    UpdateIntegration,
)

_BODY: dict[str, Any] = {
    "name": "Payments",
    "integrationType": "PaymentGateway",
    "provider": "Stripe",
    "configuration": {"apiKey": "sk_test_1"},
}


def _of_bytes(size: int) -> dict[str, str]:
    """Return an object that is JSON of so many bytes; two of them are its letter with an accent."""
    return {"a": "é" + "x" * (size - len('{"a":"é"}'.encode()))}


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "n"},
        {"name": "n" * 200},
        {"name": f"  {'n' * 200}  "},
        {"provider": "p"},
        {"provider": "p" * 100},
        {"configuration": _of_bytes(CONFIGURATION_MAX_BYTES)},
    ],
)
def test_the_bounds_of_an_integration_are_taken__7_1(fields: dict[str, Any]) -> None:
    made = CreateIntegration.model_validate({**_BODY, **fields})
    assert 1 <= len(made.name) <= 200


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "n" * 201},
        {"provider": ""},
        {"provider": "p" * 101},
        {"configuration": _of_bytes(CONFIGURATION_MAX_BYTES + 1)},
        {"configuration": "apiKey=1"},
        {"configuration": None},
        {"integrationType": "Fax"},
    ],
)
def test_one_past_a_bound_of_an_integration_is_refused__7_1(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refusal:
        CreateIntegration.model_validate({**_BODY, **fields})
    assert {str(error["loc"][0]) for error in refusal.value.errors()} == set(fields)


@pytest.mark.parametrize("missing", sorted(_BODY))
def test_what_an_integration_needs_may_not_be_missing__7_1(missing: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        CreateIntegration.model_validate({name: value for name, value in _BODY.items() if name != missing})
    assert [error["type"] for error in refusal.value.errors()] == ["missing"]


@pytest.mark.parametrize(
    ("command", "field"), [(UpdateIntegration, "configuration"), (RotateCredentials, "credentials")]
)
def test_a_configuration_that_comes_later_has_the_same_bound__7_1(command: Any, field: str) -> None:
    assert command.model_validate({field: _of_bytes(CONFIGURATION_MAX_BYTES)})
    with pytest.raises(ValidationError):
        command.model_validate({field: _of_bytes(CONFIGURATION_MAX_BYTES + 1)})


def test_a_new_name_has_the_same_bounds__7_1() -> None:
    assert UpdateIntegration.model_validate({"name": "n" * 200}).name == "n" * 200
    for name in ("", "n" * 201):
        with pytest.raises(ValidationError):
            UpdateIntegration.model_validate({"name": name})
