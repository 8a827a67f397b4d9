"""Logs as JSON, one line per record, with the trace and request they belong to.

Used by the app on Azure and by the development host alike."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""The W3C trace id (32 hexadecimal digits) of the work being done."""

span_id: ContextVar[str | None] = ContextVar("span_id", default=None)
"""The span (16 hexadecimal digits) of that trace."""

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The `X-Request-Id` of the HTTP request being answered."""

_fields: ContextVar[Mapping[str, Any]] = ContextVar("log_fields", default={})  # noqa: B039 - never changed
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


@contextmanager
def bind(
    *, trace: str | None = None, span: str | None = None, request: str | None = None, **fields: Any
) -> Iterator[None]:
    """Put the trace, the span in it, the request and any other fields on every line logged inside the block."""
    tokens: list[tuple[ContextVar[Any], Any]] = []
    if trace is not None:
        tokens += [(trace_id, trace_id.set(trace)), (span_id, span_id.set(span))]
    if request is not None:
        tokens.append((request_id, request_id.set(request)))
    if fields:
        tokens.append((_fields, _fields.set({**_fields.get(), **fields})))
    try:
        yield
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object.

    It has `time` (RFC 3339, milliseconds, Z), `level`, `logger`, `message`, `traceId`, `spanId`, `requestId`, the
    bound and `extra` fields, and `exception` with its stack as one field."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := trace_id.get():
            line["traceId"] = trace
            if span := span_id.get():
                line["spanId"] = span
        if request := request_id.get():
            line["requestId"] = request
        line.update(_fields.get())
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                line[name] = value
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every logger's records of `level` and above to `stream` (standard error) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().handlers[:] = [handler]
    shape(level)


def shape(level: str) -> None:
    """Make every handler there is write JSON lines.

    The Functions worker has a handler of its own, which hands records to the host as text: without this, all that
    a record carries beside its message would be lost on Azure."""
    root = logging.getLogger()
    for handler in root.handlers:
        if not isinstance(handler.formatter, JsonFormatter):
            handler.setFormatter(JsonFormatter())
    root.setLevel(level)
    # Libraries that narrate at INFO what is of interest only to their authors.
    for chatty in ("azure", "httpx", "httpcore", "uvicorn", "alembic", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
