"""Without what they need, tests over Azure's services are skipped and say why; they never pass in silence."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.harness import ROOT
from tests.conftest import pytest_terminal_summary
from tests.loopback import amqp, azurite


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Node.js."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("HUB_AZURITE", raising=False)


@pytest.mark.usefixtures("bare")
def test_without_node_azurite_is_missing(tmp_path: Path) -> None:
    with (
        pytest.raises(pytest.skip.Exception, match="Azurite is neither on PATH nor"),
        azurite.running_azurite("table", tmp_path),
    ):
        pass


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["@microsoft/signalr", "playwright-core"])
def test_without_node_its_packages_are_missing(name: str) -> None:
    with pytest.raises(pytest.skip.Exception, match=f"needs Node.js and {name}: run `make node`"):
        azurite.node_package(name)


@pytest.fixture
def without_amqp(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine on which the AMQP library could not be built."""
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        importlib.reload(amqp)
    yield
    importlib.reload(amqp)


@pytest.mark.usefixtures("without_amqp")
def test_without_the_amqp_library_it_is_said_what_is_missing() -> None:
    assert re.match("python-qpid-proton is not installed", str(amqp.MISSING))


def test_whatever_needs_the_amqp_library_asks_whether_it_is_there() -> None:
    """Imported at the head of a test module it would end the whole run instead."""
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text()
        if path.is_relative_to(ROOT / "tests" / "loopback" / "servicebus") or path == Path(__file__):
            continue
        assert not re.search(r"^(from|import) (proton|tests\.loopback\.servicebus)", text, re.MULTILINE), path
        if path.name.startswith("test_") and "AzureWorld" in text:
            assert "from tests.loopback.amqp import MISSING" in text, path


def test_a_run_tells_each_reason_once() -> None:
    said: list[str] = []
    reports = [
        SimpleNamespace(longrepr=("a.py", 1, f"Skipped: {why}"))
        for why in ("No Node.", "No SQL.", "No Node.")
    ]
    pytest_terminal_summary(SimpleNamespace(stats={"skipped": reports}, write_line=said.append))  # type: ignore[arg-type]
    assert said == ["skipped 2: No Node.", "skipped 1: No SQL."]


def test_the_page_of_claims_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "testing-azure.md").read_text()
    known = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 40
    assert [test for test in sorted(named) if f"def {test}(" not in known] == []
