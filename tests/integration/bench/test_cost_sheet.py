"""The cost sheet in the documentation is what the script works out."""

from __future__ import annotations

import re

import pytest

from bench.cost import (
    ALWAYS_READY_INSTANCES,
    DELIVERIES,
    PRIVATE_ENDPOINTS,
    SCALING_GROUPS,
    TOKENS_PER_DAY,
    per_million,
    per_month,
    per_tenant_month,
    sheet,
    zone_redundancy,
)
from bench.harness import ROOT
from infra.app.settings import Settings


def test_the_documented_sheet_is_the_computed_one() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    shown = page.split("<!-- cost: printed by `python -m bench.cost` -->\n")[1].split("<!-- /cost -->")[0]
    assert shown.strip() == sheet().strip()


def test_six_service_bus_operations_a_delivery() -> None:
    [line] = [item for item in per_million(prod=False) if item.item.startswith("Service Bus")]
    assert line.quantity * 1e6 == 6 * DELIVERIES
    assert line.dollars == pytest.approx(4.80)


def test_every_line_costs_something() -> None:
    sheets = (
        per_million(prod=False),
        per_million(prod=True),
        per_month(),
        zone_redundancy(),
        per_tenant_month(),
    )
    assert all(line.dollars > 0 for lines in sheets for line in lines)


def test_every_private_endpoint_is_counted() -> None:
    modules = ROOT / "deploy" / "bicep" / "modules"
    named = [
        path.stem
        for path in modules.glob("*.bicep")
        if "'endpoint.bicep'" in path.read_text() and path.stem != "openai"
    ]
    of_storage = len(re.findall(r"groupId: '\w+', zoneId", (modules / "storage.bicep").read_text()))
    assert len(named) - 1 + of_storage == PRIVATE_ENDPOINTS


def test_the_budget_of_tokens_is_the_default_one() -> None:
    assert Settings.model_fields["openai_tokens_per_day"].default == TOKENS_PER_DAY
    assert sum(line.quantity for line in per_tenant_month()) * 1e6 == pytest.approx(30 * TOKENS_PER_DAY)


def test_what_stands_ready_is_what_is_deployed() -> None:
    template = (ROOT / "deploy" / "bicep" / "modules" / "functions.bicep").read_text()
    counts = re.findall(r"instanceCount: (?:zoneRedundant \? 2 : )?(\d)", template)
    assert sum(int(count) for count in counts) == ALWAYS_READY_INSTANCES
    sources = "".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    alone = re.findall(r"\.(?:timer_trigger|service_bus_queue_trigger)\(", sources)
    assert 2 + len(alone) == SCALING_GROUPS
