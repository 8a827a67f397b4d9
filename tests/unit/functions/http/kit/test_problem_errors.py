"""The domain's errors become problems: status, code and what goes with them."""

from __future__ import annotations

import json

import pytest

from domain.core.errors import (
    Conflict,
    DomainError,
    Forbidden,
    InvalidToken,
    NotFound,
    PreconditionFailed,
    ProviderUnavailable,
    RateLimited,
    RuleViolation,
    TooLarge,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)
from functions.http.kit.problems import from_domain


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("No."), 404, "not-found"),
        (Conflict("No."), 409, "conflict"),
        (ProviderUnavailable("No."), 409, "provider-unavailable"),
        (RuleViolation("No.", code="BR-WH-07"), 409, "BR-WH-07"),
        (PreconditionFailed("No."), 412, "precondition-failed"),
        (ValidationFailed("No."), 422, "validation-failed"),
        (TooLarge("No."), 413, "too-large"),
        (Unauthenticated("No."), 401, "unauthenticated"),
        (InvalidToken("No."), 401, "invalid-token"),
        (InvalidToken("No.", code="expired-key"), 401, "expired-key"),
        (InvalidToken("No.", code="key-not-yet-valid"), 401, "key-not-yet-valid"),
        (Forbidden("No."), 403, "forbidden"),
        (RateLimited("No.", retry_after_seconds=7), 429, "rate-limited"),
        (Unavailable("No."), 503, "unavailable"),
    ],
)
def test_an_error_has_its_status_and_code(error: DomainError, status: int, code: str) -> None:
    assert error.code == code
    response = from_domain(error, instance="/api/things", trace_id="ab" * 16)
    body = json.loads(response.get_body())
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["detail"] == "No."
    assert response.headers.get("Retry-After") == {429: "7", 503: "5"}.get(status)
