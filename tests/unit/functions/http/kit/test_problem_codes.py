"""Every code that a problem may carry is explained, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from functions.http.kit.problem_codes import PROBLEM_CODES
from tests import ROOT

CODE = re.compile(r"BR-[A-Z]{2}-\d{2}|[a-z]+(-[a-z]+)*")


def _strings(node: ast.AST) -> set[str]:
    constants = {str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant)}
    return {text for text in constants if CODE.fullmatch(text)}


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    named = zip(reversed(positional), reversed(arguments.defaults), strict=False)
    for argument, default in (*named, *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)):
        if default is not None:
            yield argument.arg, default


def codes_raised(source: str) -> set[str]:
    """`code=...` of a call or a class, the second argument of `problem(...)`, the default of a parameter `code`,
    and any literal that is a business rule's id."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                found |= _strings(keyword.value) if keyword.arg == "code" else set()
            if isinstance(node.func, ast.Name) and node.func.id == "problem" and len(node.args) > 1:
                found |= _strings(node.args[1])
        elif isinstance(node, ast.ClassDef) and node.name != "DomainError":  # the base is never raised
            for statement in node.body:
                if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "code":
                    found |= _strings(statement.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for argument, default in _defaults(node.args):
                found |= _strings(default) if argument == "code" else set()
        elif isinstance(node, ast.Constant) and re.fullmatch(r"BR-[A-Z]{2}-\d{2}", str(node.value)):
            found.add(str(node.value))
    return found


def test_codes_are_found_however_they_are_given() -> None:
    source = (
        "class Lost(DomainError):\n    code = 'a'\n"
        "def f(x, code='b', *, y=1): raise Conflict('', code='c' if x else 'd')\n"
        "def g(*, x, code='f'): return code\n"
        "problem(404, 'e', 'text')\nrefuse('text', 'BR-WH-01')\n"
    )
    assert codes_raised(source) == {"a", "b", "c", "d", "e", "f", "BR-WH-01"}


def codes_of_the_product() -> set[str]:
    files = (file for folder in ("domain", "functions", "infra") for file in (ROOT / folder).rglob("*.py"))
    return {
        code
        for file in files
        if file.name != "problem_codes.py" and not file.name.startswith("docs_")
        for code in codes_raised(file.read_text(encoding="utf-8"))
    }


def test_every_code_raised_in_the_source_is_explained() -> None:
    unexplained = sorted(codes_of_the_product() - set(PROBLEM_CODES))
    assert not unexplained, f"add to functions/http/kit/problem_codes.py: {unexplained}"


def test_no_code_is_explained_that_is_never_raised() -> None:
    unused = sorted(set(PROBLEM_CODES) - codes_of_the_product())
    assert not unused, f"remove from functions/http/kit/problem_codes.py: {unused}"


def test_every_code_has_a_status_a_meaning_and_a_remedy() -> None:
    for code, problem in PROBLEM_CODES.items():
        assert 400 <= problem.status <= 599, code
        assert problem.meaning.strip() and problem.remedy.strip(), code
        assert (problem.meaning + problem.remedy).count("`") % 2 == 0, code


def test_every_code_is_asserted_by_a_test() -> None:
    tests = (file for file in (ROOT / "tests").rglob("test_*.py") if file.name != "test_problem_codes.py")
    known = "\n".join(file.read_text(encoding="utf-8") for file in tests)
    unasserted = [code for code in PROBLEM_CODES if f'"{code}"' not in known]
    assert not unasserted, f"no test names: {unasserted}"
