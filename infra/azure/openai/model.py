"""Azure OpenAI's chat completions, by the v1 API and without its SDK: one POST, not streamed.

https://learn.microsoft.com/azure/ai-foundry/openai/latest#create-chat-completion
https://learn.microsoft.com/azure/ai-foundry/openai/how-to/structured-outputs
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from domain.core.tracing import UNTRACED, Span, Tracer
from domain.core.web_address import BadAddress, require_https
from domain.recommendations.ai import AnswerT, ModelAnswer, ModelRequest, ModelUnavailable
from infra.azure.openai.access import ModelAccess
from infra.azure.openai.span import chat_span, tell_usage

if TYPE_CHECKING:
    import httpx

_MAX_BYTES: Final = 512 * 1024
_TRIES: Final = 3
_BACKOFF_SECONDS: Final = 0.5


class AzureOpenAI:
    """One deployment of a model. Implements LanguageModel.

    The address is the operator's, so it is not held to be public: a private endpoint has a private one. Only https
    is spoken, except to loopback where `allow_loopback_http`; redirects are not followed. 429 and 5xx are tried
    again, three times at most, as long as the wait asked for ends within the question's time. The constructor raises
    ValueError for an address it would refuse, so a bad setting fails at start.
    """

    def __init__(
        self,
        endpoint: str,
        deployment: str,
        access: ModelAccess,
        *,
        reasoning_effort: str | None = None,
        allow_loopback_http: bool = False,
        tracer: Tracer = UNTRACED,
    ) -> None:
        """`reasoning_effort` is sent as it is, for models that know it."""
        self._tracer = tracer
        try:
            require_https(endpoint, allow_loopback=allow_loopback_http)
        except BadAddress as error:
            raise ValueError(f"The address of Azure OpenAI must be https and well formed: {error}") from None
        self._url = f"{endpoint.rstrip('/').removesuffix('/openai/v1')}/openai/v1/chat/completions"
        self._deployment = deployment
        self._access = access
        self._reasoning_effort = reasoning_effort

    async def ask(self, question: ModelRequest[AnswerT]) -> ModelAnswer[AnswerT]:
        """As the port says."""
        came: ModelAnswer[AnswerT] | ModelUnavailable
        with chat_span(self._tracer, self._url, self._deployment, question) as span:
            try:
                came = await self._answered(question, span)
            except ModelUnavailable as error:
                span.fail(error.reason)
                came = error
        if isinstance(came, ModelUnavailable):
            raise came
        return came

    async def _answered(self, question: ModelRequest[AnswerT], span: Span) -> ModelAnswer[AnswerT]:
        import httpx  # here: few processes ever ask

        try:
            async with asyncio.timeout(question.timeout_seconds) as deadline:
                headers = await asyncio.to_thread(self._access.headers)
                # A client for each question: there are few, and a process may have several event loops.
                async with httpx.AsyncClient(timeout=None, follow_redirects=False, trust_env=False) as client:  # noqa: S113
                    return await self._ask(client, question, headers, deadline=deadline, span=span)
        except TimeoutError:
            raise ModelUnavailable("timeout", "Azure OpenAI did not answer in time.", tokens=None) from None

    async def _ask(
        self,
        client: httpx.AsyncClient,
        question: ModelRequest[AnswerT],
        headers: dict[str, str],
        *,
        deadline: asyncio.Timeout,
        span: Span,
    ) -> ModelAnswer[AnswerT]:
        body = self._body(question)
        for attempt in range(1, _TRIES + 1):
            status, answered, content = await _post(client, self._url, body, headers)
            tell_usage(span, content)
            if status == 200:
                return _read(content, question)
            failure = _refusal(status, content, _retry_after(answered))
            if attempt == _TRIES or (status != 429 and status < 500):
                raise failure
            backoff = _BACKOFF_SECONDS * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing
            wait = max(failure.retry_after_seconds or 0.0, backoff)
            if asyncio.get_running_loop().time() + wait >= (deadline.when() or 0.0):
                raise failure
            await asyncio.sleep(wait)
        raise AssertionError("the last try raises")

    def _body(self, question: ModelRequest[AnswerT]) -> dict[str, Any]:
        shape = {
            "name": question.shape.__name__,
            "strict": True,
            "schema": question.shape.model_json_schema(),
        }
        body: dict[str, Any] = {
            "model": self._deployment,
            "messages": [
                {"role": "system", "content": question.instructions},
                {"role": "user", "content": question.data_text},
            ],
            "response_format": {"type": "json_schema", "json_schema": shape},
            "max_completion_tokens": question.max_output_tokens,
            "stream": False,
        }
        if self._reasoning_effort is not None:
            body["reasoning_effort"] = self._reasoning_effort
        return body


async def _post(
    client: httpx.AsyncClient, url: str, body: dict[str, Any], headers: dict[str, str]
) -> tuple[int, httpx.Headers, Any]:
    """Status, headers and JSON (None for anything else). Raises ModelUnavailable."""
    import httpx

    received = bytearray()
    try:
        async with client.stream("POST", url, json=body, headers=headers) as response:
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > _MAX_BYTES:
                    raise ModelUnavailable("invalid", "Azure OpenAI's answer is too large.", tokens=None)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # What was never sent cost nothing.
        tokens = 0 if isinstance(error, (httpx.ConnectError, httpx.InvalidURL)) else None
        detail = f"Azure OpenAI cannot be reached: {type(error).__name__}."
        raise ModelUnavailable("unreachable", detail, tokens=tokens) from error
    try:
        return response.status_code, response.headers, json.loads(received)
    except (ValueError, RecursionError):
        return response.status_code, response.headers, None


def _read(content: Any, question: ModelRequest[AnswerT]) -> ModelAnswer[AnswerT]:
    """Read the completion. Raises ModelUnavailable."""
    tokens = _tokens(content)
    try:
        choice = content["choices"][0]
        reason, message = choice["finish_reason"], choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
    except (TypeError, KeyError, IndexError, AttributeError):
        raise ModelUnavailable("invalid", "Azure OpenAI answered something else.", tokens=tokens) from None
    if reason == "content_filter" or refusal:
        raise ModelUnavailable("refused", "The model's answer was withheld.", tokens=tokens)
    if reason == "length":
        raise ModelUnavailable("truncated", "The model's answer did not fit.", tokens=tokens)
    try:
        return ModelAnswer(
            question.shape.model_validate_json(text), question.most_tokens if tokens is None else tokens
        )
    except (ValidationError, TypeError):
        raise ModelUnavailable(
            "invalid", "The model's answer is not of the shape asked for.", tokens=tokens
        ) from None


def _refusal(status: int, content: Any, retry_after: float | None) -> ModelUnavailable:
    """Microsoft charges for what was processed, also when the answer is an error: 400 by the content filter, 408."""
    if status == 400 and _error_code(content) == "content_filter":
        return ModelUnavailable("refused", "The content filter refused the question.", tokens=None)
    detail = f"Azure OpenAI answered {status}."
    if status == 408:
        return ModelUnavailable("timeout", detail, tokens=None)
    reason: Any = "throttled" if status == 429 else "unreachable"
    return ModelUnavailable(reason, detail, retry_after_seconds=retry_after)


def _error_code(content: Any) -> str | None:
    error = content.get("error") if isinstance(content, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else None


def _tokens(content: Any) -> int | None:
    usage = content.get("usage") if isinstance(content, dict) else None
    total = usage.get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and total >= 0 else None


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds, of which the service has a finer header of its own."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if value.isascii() and value.isdecimal():
            return int(value) / scale
    return None
