"""GA4's Measurement Protocol and Segment's batch endpoint, as strict as their documentation."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from tests.fixtures.scripted_server import Answer, Recorded

_MICROSECONDS = 1_000_000
_HOURS_72 = 72 * 3_600 * _MICROSECONDS


class MeasurementProtocol:
    """Answers 204 to everything, as Google does; `events` are those that would be counted, `problems` why others
    would not."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.events: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.problems: list[str] = []

    def answer(self, request: Recorded) -> Answer:
        if request.line != "POST /mp/collect" or set(request.query) != {"measurement_id", "api_secret"}:
            self.problems.append(f"{request.line} {sorted(request.query)}")
        else:
            self.take(request.body)
        return Answer(204)

    def take(self, body: bytes) -> None:
        content = json.loads(body)
        events = content["events"]
        self.calls.append(len(events))
        if len(body) >= 130_000 or not 1 <= len(events) <= 25 or not content.get("client_id"):
            self.problems.append("the call")
            return
        for event in events:
            problem = self._problem(event)
            if problem is None:
                self.events.append(
                    {**event, "user_id": content.get("user_id"), "client": content["client_id"]}
                )
            else:
                self.problems.append(problem)

    def _problem(self, event: dict[str, Any]) -> str | None:
        age = int(self.now.timestamp() * _MICROSECONDS) - event["timestamp_micros"]
        names = [event["name"], *event["params"]]
        if age > _HOURS_72:
            return "too old"
        if any(not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name) for name in names):
            return "a name"
        if any(name.startswith(("_", "firebase_", "ga_", "google_", "gtag.")) for name in names):
            return "a reserved prefix"
        if event["name"] in ("error", "session_start", "first_visit", "page_view", "user_engagement"):
            return "a reserved name"
        if len(event["params"]) > 25:
            return "too many parameters"
        values = event["params"].values()
        if any(not isinstance(value, str | int | float) or len(str(value)) > 100 for value in values):
            return "a value"
        return None


class SegmentTracking:
    """`events` are those kept: without `userId` and `anonymousId`, or seen before, they are dropped."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.calls: list[int] = []
        self.dropped: list[str] = []
        self.rejects: set[str] = set()

    def answer(self, request: Recorded) -> Answer:
        if request.line != "POST /v1/batch" or not request.headers.get("authorization", "").startswith(
            "Basic "
        ):
            return Answer(401)
        if request.headers.get("content-type") != "application/json":
            return Answer(400, {"message": "content-type"})
        return self.take(request.body)

    def take(self, body: bytes) -> Answer:
        content = json.loads(body)
        sizes = [
            len(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode())
            for event in content["batch"]
        ]
        if len(body) > 500 * 1024 or any(size > 32 * 1024 for size in sizes):
            return Answer(400, {"success": False, "message": "Exceeded payload limit"})
        if any(event.get("event") in self.rejects for event in content["batch"]):
            return Answer(400, {"success": False, "message": "malformed JSON"})
        self.calls.append(len(content["batch"]))
        for event in content["batch"]:
            has_who = bool(event.get("userId") or event.get("anonymousId"))
            if (
                event["type"] != "track"
                or not event.get("event")
                or not has_who
                or event["messageId"] in self.events
            ):
                self.dropped.append(event["messageId"])
            else:
                self.events[event["messageId"]] = event
        return Answer(200, {"success": True})


def _compact(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
