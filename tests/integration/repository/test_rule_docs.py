"""docs/testing.md lists a test for every rule of the specification, and each of them exists."""

from __future__ import annotations

import re
from collections import defaultdict

from tests import ROOT

_PAGE = (ROOT / "docs" / "testing.md").read_text()
_ROW = re.compile(r"^\| ([A-Z]{2}-[A-Z]{2}-\d\d|\d+\.\d) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
_ROWS = [(rule, told.strip(), re.findall(r"`(test_\w+)`", cell)) for rule, told, cell in _ROW.findall(_PAGE)]
#: Rules of section 6, and steps of section 4.
_RULES = {"IM": 7, "AK": 7, "WH": 8, "DS": 7}
_STEPS = {
    "UC-IM-01": 7,
    "UC-IM-02": 6,
    "UC-IM-03": 6,
    "UC-IM-04": 6,
    "UC-AK-01": 7,
    "UC-AK-02": 6,
    "UC-AK-03": 6,
    "UC-WH-01": 7,
    "UC-WH-02": 8,
    "UC-WH-03": 6,
    "UC-DS-01": 6,
    "UC-DS-02": 8,
    "UC-DS-03": 5,
}


def test_every_business_rule_has_one_row() -> None:
    listed = [rule for rule, _, _ in _ROWS if rule.startswith("BR-")]
    assert listed == [f"BR-{group}-{n:02}" for group, count in _RULES.items() for n in range(1, count + 1)]


def test_every_step_of_every_use_case_is_in_one_row() -> None:
    steps: dict[str, list[int]] = defaultdict(list)
    for rule, told, _ in _ROWS:
        if rule.startswith("UC-"):
            first, _, last = told.partition("-")
            steps[rule] += range(int(first), int(last or first) + 1)
    assert steps == {case: list(range(1, count + 1)) for case, count in _STEPS.items()}


def test_every_section_that_demands_behaviour_has_one_row() -> None:
    listed = [rule for rule, _, _ in _ROWS if rule[0].isdecimal()]
    sections = {"7": 4, "8": 3, "11": 4, "12": 3, "14": 2, "17": 3}
    assert listed == [f"{section}.{n}" for section, count in sections.items() for n in range(1, count + 1)]


def test_every_row_names_a_test_and_every_test_exists() -> None:
    known = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert [rule for rule, _, tests in _ROWS if not tests] == []
    assert [name for _, _, tests in _ROWS for name in tests if name not in known] == []


def test_a_test_that_bears_the_id_of_a_business_rule_bears_one_that_exists() -> None:
    rules = {rule.replace("-", "_") for rule, _, _ in _ROWS}
    borne = {
        rule
        for path in (ROOT / "tests").rglob("test_*.py")
        for rule in re.findall(r"(?:BR|UC)_(?:IM|AK|WH|DS)_\d\d", path.read_text())
    }
    assert borne <= rules
    assert len(borne) > 35


def test_every_rule_that_the_code_cites_is_on_the_page() -> None:
    cited = {
        rule
        for folder in ("domain", "functions", "infra")
        for path in (ROOT / folder).rglob("*.py")
        for rule in re.findall(r"\b(?:BR|UC)-[A-Z]{2}-\d\d", path.read_text())
    }
    assert cited <= {rule for rule, _, _ in _ROWS}
