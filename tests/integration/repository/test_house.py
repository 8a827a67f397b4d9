"""The plan of the house holds: no circles, one meaning a name, files of one subject. import-linter holds the floors."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT

PRODUCT = ("domain", "functions", "infra", "devhost")
#: Each had two or more meanings once.
ONE_MEANING = (
    *("Answer", "Decision", "Endpoint", "Finding", "Known", "Origin", "Outbox", "Outcome", "Question"),
    *("Sample", "Shown", "Subject", "Tally", "Verdict", "Window"),
)
_SHORT, _LONG = 60, 500
_OF_A_TEST = re.compile(
    r"^\s*(?:from tests[\w.]* import .*|(?:from|import) tests[\w.]*)\btest_\w+", re.MULTILINE
)


@cache
def _files(*roots: str) -> list[Path]:
    return [
        path
        for root in roots
        for path in sorted((ROOT / root).rglob("*.py"))
        if not {"versions", "node_modules"} & set(path.parts)
    ]


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(*roots: str) -> dict[str, set[str]]:
    """Return which module imports which, those inside functions included."""
    modules = {_module(path): path for path in _files(*roots)}
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        names: set[str] = set()
        for node in ast.walk(_parsed(path)):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        # Of `from package import module` the module counts, not the package's empty __init__.
        inner = {
            name for name in names if any(other.startswith(f"{name}.") for other in names & modules.keys())
        }
        found[module] = (names & modules.keys()) - {module} - inner
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        path.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in path:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = path[path.index(node) :]
            del path[path.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(imports("domain", "functions", "infra")) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


@cache
def _classes() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for path in _files(*PRODUCT):
        for node in _parsed(path).body:
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].append(_module(path))
    return found


def test_the_name_of_a_class_has_one_meaning() -> None:
    public = {
        name: modules
        for name, modules in _classes().items()
        if len(modules) > 1 and sum(_is_public(name, module) for module in modules) > 1
    }
    assert public == {}


def _is_public(name: str, module: str) -> bool:
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in _parsed(path).body)


@pytest.mark.parametrize("name", ONE_MEANING)
def test_a_name_that_had_several_meanings_has_one(name: str) -> None:
    assert len(_classes().get(name, [])) <= 1


def _functions(name: str, *roots: str) -> list[str]:
    """Return the modules with a function or method of this name; closures do not count."""
    return [
        _module(path)
        for path in _files(*roots)
        for owner in ast.walk(_parsed(path))
        if isinstance(owner, ast.Module | ast.ClassDef)
        for node in owner.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]


@pytest.mark.parametrize("name", ["judge", "run"])
def test_a_function_says_what_it_does(name: str) -> None:
    assert len(_functions(name, "domain", "functions", "infra")) <= 1


def _loops(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            yield node.target


@pytest.mark.parametrize("root", [*PRODUCT, "bench", "tests"])
def test_a_loop_names_what_it_holds(root: str) -> None:
    named_one = [
        f"{_module(path)}:{target.lineno}"
        for path in _files(root)
        if "for one in" in path.read_text()
        for target in _loops(_parsed(path))
        if isinstance(target, ast.Name) and target.id == "one"
    ]
    assert named_one == []


@pytest.mark.parametrize("path", _files("domain"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_the_domain_holds_one_subject(path: Path) -> None:
    """A short one says in its first line why it stands alone."""
    lines = path.read_text().splitlines()
    assert len(lines) <= _LONG
    if len(lines) < _SHORT and path.name not in ("__init__.py", "ports.py"):
        assert re.search(r"\b(because|so that|since|apart)\b", lines[0], re.IGNORECASE), (
            "why is it a file of its own?"
        )


def test_no_test_module_is_imported() -> None:
    imported = [
        f"{_module(path)}: {found.group().strip()}"
        for path in _files("tests")
        for found in _OF_A_TEST.finditer(path.read_text())
    ]
    assert imported == []


@pytest.mark.parametrize(
    "line",
    [
        "from tests.unit.test_a import b",
        "    from tests.test_a import b",
        "import tests.unit.test_a",
        "from tests.unit import test_a",
    ],
)
def test_an_import_of_a_test_module_would_be_found(line: str) -> None:
    assert _OF_A_TEST.search(f"import re\n{line}\n")


def test_decisions_say_their_status_and_date() -> None:
    for path in sorted((ROOT / "docs" / "adr").glob("*.md")):
        text = path.read_text()
        assert re.search(r"^Status: (accepted|superseded)", text, re.MULTILINE), path.name
        assert re.search(r"^Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE), path.name


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/README.md"])
def test_the_doors_name_files_that_exist(name: str) -> None:
    """Whatever stands in backticks and looks like a path of the project is one; `<name>` stands for any."""
    named = re.findall(
        r"`((?:domain|functions|infra|devhost|tests|docs|deploy|bench|examples)/[\w./<>*{},-]*)`",
        (ROOT / name).read_text(),
    )
    assert named
    missing = []
    for text in named:
        for alternative in _alternatives(text):
            pattern = re.sub(r"<\w+>", "*", alternative).rstrip("/")
            if not any(ROOT.glob(pattern)):
                missing.append(text)
    assert missing == []


def _alternatives(text: str) -> list[str]:
    braces = re.search(r"\{([^}]*)\}", text)
    if braces is None:
        return [text]
    return [
        whole
        for part in braces[1].split(",")
        for whole in _alternatives(text[: braces.start()] + part.strip() + text[braces.end() :])
    ]


def test_no_test_patches_a_private_name() -> None:
    patched = [
        f"{_module(path)}: {found}"
        for path in _files("tests")
        for found in re.findall(
            r'setattr\((?:[^,()]+(?:\([^()]*\))?, "_\w+"|"[\w.]+\._\w+")', path.read_text()
        )
    ]
    assert patched == []


@pytest.mark.parametrize("root", ["domain", "functions", "infra"])
def test_text_is_cut_as_its_column_counts(root: str) -> None:
    """`text[:400]` keeps up to 800 UTF-16 units; `cut(text, 400)` keeps 400, and no half of a character."""
    slices = re.compile(r"^.*[\w\])\"]\[:(?:[2-9]\d|\d{3,})\].*$", re.MULTILINE)
    lines = [line.strip() for path in _files(root) for line in slices.findall(path.read_text())]
    assert [line for line in lines if "hexdigest()[:" not in line and "isoformat(" not in line] == []
