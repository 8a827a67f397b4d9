"""Azure OpenAI on loopback: the v1 chat completions, which refuse a request that the service would refuse.

Shapes after https://learn.microsoft.com/azure/ai-foundry/openai/latest and
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter. The official client reads its answers
and passes its checks (`tests/contract/infra/azure/test_language_model.py`).
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from tests.fixtures.scripted_server import Answer, Recorded, ScriptedServer

PATH = "/openai/v1/chat/completions"
DEPLOYMENT = "recommendations"
KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "a-token-of-entra"
PROMPT_TOKENS = 300
#: What strict structured output takes of JSON Schema, as far as pydantic writes it.
_KEYWORDS = {
    "$defs", "$ref", "additionalProperties", "anyOf", "description", "enum", "items", "properties", "required",
    "title", "type",
}  # fmt: skip

_SAFE = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}


class AzureOpenAIService:
    """`say` makes the content of a good answer out of the data that was sent. Answers of the `script` come first, one
    a request, then `always`."""

    def __init__(self) -> None:
        self.say: Callable[[Any], object] = lambda data: {"echo": data}
        self.script: deque[Answer] = deque()
        self.always: Answer | None = None
        self._server = ScriptedServer()
        self._server.listing = self._answer

    @property
    def address(self) -> str:
        return self._server.address

    @property
    def requests(self) -> list[Recorded]:
        return self._server.requests

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[AzureOpenAIService]:
        async with self._server.serving():
            yield self

    def _answer(self, request: Recorded) -> Answer:
        wrong = _wrong_with(request)
        if wrong is not None:
            return wrong
        if self.script:
            return self.script.popleft()
        if self.always is not None:
            return self.always
        return completion(json.dumps(self.say(json.loads(request.json["messages"][-1]["content"]))))


@contextmanager
def running() -> Iterator[AzureOpenAIService]:
    """A service in a thread of its own, which words suggestions: the last comes first, its texts said by the model."""
    service, started, ended = AzureOpenAIService(), threading.Event(), asyncio.Event()
    service.say = reworded
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with service.serving():
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield service
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        loop.close()


def reworded(data: Any) -> object:
    """A faithful answer to a question about suggestions."""
    texts = [
        {
            "number": suggestion["number"],
            "title": f"The model says: {suggestion['title']}",
            "explanation": suggestion["explanation"],
        }
        for suggestion in data["suggestions"]
    ]
    return {"suggestions": texts[::-1]}


def completion(
    content: str | None, *, finish: str = "stop", refusal: str | None = None, tokens: int = 120
) -> Answer:
    """A completion that took `tokens` to write."""
    return Answer(
        200,
        {
            "id": "chatcmpl-B1",
            "object": "chat.completion",
            "created": 1_772_000_000,
            "model": "gpt-5.4-mini-2026-03-17",
            "system_fingerprint": "fp_1",
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "logprobs": None,
                    "content_filter_results": _SAFE,
                    "message": {
                        "role": "assistant",
                        "content": content,
                        "refusal": refusal,
                        "annotations": [],
                    },
                }
            ],
            "usage": {
                "prompt_tokens": PROMPT_TOKENS,
                "completion_tokens": tokens,
                "total_tokens": PROMPT_TOKENS + tokens,
                "completion_tokens_details": {"reasoning_tokens": 0},
                "prompt_tokens_details": {"cached_tokens": 0},
            },
        },
    )


def error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: Any
) -> Answer:
    body = {
        "error": {"code": code, "message": message, "type": None, "param": None, "status": status, **more}
    }
    return Answer(status, body, headers or {})


def prompt_refused() -> Answer:
    """The content filter did not let the question through."""
    filtered = _SAFE | {"jailbreak": {"filtered": True, "detected": True}}
    return error(
        400,
        "content_filter",
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": filtered},
    )


def throttled(**headers: str) -> Answer:
    """`throttled(retry_after="1")`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return error(429, "429", "Requests to this deployment have exceeded its token rate limit.", named)


def _wrong_with(request: Recorded) -> Answer | None:
    if request.line != f"POST {PATH}":
        return error(404, "404", "Resource not found")
    if request.headers.get("authorization") != f"Bearer {TOKEN}" and request.headers.get("api-key") != KEY:
        return error(401, "401", "Access denied due to invalid subscription key or wrong API endpoint.")
    body = request.json
    if body.get("model") != DEPLOYMENT:
        return error(404, "DeploymentNotFound", "The API deployment for this resource does not exist.")
    unknown = set(body) - {
        "model", "messages", "response_format", "max_completion_tokens", "stream", "reasoning_effort",
    }  # fmt: skip
    if unknown:
        return error(400, "unknown_parameter", f"Unknown parameter: {sorted(unknown)[0]}")
    if body.get("stream"):
        return error(400, "invalid_request_error", "This service of the tests does not stream.")
    if not isinstance(body.get("max_completion_tokens"), int) or body["max_completion_tokens"] < 1:
        return error(400, "invalid_value", "max_completion_tokens must be a positive integer.")
    if [message["role"] for message in body["messages"]] != ["system", "user"]:
        return error(400, "invalid_value", "One system and one user message are expected.")
    form = body.get("response_format", {})
    if form.get("type") != "json_schema" or form["json_schema"].get("strict") is not True:
        return error(400, "invalid_value", "response_format must be a strict json_schema.")
    complaint = _not_strict(form["json_schema"]["schema"])
    return None if complaint is None else error(400, "invalid_json_schema", complaint)


def _not_strict(schema: Any) -> str | None:
    """What strict mode would complain of: every object closed, every field required, no other keyword."""
    if isinstance(schema, list):
        return next((found for part in schema if (found := _not_strict(part))), None)
    if not isinstance(schema, dict):
        return None
    if not set(schema) <= _KEYWORDS:
        return f"{sorted(set(schema) - _KEYWORDS)[0]} is not permitted"
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return "additionalProperties is required to be supplied and to be false"
        if set(schema.get("required", [])) != set(schema["properties"]):
            return "required is required to be supplied and to be an array including every key in properties"
    inner = [schema.get("items"), *schema.get("anyOf", [])]
    for named in ("properties", "$defs"):
        inner += list(schema.get(named, {}).values())
    return _not_strict(inner)
