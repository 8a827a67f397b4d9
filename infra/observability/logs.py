"""Logs as JSON, one line per record, with the trace and request they belong to.

Used by the app on Azure and by the development host alike."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
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

_HOSTS = frozenset(
    {"azure_functions_worker", "azure_functions_runtime", "proxy_worker", "devhost", "uvicorn"}
)
"""What the loggers of hosts and workers begin with: their lines go the way they always went."""


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
    set_level(level)


class StandardOutput(logging.Handler):
    """Writes each record of the app as a JSON line to standard output, which the Functions host forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        if _is_hosts(record):
            return
        try:
            # One write a line; not kept, as whoever captures the output may put another in its place.
            sys.stdout.write(f"{self.format(record)}\n")
            sys.stdout.flush()
        except Exception:
            self.handleError(record)


class HostsOwn(logging.Handler):
    """Leaves to the handlers that the worker had installed what the worker itself has to say."""

    def __init__(self, before: Sequence[logging.Handler]) -> None:
        super().__init__()
        self.before = list(before)

    def emit(self, record: logging.LogRecord) -> None:
        if _is_hosts(record):
            for handler in self.before:
                handler.handle(record)


def to_standard_output() -> None:
    """Print the app's lines, each once, instead of handing them to the worker's own handler.

    That one sends them to the host, which drops those that no running invocation wrote: lines of other threads, of
    tasks with a context of their own, of work that goes on after an answer. What a process prints is forwarded
    whatever runs. Called again, it changes nothing."""
    root = logging.getLogger()
    before = [handler for handler in root.handlers if not isinstance(handler, StandardOutput | HostsOwn)]
    kept = [handler for handler in root.handlers if isinstance(handler, HostsOwn)]
    if before or not kept:
        before += [handler for own in kept for handler in own.before]
        root.handlers[:] = [StandardOutput(), HostsOwn(before)]


def _is_hosts(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _HOSTS


def set_level(level: str) -> None:
    """Let records of `level` and above through, and of talkative libraries only warnings."""
    logging.getLogger().setLevel(level)
    # Libraries that narrate at INFO what is of interest only to their authors.
    for chatty in ("azure", "httpx", "httpcore", "uvicorn", "alembic", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
