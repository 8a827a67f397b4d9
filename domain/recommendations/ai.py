"""The port to a language model that answers in a given shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel

from domain.core.errors import Unavailable

AnswerT = TypeVar("AnswerT", bound=BaseModel)

#: `throttled` is 429; `refused` the service's content filter or the model itself; `truncated` an answer that did not
#: fit; `invalid` one that is not what was asked for; `unreachable` everything that says the service is down.
FailureReason = Literal["timeout", "throttled", "unreachable", "refused", "truncated", "invalid"]

#: Tokens that roles, separators and the wrapping of a schema cost at most.
_WRAPPING_TOKENS = 200


class ModelUnavailable(Unavailable):
    """The model gave no answer that can be used. `detail` quotes neither the question nor the answer.

    `tokens` is what the attempt cost, None where nobody knows (the model may have worked until it was given up).
    `retry_after_seconds` is the service's wish, None when it said nothing.
    """

    def __init__(
        self,
        reason: FailureReason,
        detail: str,
        *,
        tokens: int | None = 0,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason: FailureReason = reason
        self.tokens = tokens
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class ModelRequest(Generic[AnswerT]):
    """What a model is asked. `instructions` are ours alone; whatever others wrote belongs in `data`, which the model
    is told to treat as data.

    `shape` must be one that strict structured output allows: every field required, extra fields forbidden, no
    limits of length or size; those are for the asker to check.
    """

    instructions: str
    data: Mapping[str, object]
    shape: type[AnswerT]
    max_output_tokens: int
    timeout_seconds: float

    @property
    def data_text(self) -> str:
        """`data` as it is sent: JSON on one line, in which no text can end the string it stands in."""
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))

    @property
    def most_tokens(self) -> int:
        """What an answer can cost at most: a token is at least one byte."""
        sent = f"{self.instructions}{self.data_text}{json.dumps(self.shape.model_json_schema())}"
        return len(sent.encode()) + _WRAPPING_TOKENS + self.max_output_tokens


@dataclass(frozen=True, slots=True)
class ModelAnswer(Generic[AnswerT]):
    """An answer of the shape asked for, and the tokens it cost, those of the question included."""

    value: AnswerT
    tokens: int


class LanguageModel(Protocol):
    async def ask(self, question: ModelRequest[AnswerT]) -> ModelAnswer[AnswerT]:
        """One answer within `question.timeout_seconds`, which covers entering, retries and all. It has the shape
        asked for; that it is true is **not** checked. Raises ModelUnavailable."""
