"""No regular expression of the product costs more than linear time, whatever text it is given."""

from __future__ import annotations

import re

import pytest

from tests import ROOT
from tests.worlds.pattern_costs import flaw_of, uses_of

USES = [
    use
    for folder in ("domain", "infra", "functions", "devhost")
    for path in sorted((ROOT / folder).rglob("*.py"))
    for use in uses_of(path, ROOT)
]
#: Patterns whose text no stranger writes, or only a short one.
REVIEWED = {
    ("domain/recommendations/integration_rules.py", "_PIECES"): "names of event types have 100 characters",
    ("functions/http/kit/operations.py", "pattern"): "routes of our own",
    ("functions/http/openapi/document.py", "_PATH_PARAMETER"): "routes of our own",
    ("infra/providers/paypal/webhook.py", "_CERTIFICATE"): "the certificates that certifi brings",
    ("infra/providers/ical/reading.py", "_QUOTED"): "tried on 500 characters, in a process that is ended",
}


def test_no_pattern_costs_more_than_linear_time() -> None:
    flaws = {
        (use.where, use.name): f"{use.pattern!r}: {flaw}"
        for use in USES
        if (use.where, use.name) not in REVIEWED
        and (flaw := flaw_of(use.pattern, use.flags, is_search=use.is_search))
    }
    assert flaws == {}
    assert len(USES) > 100


def test_what_was_reviewed_is_still_there_and_would_be_found() -> None:
    found = {
        (use.where, use.name) for use in USES if flaw_of(use.pattern, use.flags, is_search=use.is_search)
    }
    assert set(REVIEWED) <= found


def test_patterns_are_given_to_re_by_its_own_name_only() -> None:
    """An `import re as r` or `from re import compile` would hide a pattern from this test."""
    hidden = re.compile(r"^\s*(?:from re import|import re as|from regex|import regex)", re.MULTILINE)
    folders = ("domain", "infra", "functions", "devhost")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in paths if hidden.search(path.read_text())] == []


@pytest.mark.parametrize(
    ("pattern", "is_search"),
    [
        (r"(a+)+$", False),
        (r"(a|aa)+$", False),
        (r"(?:a*b*)*c", False),
        (r"(?:\d{1,3},?)+;", False),
        (r"(?:ab|[a-z])*;", False),
        (r"a*a*b", False),
        (r"\s*,?\s*;", False),
        (r".*=.*=;", False),
        (r"(?:ab)*a?(?:ba)*c", False),
        (r"(?:-\w+)*-remaining(?:-\w+)*", False),
        (r"<([^<>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"[^\"]*\"|[^\",;]*))?)*)", False),
        (r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+", True),
        (r"\s+$", True),
        (r"[0-9]+%", True),
        (r"(?i)eyj[a-z]{8,}\.", True),
        (rb"(?:\r?\n)+[ \t]", True),
        (r"<response>.*</response>", True),
    ],
)
def test_a_pattern_that_costs_more_is_found(pattern: str | bytes, is_search: bool) -> None:
    assert flaw_of(pattern, is_search=is_search) is not None


@pytest.mark.parametrize(
    ("pattern", "is_search"),
    [
        (r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+", False),
        (r"[A-Za-z]+(?:-[A-Za-z]+)*", True),
        (r"\s+", True),
        (r"[^,]*,[^,]*,[^,]*", False),
        (r"(?:\d{1,3},)+", False),
        (r"(?:[0-9a-f]{2})+", False),
        (r"^\s*<\?xml\b[^>]*\?>", True),
        (r"(https?)://([^/?#]*)([\s\S]*)", False),
    ],
)
def test_a_pattern_that_does_not_is_let_pass(pattern: str, is_search: bool) -> None:
    assert flaw_of(pattern, is_search=is_search) is None
