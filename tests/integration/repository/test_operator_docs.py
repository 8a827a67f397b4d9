"""What the operators' pages name is there: timers, settings, requests."""

from __future__ import annotations

import re

import pytest

import function_app  # noqa: F401 - registers every endpoint
from domain.monitoring.alerts.model import AlertKind
from domain.recommendations.model import RecommendationKind
from functions.http.kit.operations import OPERATIONS
from functions.http.recommendations.views import section_of
from infra.app.settings import Settings
from tests import ROOT

DOCS = ROOT / "docs"
PAGES = ("backup", "rotation", "retention", "compliance", "privacy", "alerts", "operations")
_ROUTES = [(operation.method, f"/api/{operation.route}") for operation in OPERATIONS] + [
    ("GET", f"/api/{route}") for route in ("health/live", "health/ready", "openapi.json", "docs", "dashboard")
]
_TIMER = re.compile(r'function_name\("(\w+)"\)\n@bp\.timer_trigger\(arg_name="timer", schedule="([^"]+)"\)')
#: Retention is about these words in a setting's description.
_KEPT = re.compile(r"\b(is|are) (kept|remembered)\b")


def timers() -> dict[str, str]:
    """The app's timers with their schedules."""
    sources = "\n".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    return dict(_TIMER.findall(sources))


def test_operations_lists_every_timer_at_its_time() -> None:
    page = (DOCS / "operations.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE))
    assert set(timers()) <= set(rows)
    for name, schedule in timers().items():
        second, minute, hour, *_ = schedule.split()
        if hour.isdecimal():
            assert rows[name] == f"{int(hour):02}:{int(minute):02} UTC", name
        elif minute == "*" and not second.startswith("*/"):
            assert rows[name] == "every minute", name


def test_retention_names_every_setting_of_a_period_and_the_timer_that_keeps_it() -> None:
    page = (DOCS / "retention.md").read_text()
    periods = {
        f"HUB_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if name.endswith(("_days", "_hours")) and _KEPT.search(field.description or "")
    }
    assert len(periods) >= 9
    assert periods <= set(re.findall(r"`(HUB_\w+)`", page))
    for name, field in Settings.model_fields.items():
        for shown in re.findall(rf"`HUB_{name.upper()}` (\d+)", page):
            assert int(shown) == field.default, name
    named = re.findall(r"`((?:clean_up|sweep)_\w+)`, (\d\d:\d\d)", page)
    assert len(named) >= 6
    for name, moment in named:
        _, minute, hour, *_ = timers()[name].split()
        assert moment == f"{int(hour):02}:{int(minute):02}", name


@pytest.mark.parametrize("page", PAGES)
def test_every_request_that_a_page_names_exists(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text()
    found = re.findall(r"\b(GET|POST|PUT|DELETE) (/api/[^\s`?,]+)", text)
    for method, path in found:
        segments = re.sub(r"<[^>]+>", "{}", path.rstrip(".")).split("/")
        assert any(one == method and _matches(route, segments) for one, route in _ROUTES), f"{method} {path}"


def test_every_recommendation_and_alert_points_to_a_heading_that_tells_of_it() -> None:
    for kind in RecommendationKind:
        section = _section("recommendations", section_of(kind))
        assert kind.value in section.partition("\n")[0] or f"| `{kind.value}` |" in section, kind
    for alert in AlertKind:
        assert _section("alerts", alert.value), alert


def _section(page: str, anchor: str) -> str:
    """From its heading to the next."""
    text = (DOCS / f"{page}.md").read_text()
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        if part.partition("\n")[0].lower().replace(" ", "-") == anchor:
            return part
    raise AssertionError(f"{page}.md has no heading {anchor}")


def _matches(route: str, segments: list[str]) -> bool:
    """Whether a path, whose segments may be placeholders or examples, is the route."""
    parts = route.split("/")
    return len(parts) == len(segments) and all(
        part.startswith("{") or part == segment for part, segment in zip(parts, segments, strict=True)
    )
