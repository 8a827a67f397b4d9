"""What a span is told of an answer."""

from __future__ import annotations

import pytest

from domain.core.ports import OutboundError, OutboundResponse
from domain.core.tracing import AttributeValue, tell_answer


class Told:
    """A span that keeps what it was told."""

    traceparent: str | None = None

    def __init__(self) -> None:
        self.told: list[object] = []

    def set(self, name: str, value: AttributeValue) -> None:
        self.told.append((name, value))

    def fail(self, kind: str) -> None:
        self.told.append(kind)


@pytest.mark.parametrize(("status", "is_failure"), [(200, False), (399, False), (400, True), (503, True)])
def test_an_answer_of_400_or_more_is_a_failure(status: int, is_failure: bool) -> None:
    span = Told()
    tell_answer(span, OutboundResponse(status, {}, b"", 1))
    expected: list[object] = [("http.response.status_code", status)]
    assert span.told == expected + ([str(status)] if is_failure else [])


def test_no_answer_is_told_by_its_kind() -> None:
    span = Told()
    tell_answer(span, OutboundError("timeout", "The receiver did not answer."))
    assert span.told == ["timeout"]
