"""The bounds of section 7.3, one value at each edge and one past it, in creation and in change alike."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from domain.webhooks.model import CreateWebhook, RetryPolicyCommand, RotateSecret, UpdateWebhook

_BODY: dict[str, Any] = {"url": "https://a.example/", "eventTypes": ["*"]}
#: A field, the values at its edges, and those past them.
_BOUNDS: list[tuple[str, list[Any], list[Any]]] = [
    ("timeoutSeconds", [5, 300], [4, 301]),
    ("rateLimitPerSecond", [1, 10_000], [0, 10_001]),
    ("eventTypes", [["A"], [f"A{n}" for n in range(100)]], [[], [f"A{n}" for n in range(101)]]),
    ("eventTypes", [["a" * 100], [f"{'a' * 98}.*"]], [["a" * 101], [f"{'a' * 99}.*"]]),
    ("url", ["https://a.example/" + "x" * 482], ["", "https://a.example/" + "x" * 483]),
    ("description", ["", "d" * 500], ["d" * 501]),
    ("ordering", ["none", "perSubject"], ["", "None", "persubject", "global", True]),
]
_POLICY: list[tuple[str, list[Any], list[Any]]] = [
    ("maxRetries", [0, 10], [-1, 11]),
    ("backoffMultiplier", [1, 10], [0.99, 10.01]),
    ("initialDelaySeconds", [1, 3_600], [0, 3_601]),
]


@pytest.mark.parametrize(("field", "at", "past"), _BOUNDS)
def test_a_webhook_is_taken_at_its_bounds_and_refused_past_them__7_3(
    field: str, at: list[Any], past: list[Any]
) -> None:
    for value in at:
        assert CreateWebhook.model_validate({**_BODY, field: value})
        assert UpdateWebhook.model_validate({field: value})
    for value in past:
        for command, body in ((CreateWebhook, _BODY), (UpdateWebhook, {})):
            with pytest.raises(ValidationError) as refusal:
                command.model_validate({**body, field: value})
            assert {error["loc"][0] for error in refusal.value.errors()} == {field}


@pytest.mark.parametrize(("field", "at", "past"), _POLICY)
def test_a_retry_policy_is_taken_at_its_bounds_and_refused_past_them__7_3(
    field: str, at: list[Any], past: list[Any]
) -> None:
    for value in at:
        assert RetryPolicyCommand.model_validate({field: value})
    for value in past:
        with pytest.raises(ValidationError):
            RetryPolicyCommand.model_validate({field: value})


@pytest.mark.parametrize("missing", sorted(_BODY))
def test_what_a_webhook_needs_may_not_be_missing__7_3(missing: str) -> None:
    with pytest.raises(ValidationError):
        CreateWebhook.model_validate({name: value for name, value in _BODY.items() if name != missing})


def test_an_old_secret_signs_for_seven_days_at_most() -> None:
    assert RotateSecret.model_validate({"overlapSeconds": 604_800}).overlap_seconds == 604_800
    for seconds in (-1, 604_801):
        with pytest.raises(ValidationError):
            RotateSecret.model_validate({"overlapSeconds": seconds})
