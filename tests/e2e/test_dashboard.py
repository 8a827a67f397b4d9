"""The dashboard in a real browser, beside the API's own numbers (section 19)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bench.harness import HostProcess, receiving
from tests.loopback.azurite import node_package
from tests.worlds.hub_api import Api, Receiver, alerted, fresh_tenant

pytestmark = pytest.mark.e2e
SCRIPT = Path(__file__).parents[1] / "fixtures" / "dashboard.cjs"


class Browser:
    """The page, driven by lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, *command: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(command) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert not (isinstance(answer, dict) and "browserFailed" in answer), answer
        return answer


def dashboard_of(api: Api) -> str:
    """At the address that the host calls its own, as the realtime messages come from there."""
    return f"http://localhost:{api.host.port}/api/dashboard"


@contextmanager
def browsing(api: Api, token: str | None = None) -> Iterator[Browser]:
    node, package = node_package("playwright-core")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on PATH")
    process = subprocess.Popen(
        [node, str(SCRIPT), str(package), chromium, dashboard_of(api)],
        env={**os.environ, "TOKEN": token or api.token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Browser(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def totals_of(api: Api) -> dict[str, str]:
    status, overview = api("GET", "/insights/overview")
    assert status == 200
    deliveries = overview["deliveries"]
    return {"succeeded": f"{deliveries['succeeded']:,}", "failed": f"{deliveries['failed']:,}"}


def test_counters_are_right_after_a_thousand_events_and_nothing_comes_from_elsewhere(api: Api) -> None:
    with receiving() as receiver, browsing(api) as browser:
        api.webhook(receiver.url)
        painted = browser("open")
        assert painted < 1_000, "milliseconds until the first contentful paint"
        assert browser("enter") == ""
        assert browser("live")
        events = [{"type": "BookingConfirmed", "data": {"n": number}} for number in range(1_000)]
        assert api("POST", "/events", {"events": events})[0] == 202
        api.eventually(lambda: totals_of(api)["succeeded"] == "1,000", 60)
        shown = api.eventually(
            lambda: (found := browser("totals")).get("succeeded") == "1,000" and found, 10, 0.1
        )
        assert {name: shown[name] for name in ("succeeded", "failed")} == totals_of(api)
        assert shown["successRate"] == "100 %"
        realtime = urlsplit(api("POST", "/realtime/negotiate")[1]["url"]).netloc
        assert set(browser("hosts")) <= {urlsplit(dashboard_of(api)).netloc, realtime}
        assert browser("complaints") == []


def test_a_failing_endpoint_is_shown_first_and_sent_again_with_one_click(
    api: Api, receiver: Receiver
) -> None:
    api.webhook(receiver.url.replace("/hook", "/fine"), description="Shop")
    api.webhook(receiver.url, retryPolicy={"maxRetries": 0}, description="Mail")
    receiver.respond = lambda request: (500 if request["path"] == "/hook" else 200, {})
    api.raise_event()
    api.eventually(lambda: totals_of(api) == {"succeeded": "1", "failed": "1"})
    with browsing(api) as browser:
        browser("open")
        browser("enter")
        first, second = browser("endpoints")
        assert "(Mail)" in first
        assert "Retry failed" in first
        assert "5xx" in first
        assert "Retry failed" not in second
        receiver.respond = lambda request: (200, {})
        before = len(receiver.received)
        retry = f"Retry what failed at {urlsplit(receiver.url).netloc} (Mail)"
        browser("focus", retry)
        receiver.wait(before + 1)
        assert "1 delivery" in api.eventually(lambda: browser("said"))
        assert browser("focused") == retry


def test_alerts_and_anomalies_are_shown_and_acknowledged_with_one_click(clocked_host: HostProcess) -> None:
    api = fresh_tenant(clocked_host)
    issued = api("POST", "/apikeys", {"keyName": "Kiosk", "scopes": ["events:read"]})[1]["key"]
    api("POST", "/apikeys/verify", {"key": issued, "ip": "192.0.2.7"})
    clocked_host.advance(86_400 + 60)
    api("POST", "/apikeys/verify", {"key": issued, "ip": "203.0.113.5"})
    alerted(clocked_host, api)
    watching = {"keyName": "Watcher", "scopes": ["insights:read", "alerts:read"]}
    with browsing(api, api("POST", "/apikeys", watching)[1]["key"]) as browser:
        browser("open")
        assert browser("enter") == ""
        assert len(browser("attention")) == 2
        assert [name for name in browser("buttons") if "Acknowledge" in name] == []
    with browsing(api) as browser:
        browser("open")
        assert browser("enter") == ""
        assert browser("totals")["alerts"] == "1"
        alert, anomaly = browser("attention")
        assert "203.0.113.0/24" in alert
        assert "New network" in anomaly
        sentence = api("GET", "/insights/anomalies")[1]["items"][0]["detail"]
        browser("click", "[data-anomaly] button")
        api.eventually(lambda: len(browser("attention")) == 1)
        browser("focus", f"Acknowledge: {sentence}")
        api.eventually(lambda: browser("totals")["alerts"] == "0")
        assert browser("focused") == "Alerts", "what was focused is gone, and its panel is not"
        assert api("GET", "/alerts")[1]["items"][0]["status"] == "Acknowledged"
        assert browser("complaints") == []


def test_it_shows_only_what_the_token_may_see(host: HostProcess) -> None:
    watcher = fresh_tenant(host, "insights:read,webhook:manage")
    with browsing(watcher) as browser:
        browser("open")
        assert browser("enter") == ""
        assert browser("panels") == [
            "totals",
            "anomalies",
            "throughput",
            "latency",
            "endpoints",
            "recommendations",
        ]
    with browsing(watcher, token="no-token \u2026") as browser:
        browser("open")
        assert "no token" in browser("enter")
    with browsing(watcher, token="no-token") as browser:
        browser("open")
        assert browser("enter")
        assert browser("totals") == {}


def test_it_fits_a_small_screen_and_is_used_by_keyboard(api: Api, receiver: Receiver) -> None:
    for number in range(8):
        api.webhook(receiver.url, description=f"Shop {number}")
    api.raise_event()
    api.eventually(lambda: totals_of(api)["succeeded"] == "8")
    with browsing(api) as browser:
        browser("open")
        browser("enter")
        assert browser("live")
        assert browser("width", "360") == 360
        assert browser("clipped") == []
        assert browser("obscured") == [], "by the bar"
        reached = browser("keyboard")
        assert {"range", "theme", "leave"} <= set(reached)


def test_recommendations_are_shown_with_their_evidence_applied_and_dismissed(
    clocked_host: HostProcess, receiver: Receiver
) -> None:
    api = fresh_tenant(clocked_host)
    key = api("POST", "/apikeys", {"keyName": "Forgotten", "scopes": ["events:read"]})[1]["apiKeyId"]
    clocked_host.advance(100 * 86_400)
    webhook = api.webhook(receiver.url)["webhookId"]
    receiver.respond = lambda request: (401, {})
    clocked_host.advance(3_600)  # whole hours are evidence, and only those since the webhook was made
    for _ in range(12):
        api.raise_event()
    api.eventually(lambda: len(api.deliveries(webhook, "&status=Failed")) == 12)
    clocked_host.advance(3_600)
    with browsing(api) as browser:
        browser("open")
        assert browser("enter") == ""
        told = api.eventually(lambda: len(found := browser("recommendations")) == 2 and found)
        assert "refused 12 of 12 attempts" in told[0]
        assert "refusedAttempts12 attempts" in told[0]
        assert "Apply" not in told[0]
        assert "Forgotten" in told[1]
        browser("click", f'[data-recommendation] [aria-label^="Dismiss for {urlsplit(receiver.url).netloc}"]')
        api.eventually(lambda: len(browser("recommendations")) == 1)
        browser("click", '[data-recommendation] [aria-label^="Apply to Forgotten"]')
        api.eventually(lambda: browser("recommendations") == [])
        [question] = browser("confirmed")
        assert question.startswith("Forgotten: ")
        assert "Revoke the key" in question
        assert question.endswith("This cannot be taken back.")
        assert browser("complaints") == []
    assert api("GET", f"/apikeys/{key}")[1]["status"] == "Revoked"
    assert [
        recommendation["status"]
        for recommendation in api("GET", "/insights/recommendations?status=Dismissed")[1]["items"]
    ] == ["Dismissed"]
