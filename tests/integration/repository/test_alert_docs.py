"""Every kind of alert has a rule, a name on the wire and a runbook."""

from __future__ import annotations

from typing import get_args

from domain.monitoring.alerts.model import (
    AlertKind,
)
from domain.monitoring.alerts.rules import (
    RULES,
)
from functions.http.alerts.views import KindName
from tests import ROOT

DOCS = ROOT / "docs" / "alerts.md"


def test_every_kind_has_a_rule_a_name_on_the_wire_and_a_runbook() -> None:
    kinds = {kind.value for kind in AlertKind}
    assert {rule.kind.value for rule in RULES.values()} == kinds == set(get_args(KindName))
    headings = {line[3:].strip() for line in DOCS.read_text().splitlines() if line.startswith("## ")}
    assert kinds <= headings
