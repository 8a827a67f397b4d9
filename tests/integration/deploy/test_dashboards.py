"""Dashboards draw what there is: every metric, label, line and field that they name is one of the app's."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.harness import ROOT
from functions.http.metrics.views import exposition
from tests.worlds.bicep_templates import BICEP, TEXT, TREE
from tests.worlds.measures import MEASURES

DASHBOARDS = ROOT / "deploy" / "dashboards"
GRAFANA = json.loads((DASHBOARDS / "grafana.json").read_text())
WORKBOOK = json.loads((DASHBOARDS / "workbook.json").read_text())
PANELS = [panel for panel in GRAFANA["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES = {item["name"]: item["content"]["query"] for item in WORKBOOK["items"] if item["type"] == 3}
#: What every line has (infra/observability/logs.py).
_OF_EVERY_LINE = {
    *("time", "level", "logger", "message", "traceId", "spanId", "requestId", "exception", "stack"),
}
#: Columns of Application Insights' tables that the queries use.
#: https://learn.microsoft.com/azure/azure-monitor/reference/tables/apptraces and its neighbours
_COLUMNS = {
    "traces": {"timestamp", "message"},
    "requests": {"timestamp", "name", "resultCode", "duration", "id", "operation_Id", "operation_ParentId"},
    "dependencies": {
        *("timestamp", "name", "resultCode", "duration", "id", "operation_Id", "operation_ParentId"),
        *("success", "target", "customDimensions"),
    },
}


# -- Grafana ---------------------------------------------------------------------------------------------


@cache
def labels_by_sample() -> dict[str, set[str]]:
    """Of every sample at `/api/ops/metrics`, its labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition(MEASURES, "")[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_grafana_asks_for_samples_with_labels_that_the_endpoint_has(expression: str) -> None:
    names = re.findall(r"\bhub_\w+", expression)
    assert names
    assert set(names) <= labels_by_sample().keys()
    has = set.intersection(*(labels_by_sample()[name] for name in names))
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {part.strip() for part in grouped.split(",")} <= has, grouped
    for name, matched in re.findall(r"(hub_\w+)\{([^}]*)\}", expression):
        for label, value in re.findall(r'(\w+)="([^"]*)"', matched):
            assert label in labels_by_sample()[name]
            assert f'{label}="{value}"' in exposition(MEASURES, "")[0].decode()
    assert expression.count("(") == expression.count(")")


def test_grafana_takes_rates_of_counters_and_quantiles_of_buckets() -> None:
    for expression in EXPRESSIONS:
        for name in re.findall(r"\b(?:rate|increase)\((hub_\w+)", expression):
            assert name.endswith(("_total", "_bucket", "_sum", "_count")), expression
        for name in re.findall(r"\bhub_\w+_total\b", expression):
            assert re.search(rf"(?:rate|increase)\({name}", expression), "a counter itself says nothing"
        if "histogram_quantile" in expression:
            assert "_bucket" in expression
            assert "by (le)" in expression


def test_grafana_shows_every_family() -> None:
    families = {
        family.name for family in text_string_to_metric_families(exposition(MEASURES, "")[0].decode())
    }
    shown = " ".join(EXPRESSIONS)
    unshown = {name for name in families if name not in shown and not name.endswith("_created")}
    assert unshown == {"hub_webhooks", "hub_queue_up", "hub_health_check_duration_seconds"}


def test_grafana_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in GRAFANA["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in GRAFANA["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        cells |= taken
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


# -- the workbook ----------------------------------------------------------------------------------------


@cache
def fields_by_message() -> dict[str, set[str]]:
    """By message that the app logs with `extra`, the names in the module that logs it: a line's fields are among
    them."""
    found: dict[str, set[str]] = {}
    for folder in ("domain", "functions", "infra"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            keys = {
                key.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Dict)
                for key in node.keys
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and any(keyword.arg == "extra" for keyword in node.keywords):
                    for argument in node.args:
                        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                            found.setdefault(argument.value, set()).update(keys)
    return found


def messages_of(query: str) -> set[str]:
    listed = re.findall(r"said in \(([^)]*)\)", query)
    return set(re.findall(r'said == "([^"]+)"', query)) | {
        match for part in listed for match in re.findall(r'"([^"]+)"', part)
    }


@pytest.mark.parametrize("name", QUERIES)
def test_the_workbook_asks_for_lines_and_fields_that_the_app_writes(name: str) -> None:
    query = QUERIES[name]
    logged = fields_by_message()
    assert messages_of(query) <= logged.keys()
    asked = set(re.findall(r"\bline\.(\w+)", query)) - _OF_EVERY_LINE
    known = {field for message in messages_of(query) or logged for field in logged[message]}
    assert asked <= known
    for attribute in re.findall(r'customDimensions\["([^"]+)"\]', query):
        assert f'"{attribute}"' in (ROOT / "domain" / "webhooks" / "notices.py").read_text()


def test_the_fields_of_an_alert_are_those_of_its_message() -> None:
    asked = set(re.findall(r"\bline\.alert\.(\w+)", "".join(QUERIES.values())))
    source = (ROOT / "domain" / "journal" / "occurrences.py").read_text()
    assert asked == {"kind", "tenantId"}
    assert all(f'"{field}"' in source for field in asked)


def test_a_field_that_no_line_has_would_be_found() -> None:
    assert "durationMs" in fields_by_message()["sync job ended"]
    assert "seconds" not in fields_by_message()["sync job ended"]
    assert "sync job finished" not in fields_by_message()


@pytest.mark.parametrize("name", QUERIES)
def test_the_workbooks_queries_are_well_formed(name: str) -> None:
    """Parentheses and quotes pair, tables are those of Application Insights, and words left of a `by` or an operator
    are columns, or were made by the query."""
    query = QUERIES[name]
    bare = re.sub(r'"[^"]*"', '""', query)
    assert query.count('"') % 2 == 0
    for opening, closing in ("()", "[]", "{}"):
        assert bare.count(opening) == bare.count(closing)
    tables = set(re.findall(r"(?:^|\()\s*(\w+) \|", bare))
    assert tables
    assert tables <= {*_COLUMNS, "union"}
    made = set(re.findall(r"\b(\w+) = ", bare)) | {"said", "line"}
    columns = {column for table in tables & _COLUMNS.keys() for column in _COLUMNS[table]}
    for filtered in re.findall(r"\bwhere (\w+) (?:==|!=|>|<|in)", bare):
        assert filtered in made | columns, filtered
    for ordered in re.findall(r"\border by (\w+)", bare):
        assert ordered in made | columns, ordered


def test_the_workbooks_parameters_are_asked_for() -> None:
    parameters = {
        parameter["name"]
        for item in WORKBOOK["items"]
        if item["type"] == 9
        for parameter in item["content"]["parameters"]
    }
    used = set(re.findall(r"\{(\w+)[:}]", "".join(QUERIES.values())))
    assert used == parameters == {"TimeRange", "TraceId"}
    for item in WORKBOOK["items"]:
        if item["type"] == 3:
            assert item["content"]["timeContextFromParameter"] == "TimeRange"


def test_the_template_makes_the_workbook_of_the_file() -> None:
    path = BICEP / "modules" / "workbook.bicep"
    [loaded] = re.findall(r"loadTextContent\('([^']+)'\)", TEXT[path])
    assert (path.parent / loaded).resolve() == DASHBOARDS / "workbook.json"
    assert len((DASHBOARDS / "workbook.json").read_text()) < 131_072, "the most that Bicep loads"
    [resource] = TREE[path]["resources"].values()
    assert resource["type"] == "Microsoft.Insights/workbooks"
    modules: dict[str, Any] = TREE[BICEP / "hub.bicep"]["modules"]
    assert "workbook" in modules
