"""A webhook receiver on Python's standard library: answers the verification and checks every signature.

    python3 examples/receiver.py --port 9000 --webhook .hub/webhook.json

`--webhook` is the saved answer of `POST /api/webhooks`, which holds the signing secret. It is read when the first
delivery comes, because the verification is asked before the secret is known.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOLERANCE_SECONDS = 300
"""A signature older than this may be a recording that somebody plays again (Standard Webhooks)."""


class BadSignature(Exception):
    """The request did not come from whoever holds the secret, or is too old."""


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: float) -> str:
    """Check a delivery as https://www.standardwebhooks.com says; returns its id. `headers` in lower case,
    `now` in seconds since 1970. Raises BadSignature."""
    try:
        message_id, sent_at = headers["webhook-id"], int(headers["webhook-timestamp"])
        signatures = headers["webhook-signature"].split(" ")
    except (KeyError, ValueError):
        raise BadSignature("the headers of a signature are missing") from None
    if abs(now - sent_at) > TOLERANCE_SECONDS:
        raise BadSignature("the timestamp is too far from now")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{message_id}.{sent_at}.".encode() + body, hashlib.sha256)
    expected = "v1," + base64.b64encode(digest).decode()
    # While a secret is rotating there are several; one that fits is enough.
    if not any(hmac.compare_digest(expected, one) for one in signatures):
        raise BadSignature("no signature fits")
    return message_id


class Receiver(ThreadingHTTPServer):
    """Counts what it gets. Set `secret` to have signatures checked, `failing` to answer 503."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0, *, say: Callable[[str], None] = lambda line: None) -> None:
        """Listens on 127.0.0.1; port 0 is any free one. `say` is told of every request."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.say = say
        self.secret: Callable[[], str | None] = lambda: None
        self.now: Callable[[], float] = time.time
        self.failing = False
        self.seen: set[str] = set()
        self.received = self.valid = self.refused = 0
        self._counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_port}/"

    def answer(self, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        """The status and the JSON answer to a request."""
        event = json.loads(body)
        if event["type"] == "webhook.verification":
            self.say(f"verification asked; answering with the challenge {event['data']['challenge'][:8]}...")
            return 200, {"challenge": event["data"]["challenge"]}
        try:
            said = self._check(headers, body)
        except BadSignature as error:
            self.say(f"{event['type']}  refused: {error}")
            return 401, {"error": str(error)}
        with self._counting:
            self.received += 1
            repeated = event["id"] in self.seen
            if not self.failing:
                self.seen.add(event["id"])
        if self.failing:
            self.say(f"{event['type']}  failing on purpose")
            return 503, {"error": "failing on purpose"}
        # Delivery is at least once: whoever acts on an event remembers the ids it has acted on.
        self.say(f"{event['type']}  {event['id']}  {said}{', a repeat' if repeated else ''}  {event['data']}")
        return 200, {"status": "received"}

    def _check(self, headers: Mapping[str, str], body: bytes) -> str:
        secret = self.secret()
        if secret is None:
            return "not checked"
        try:
            verify(secret, headers, body, now=self.now())
        except BadSignature:
            with self._counting:
                self.refused += 1
            raise
        with self._counting:
            self.valid += 1
        return "signature valid"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, answer = self.server.answer(headers, body)
        except (ValueError, KeyError, TypeError):
            status, answer = 400, {"error": "not an event"}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the receiver says itself what came."""


def _secret_in(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text())["secret"])
    except (FileNotFoundError, ValueError):
        return None


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Receives webhooks and prints them.")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--webhook", type=Path, help="the saved answer of POST /api/webhooks")
    parser.add_argument("--fail", action="store_true", help="answer 503, to watch the retries")
    arguments = parser.parse_args()
    receiver = Receiver(arguments.port, say=lambda line: print(line, flush=True))
    receiver.failing = arguments.fail
    if arguments.webhook:
        receiver.secret = lambda: _secret_in(arguments.webhook)
    print(f"Receiving on {receiver.url}", flush=True)
    try:
        receiver.serve_forever()
    except KeyboardInterrupt:
        receiver.server_close()


if __name__ == "__main__":
    main()
