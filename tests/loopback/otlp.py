"""Where spans arrive, on loopback: an OTLP collector over HTTP in protobuf, and Application Insights' ingestion."""

from __future__ import annotations

import gzip
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class CollectedSpan:
    """Ids in hexadecimal; `parent_id` is empty for the first of a trace. `kind` as OTLP numbers it."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """Listens from the start. `spans` are those of OTLP, `envelopes` those of Application Insights."""

    def __init__(self) -> None:
        self.spans: list[CollectedSpan] = []
        self.envelopes: list[dict[str, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = collector.take(self.path, body)
                self.send_response(200 if answer is not None else 404)
                self.send_header("content-length", str(len(answer or b"")))
                self.end_headers()
                self.wfile.write(answer or b"")

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path: str, body: bytes) -> bytes | None:
        """The answer; None where nothing is taken."""
        if path == "/v1/traces":
            self.spans += _spans(body)
            return b""
        if path.endswith("/track"):
            text = body.decode()
            items = (
                json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
            )
            self.envelopes += items
            return json.dumps(
                {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
            ).encode()
        return None

    def of_trace(self, trace_id: str, count: int, seconds: float = 20.0) -> dict[str, CollectedSpan]:
        """The spans of a trace by name, once there are so many; fails when the time is up."""
        deadline = time.monotonic() + seconds
        while len(found := [span for span in self.spans if span.trace_id == trace_id]) < count:
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.02)
        return {span.name: span for span in found}

    def of_trace_with(
        self, trace_id: str, last: str, seconds: float = 20.0
    ) -> dict[str, list[CollectedSpan]]:
        """The spans of a trace by name, once the one that ends last has come."""
        deadline = time.monotonic() + seconds
        while not any(span.trace_id == trace_id and span.name == last for span in self.spans):
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.02)
        found: dict[str, list[CollectedSpan]] = {}
        for span in self.spans:
            if span.trace_id == trace_id:
                found.setdefault(span.name, []).append(span)
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _spans(body: bytes) -> list[CollectedSpan]:
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    return [
        CollectedSpan(
            span.name,
            int(span.kind),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            _attributes(span.attributes),
            _attributes(group.resource.attributes),
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
