"""The dashboard's scripts in Node, by a clock that is moved: the page on stubs, the realtime connection, texts."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from bench.harness import ROOT
from functions.http.insights.page import SCRIPT

STATIC = ROOT / "functions" / "http" / "static"
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.mark.parametrize(
    ("lasts", "open_for"),
    [(3600, 3600), (300, 300), (-7200, 60), (86_400, 3600)],
    ids=["an hour", "a key that expires", "a clock that is fast", "a clock that is slow"],
)
def test_it_negotiates_anew_when_what_it_negotiated_ends(lasts: int, open_for: int) -> None:
    """SignalR Service would leave it open, and deaf."""
    printed = _printed("dashboard_client.cjs", str(STATIC / "client.js"), str(lasts))
    assert printed == {"closedAfter": open_for, "negotiations": 2}


def test_what_stands_between_backticks_is_shown_as_code() -> None:
    found = _page("many")["recommendations"]
    assert "12 events of A<b> went out." in found["text"]
    assert found["code"] == "A<b>"


def test_a_refused_actions_message_outlives_the_redraw_and_then_goes() -> None:
    found = _page("refused")
    assert found == {"told": ["It recovered meanwhile.", "refused", 1], "after": ""}


def test_times_are_told_by_the_hubs_clock() -> None:
    found = _page("skewed")
    assert "raised 5 min ago" in found["alert"], "by a browser that is three hours fast"
    assert found["asOf"] == "2026-03-01T12:00:00.000Z"


@pytest.mark.parametrize("quota", [100, 1_000])
@pytest.mark.parametrize("realtime", ["heard", "away"])
def test_a_busy_hour_leaves_an_api_key_four_tenths_of_its_quota(quota: int, realtime: str) -> None:
    found = _page("busy", str(quota), realtime)
    assert found["requests"] <= 0.6 * quota + 5, "with the first look, whose answers tell the quota"
    assert found["loads"] >= min(0.2 * quota, 110), "and is used"


def test_a_bearer_token_has_no_quota_to_save() -> None:
    assert _page("busy", "none", "heard")["loads"] > 3_500


def test_counts_go_beyond_what_a_panel_shows() -> None:
    found = _page("many")
    assert "Open alerts1,057" in found["total"]
    assert found["alerts"]["text"].startswith("Alerts1,057 open, 31 acknowledged")
    assert "The first 20 of 1,088." in found["alerts"]["text"]
    assert {found["alerts"]["text"].count(said) for said in ("Came back once.", "Came back 2 times.")} <= {
        6,
        7,
    }
    assert "The first 20 of 21." in found["anomalies"]["text"]
    assert "57 open" in found["recommendations"]["text"]
    assert "The first 20 of 57." in found["recommendations"]["text"]
    assert {found[panel]["rows"] for panel in ("alerts", "anomalies", "recommendations")} == {20}


def test_a_part_that_fails_leaves_the_others_and_says_so() -> None:
    found = _page("partly")
    assert "Something went wrong. (traceId 4bf92f)" in found["recommendations"]
    assert "Nothing is being synchronised" in found["syncs"]
    assert found["trouble"] == found["refusal"] == ""


def test_what_is_shown_is_said_to_be_old_while_the_hub_is_away() -> None:
    found = _page("failing")
    assert found["atFirst"]["refusal"] == "Something went wrong. (traceId 4bf92f)", "not that nobody answers"
    assert found["well"] == {"refusal": "", "trouble": "", "live-text": "Live", "board": True}
    assert found["away"]["live-text"] == "Out of date"
    assert found["away"]["trouble"].startswith("The hub does not answer. What is shown is as of ")
    assert found["back"] == found["well"]
    assert found["expired"]["refusal"] == "The token has expired."
    assert (found["expired"]["trouble"], found["expired"]["board"]) == ("", False)


def test_what_needs_somebody_stands_first_and_looks_like_it() -> None:
    found = _page("ill")
    assert "2 failed for good" in found["totals"]
    assert [text[:3] for text in found["integrations"]] == ["CRM", "Cal"]
    assert "1 of 2 checks failed" in found["integrations"][0]
    assert [text[:4] for text in found["endpoints"]] == ["mail", "till", "shop"]
    assert [tuple(badge) for badge in found["badges"]] == [
        ("Failing", "badge bad"),
        ("Disabled", "badge bad"),
        ("Active", "badge good"),
    ]
    assert found["meters"] == ["bad", "warn", "good"]
    assert "The 10 nearest to their limit, of 12 in use." in found["keys"]
    assert "5 older ones have ended. All of them" in found["anomalies"]
    assert found["said"] == "Nothing is left to send again to mail.test."


def test_a_tenant_without_anything_is_told_what_goes_where() -> None:
    found = _page("nothing")
    assert "Nothing was sent in this time." in found["throughput"]
    assert "Nothing was sent in this time." in found["latency"]
    assert "No open anomaly" in found["anomalies"]
    assert "POST /api/webhooks" in found["endpoints"]
    assert "POST /api/integrations" in found["integrations"]
    assert "POST /api/apikeys" in found["keys"]


def _page(scenario: str, *given: str) -> Any:
    """What the whole page does in a scenario of the fixture's."""
    return _printed("dashboard_page.cjs", scenario, *given, source=SCRIPT)


def _printed(script: str, *given: str, source: str = "") -> Any:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on PATH")
    command = [node, str(FIXTURES / script), *given]
    return json.loads(subprocess.check_output(command, input=source, text=True, timeout=20))
