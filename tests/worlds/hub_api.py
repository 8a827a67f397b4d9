"""The API and a webhook receiver as a client of a running host sees them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.harness import HostProcess, call


class _ReceiverServer(ThreadingHTTPServer):
    #: The default of 5 makes posts that come together wait for the kernel's next try, or time out.
    request_queue_size = 1024


class Receiver:
    """A webhook receiver on loopback. `respond` maps a received request to (status, headers); the verification
    challenge is answered by itself."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.respond: Callable[[dict[str, Any]], tuple[int, dict[str, str]]] = lambda request: (200, {})
        self.answers_challenge = True
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = {
                    "path": self.path,
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": body,
                    "json": json.loads(body),
                    "at": time.time(),
                }
                challenge = request["json"].get("data", {}).get("challenge")
                if request["json"]["type"] == "webhook.verification" and receiver.answers_challenge:
                    self._answer(200, {}, json.dumps({"challenge": challenge}).encode())
                    return
                receiver.received.append(request)
                status, headers = receiver.respond(request)
                self._answer(status, headers, b'{"seen":true}')

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = _ReceiverServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait(self, count: int, seconds: float = 10.0) -> list[dict[str, Any]]:
        """The requests received, once there are `count`; fails when the time is up."""
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} requests came"
            time.sleep(0.01)
        return list(self.received)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Api:
    """The API as a client with a token sees it."""

    def __init__(self, host: HostProcess, token: str) -> None:
        self.host = host
        self.token = token

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(method, f"{self.host.url}{path}", body, token=self.token, headers=named)

    def webhook(self, url: str, **fields: Any) -> dict[str, Any]:
        status, webhook = self("POST", "/webhooks", {"url": url, "eventTypes": ["*"], **fields})
        assert status == 201, webhook
        return dict(webhook)

    def raise_event(self, type_: str = "BookingConfirmed", **fields: Any) -> str:
        status, answer = self("POST", "/events", {"type": type_, "data": {"n": 1}, **fields})
        assert status == 202, answer
        return str(answer["eventIds"][0])

    def deliveries(self, webhook_id: str, query: str = "") -> list[dict[str, Any]]:
        status, page = self("GET", f"/webhooks/{webhook_id}/deliveries?pageSize=200{query}")
        assert status == 200, page
        return list(page["items"])

    def eventually(self, condition: Callable[[], Any], seconds: float = 10.0, step: float = 0.02) -> Any:
        """The condition's first true value; fails when the time is up."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(step)
        return value


def alerted(host: HostProcess, api: Api) -> list[dict[str, Any]]:
    """The tenant's alerts once there are any; the clock is moved until the timers have told of them."""

    def after_the_timers() -> list[dict[str, Any]]:
        host.advance(60)
        return list(api("GET", "/alerts")[1]["items"])

    return list(api.eventually(after_the_timers, seconds=60, step=0.5))


def fresh_tenant(host: HostProcess, permissions: str | None = None) -> Api:
    """A client of a tenant that nobody else uses."""
    from uuid import uuid4

    arguments = ["--tenant", str(uuid4()), "--user", str(uuid4())]
    if permissions is not None:
        arguments += ["--permissions", permissions]
    return Api(host, host.token(*arguments))
