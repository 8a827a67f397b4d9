"""A gateway before an HTTP endpoint that answers in its stead when a test says so, as a service that is busy does."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length"}
Fault = tuple[int, Mapping[str, str]]


class Gateway:
    """Passes requests to the host and port of `target`. The next ones are answered by `faults`, in order: a status
    and headers. `requests` are all of them, as `METHOD /path?query`."""

    def __init__(self, target: str) -> None:
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self._target = urlsplit(target).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _passed_on(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(self._target, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            content = answer.read()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
            return answer.status, kept, content
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                gateway.requests.append(f"{self.command} {self.path}")
                if gateway.faults:
                    status, headers = gateway.faults.pop(0)
                    content = b""
                else:
                    status, headers, content = gateway._passed_on(
                        self.command, self.path, dict(self.headers), body
                    )
                self.send_response_only(status)
                for name, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_MERGE = _serve  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:
                """Silent: the gateway records the requests."""

        return Handler


@contextmanager
def gateway_to(target: str) -> Iterator[Gateway]:
    """A gateway for the length of a block."""
    gateway = Gateway(target)
    try:
        yield gateway
    finally:
        gateway.close()
