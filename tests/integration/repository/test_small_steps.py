"""Every loop over pages has a step that tests make small (`tests/worlds/small_steps.py`), so that it sees a second."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT
from tests.worlds.small_steps import STEPS

_STEPPING = {"in_steps": 2, "each_step": 2, "range": 2, "chunks": 1}
#: Loops whose step is no page: the bound of a test of its own, or nothing that one may choose.
_OTHER_TESTS = {
    "domain/integrations/health.py PAGE": "test_a_round_goes_on_after_a_page_of_integrations",
    "domain/core/idempotency.py _PIECE": "test_an_answer_of_any_size_comes_back_whole_in_entities_azure_takes",
    "domain/core/idempotency.py _ROW": "test_an_answer_of_any_size_comes_back_whole_in_entities_azure_takes",
    "domain/providers/codings.py _PIECE_BYTES": "test_content_is_undone_to_one_mebibyte_and_no_further",
    "domain/journal/outbox.py _IDS_PER_MESSAGE": "test_announcements_carry_ids_of_one_tenant_at_most_100_at_a_time",
    "domain/webhooks/fan_out.py _IDS_PER_MESSAGE": "test_deliveries_of_one_webhook_share_messages_of_at_most_100_ids",
}


def _module_constants(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            names |= {part.id for part in parts if isinstance(part, ast.Name) and part.id.isupper()}
    return names


def _sizes(tree: ast.Module) -> Iterator[ast.expr]:
    """The step of every loop: an argument of a function that steps, `limit=` in a while loop, `len(page) < STEP`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = _STEPPING.get(node.func.id)
            if place is not None and len(node.args) > place:
                yield node.args[place]
        if isinstance(node, ast.While):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Call):
                    yield from (keyword.value for keyword in inner.keywords if keyword.arg == "limit")
                elif isinstance(inner, ast.Compare) and isinstance(inner.ops[0], ast.Lt):
                    yield inner.comparators[0]


def _modules() -> list[Path]:
    roots = ("domain", "infra/sql", "infra/app")
    found = [path for root in roots for path in sorted((ROOT / root).rglob("*.py"))]
    return [*(path for path in found if "versions" not in path.parts), ROOT / "infra" / "rotate_data_key.py"]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_step_of_a_loop_is_made_small_in_the_tests(path: Path) -> None:
    tree = ast.parse(path.read_text())
    name = path.relative_to(ROOT).with_suffix("")
    small, constants = STEPS.get(".".join(name.parts), ()), _module_constants(tree)
    steps = {step.id for step in _sizes(tree) if isinstance(step, ast.Name)} & constants
    missing = {step for step in steps - set(small) if f"{name}.py {step}" not in _OTHER_TESTS}
    assert missing == set(), "make it public, and name it in tests/worlds/small_steps.py"


def test_the_tests_that_are_named_instead_exist() -> None:
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in _OTHER_TESTS.values() if f"def {name}(" not in text] == []
