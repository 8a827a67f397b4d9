"""A client of the hub: creates a webhook, raises events, watches their deliveries. Needs httpx.

    python3 examples/receiver.py --port 9001 --webhook .hub/client.json
    TOKEN=$(make -s token) .venv/bin/python examples/client.py http://localhost:9001/ .hub/client.json

The receiver is one of its own, because it checks signatures with the secret of one webhook: that which the client saves
in the file named last.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx


class HubError(Exception):
    """The hub refused: the text is its problem document's `detail`, `code` its stable name."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        self.status = status
        self.code = problem.get("code")
        self.trace_id = problem.get("traceId")


class HubClient:
    """One connection pool to one hub. Requests that timed out are safe to repeat: every POST has a key."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/api/", headers=headers, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """The answer's JSON, None when it has no body. Raises HubError, httpx.TransportError."""
        headers = {"idempotency-key": str(uuid4())} if method == "POST" else {}
        for attempt in range(3):
            answer = self._http.request(method, path, json=body, params=query, headers=headers)
            if answer.status_code not in (429, 503) or attempt == 2:
                break
            time.sleep(float(answer.headers.get("retry-after", "1")))
        if answer.is_error:
            is_problem = "json" in answer.headers.get("content-type", "")
            raise HubError(answer.status_code, answer.json() if is_problem else {})
        return answer.json() if answer.content else None

    def deliveries(self, webhook_id: str, **query: Any) -> list[dict[str, Any]]:
        """Every delivery of a webhook, newest first."""
        items: list[dict[str, Any]] = []
        page = 1
        while True:
            answer = self.call("GET", f"webhooks/{webhook_id}/deliveries", page=page, pageSize=200, **query)
            items += answer["items"]
            if not answer["items"] or len(items) >= answer["total"]:
                return items
            page += 1

    def settled(self, webhook_id: str, seconds: float = 30.0) -> list[dict[str, Any]]:
        """Its deliveries, once none of them waits any more or the time is up."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.deliveries(webhook_id)
            waiting = not found or any(one["deliveryStatus"] in ("Pending", "Sending") for one in found)
            if not waiting or time.monotonic() > deadline:
                return found
            time.sleep(0.5)


def main() -> None:
    """Create a webhook for the receiver named on the command line, raise three events, show what became of
    them, and delete the webhook."""
    receiver = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:9000/"
    with HubClient(os.environ.get("HUB_URL", "http://localhost:7071"), os.environ["TOKEN"]) as hub:
        webhook = hub.call("POST", "webhooks", {"url": receiver, "eventTypes": ["booking.*"]})
        if len(sys.argv) > 2:
            Path(sys.argv[2]).write_text(json.dumps(webhook))
        print(f"{webhook['webhookId']}  {webhook['state']}  {webhook['verification']['detail']}")
        events = [{"type": "booking.confirmed", "data": {"booking": number}} for number in (1, 2, 3)]
        print(hub.call("POST", "events", {"events": events}))
        for one in hub.settled(webhook["webhookId"]):
            print(f"{one['eventType']}  {one['deliveryStatus']}  {one['httpStatusCode']}")
        hub.call("DELETE", f"webhooks/{webhook['webhookId']}")


if __name__ == "__main__":
    main()
