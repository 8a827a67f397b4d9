"""docs/testing.md lists the limits with their tests: each test exists, and each value is that of its constant."""

from __future__ import annotations

import importlib
import re
from datetime import timedelta

import pytest

from tests import ROOT

_PAGE = (ROOT / "docs" / "testing.md").read_text().partition("\n## Limits\n")[2]
_ROW = re.compile(r"^\| (?!limit )([^|]+) \| ([^|]+) \| ([^|]*) ?\| ([^|]+) \|$", re.MULTILINE)
_ROWS = [tuple(cell.strip() for cell in row) for row in _ROW.findall(_PAGE)]
_NAMED = [row for row in _ROWS if row[2]]
_UNITS = {"seconds": "seconds", "minutes": "minutes", "hours": "hours", "days": "days"}


def test_every_limit_names_tests_that_exist() -> None:
    known = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    listed = [(limit, re.findall(r"`(test_\w+)`", tests)) for limit, _, _, tests in _ROWS]
    assert [limit for limit, names in listed if not names] == []
    assert [name for _, names in listed for name in names if name not in known] == []
    assert len(_ROWS) > 35


@pytest.mark.parametrize(
    ("value", "where"), [row[1:3] for row in _NAMED], ids=[row[0].replace(" ", "-") for row in _NAMED]
)
def test_the_value_of_a_limit_is_that_of_its_constant(value: str, where: str) -> None:
    path, name = re.findall(r"`([^`]+)`", where)
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    number, _, unit = value.partition(" ")
    told: object = int(number.replace(",", ""))
    constant = getattr(module, name)
    if isinstance(constant, timedelta):
        told = timedelta(**{_UNITS[unit.split(" ")[0]]: int(number)})
    assert constant == told


def test_every_public_limit_of_the_domain_is_on_the_page() -> None:
    """Constants that say that they are the most of something, unless they bound what only the process sees."""
    inner = {"AT_MOST", "MOST_TIMES", "MOST_KEPT", "MOST_ASKED", "MOST_TRIES", "MAX_PAGE_SIZE", "MAX_TITLE"}
    inner |= {"MAX_EXPLANATION", "USERS_REMEMBERED"}
    pattern = re.compile(r"^((?:[A-Z]+_)*(?:MAX|MOST)(?:_[A-Z]+)*)\b[^=\n]*= ", re.MULTILINE)
    named = {re.findall(r"`([^`]+)`", row[2])[1] for row in _NAMED}
    found = {name for path in (ROOT / "domain").rglob("*.py") for name in pattern.findall(path.read_text())}
    assert found - named - inner == set()
