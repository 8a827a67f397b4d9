"""docs/security.md names attacks that are run, and every attack that is run."""

from __future__ import annotations

import re
from functools import cache

from tests import ROOT

_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
#: Words that still fit a page which is read in one go.
_MOST_WORDS = 2_400


@cache
def page() -> str:
    return (ROOT / "docs" / "security.md").read_text()


@cache
def rows() -> list[list[str]]:
    """The cells of each row of the table of attacks."""
    table = page().partition("## Attacks")[2]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_every_attack_names_what_stops_it_and_tests_that_exist() -> None:
    assert len(rows()) > 25
    for row in rows():
        attack, stopped, tests = row
        assert attack and stopped, row
        named = _TEST.findall(tests)
        assert named, f"{attack}: names no test"
        for path, function in named:
            assert (ROOT / path).is_file(), f"{attack}: there is no {path}"
            assert f"def {function}(" in (ROOT / path).read_text() if function else True, f"no {function}"


def test_every_exploit_is_named_by_the_attack_that_it_runs() -> None:
    named = {path for row in rows() for path, _ in _TEST.findall(row[-1])}
    exploits = {f"tests/security/{path.name}" for path in (ROOT / "tests" / "security").glob("test_*.py")}
    assert exploits - named == set()


def test_whoever_attacks_is_followed_by_exploits_that_exist() -> None:
    attackers = page().partition("## Against whom")[2].partition("## Attacks")[0]
    people = [line for line in attackers.splitlines() if line.startswith("- **")]
    assert len(people) >= 5
    for person in people:
        named = re.findall(r"`(test_\w+)`", person)
        assert named, person
        assert [name for name in named if not (ROOT / "tests" / "security" / f"{name}.py").is_file()] == []


def test_an_attack_stands_on_the_page_once() -> None:
    attacks = [row[0] for row in rows()]
    assert len(attacks) == len(set(attacks))


def test_it_stays_one_page() -> None:
    assert len(page().split()) <= _MOST_WORDS
