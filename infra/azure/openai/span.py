"""The span of a question to a language model, by OpenTelemetry's conventions for generative AI.

It holds neither the question nor the answer. https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

from domain.core.tracing import Attributes, Span, SpanKind, Tracer
from domain.recommendations.ai import AnswerT, ModelRequest
from infra.observability.trace import current_header


def chat_span(
    tracer: Tracer, url: str, deployment: str, question: ModelRequest[AnswerT]
) -> AbstractContextManager[Span]:
    """Of one question with all its tries, a child of the current span."""

    def attributes() -> Attributes:
        parts = urlsplit(url)
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "azure.ai.openai",
            "gen_ai.request.model": deployment,
            "gen_ai.request.max_tokens": question.max_output_tokens,
            "gen_ai.output.type": "json",
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }

    return tracer.span(f"chat {deployment}", SpanKind.Client, parent=current_header(), attributes=attributes)


def tell_usage(span: Span, content: Any) -> None:
    """Which model answered and what it counted, as far as the answer says so."""
    if not isinstance(content, dict):
        return
    if isinstance(answered := content.get("model"), str):
        span.set("gen_ai.response.model", answered)
    usage = content.get("usage")
    for name, key in (("input", "prompt_tokens"), ("output", "completion_tokens")):
        tokens = usage.get(key) if isinstance(usage, dict) else None
        if isinstance(tokens, int):
            span.set(f"gen_ai.usage.{name}_tokens", tokens)
