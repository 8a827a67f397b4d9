"""The cost sheet in the documentation is what the script works out."""

from __future__ import annotations

import pytest

from bench.cost import DELIVERIES, TOKENS_PER_DAY, per_million, per_month, per_tenant_month, sheet
from bench.harness import ROOT
from infra.settings import Settings


def test_the_documented_sheet_is_the_computed_one() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    shown = page.split("<!-- cost: printed by `python -m bench.cost` -->\n")[1].split("<!-- /cost -->")[0]
    assert shown.strip() == sheet().strip()


def test_six_service_bus_operations_a_delivery() -> None:
    [line] = [one for one in per_million() if one.item.startswith("Service Bus")]
    assert line.quantity * 1e6 == 6 * DELIVERIES
    assert line.dollars == pytest.approx(4.80)


def test_every_line_costs_something() -> None:
    assert all(line.dollars > 0 for line in [*per_million(), *per_month(), *per_tenant_month()])


def test_the_budget_of_tokens_is_the_default_one() -> None:
    assert Settings.model_fields["openai_tokens_per_day"].default == TOKENS_PER_DAY
    assert sum(line.quantity for line in per_tenant_month()) * 1e6 == pytest.approx(30 * TOKENS_PER_DAY)
