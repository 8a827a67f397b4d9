"""The port to a language model that answers in a given shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel

from domain.core.errors import Unavailable

AnswerT = TypeVar("AnswerT", bound=BaseModel)

#: `throttled`: 429. `refused`: by the service's content filter or the model. `truncated`: the answer did not fit.
#: `invalid`: the answer has another shape. `unreachable`: everything that says that the service is down.
FailureReason = Literal["timeout", "throttled", "unreachable", "refused", "truncated", "invalid"]

#: Tokens that roles, separators and the wrapping of a schema cost at most.
_WRAPPING_TOKENS = 200


class ModelUnavailable(Unavailable):
    """The model gave no usable answer; `detail` quotes neither request nor answer.

    - `tokens`: what the attempt cost; None when unknown, as the model may have worked on.
    - `retry_after_seconds`: what the service asked for."""

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
    """What a model is asked.

    - `instructions` are the hub's alone; text that others wrote belongs in `data`, which the model is told to treat
      as data.
    - `shape` must be one that strict structured output allows: every field required, extra fields forbidden, no
      limits of length or size. The caller checks those."""

    instructions: str
    data: Mapping[str, object]
    shape: type[AnswerT]
    max_output_tokens: int
    timeout_seconds: float

    @property
    def data_text(self) -> str:
        """Return `data` as it is sent: JSON on one line, in which no text can end the string it stands in."""
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))

    @property
    def most_tokens(self) -> int:
        """Return the most that an answer can cost: a token is at least one byte."""
        sent = f"{self.instructions}{self.data_text}{json.dumps(self.shape.model_json_schema())}"
        return len(sent.encode()) + _WRAPPING_TOKENS + self.max_output_tokens


@dataclass(frozen=True, slots=True)
class ModelAnswer(Generic[AnswerT]):
    """An answer of the requested shape, and the tokens it cost, those of the request included."""

    value: AnswerT
    tokens: int


class LanguageModel(Protocol):
    async def ask(self, request: ModelRequest[AnswerT]) -> ModelAnswer[AnswerT]:
        """Return one answer within `request.timeout_seconds`, which covers connecting, retries and everything else.

        The answer has the requested shape; that it is true is **not** checked. Raises ModelUnavailable."""
