"""A guest list with a paged REST API, for `make demo` to synchronise from."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE_RECORDS = 200
_PAGE_SECONDS = 0.02
"""What a page takes, so that there is a progress to watch."""


class GuestApi(ThreadingHTTPServer):
    """`GET /guests?cursor=` in the order of ids, and `GET /health`."""

    daemon_threads = True

    def __init__(self, guests: int) -> None:
        """Listen on a free port of 127.0.0.1."""
        super().__init__(("127.0.0.1", 0), _Handler)
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        self.guests = [_guest(number, moment + timedelta(seconds=number)) for number in range(guests)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def change(self, count: int) -> None:
        """So many guests, all over the list, get another address."""
        for guest in self.guests[:: max(1, len(self.guests) // count)][:count]:
            guest["email"] = f"new.{guest['email']}"
            guest["changed"] = datetime.now(UTC).isoformat()

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Return the status and the JSON answer to a request."""
        if path == "/health":
            return 200, {"status": "healthy"}
        if path != "/guests":
            return 404, {"message": "Not found."}
        time.sleep(_PAGE_SECONDS)
        start = int(query.get("cursor", ["0"])[0])
        end = start + int(query.get("size", [str(PAGE_RECORDS)])[0])
        return 200, {"guests": self.guests[start:end], "next": end if end < len(self.guests) else None}


def _guest(number: int, changed: datetime) -> dict[str, Any]:
    return {
        "id": f"guest-{number:05d}",
        "name": {"given": f"Guest {number}", "family": "of the House"},
        "email": f"guest{number}@example.com",
        "changed": changed.isoformat(),
    }


class _Handler(BaseHTTPRequestHandler):
    server: GuestApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        try:
            status, answer = self.server.answer(address.path, parse_qs(address.query))
        except ValueError:
            status, answer = 400, {"message": "cursor and size are numbers."}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.send_header("x-total-count", str(len(self.server.guests)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the demo tells its own story."""
