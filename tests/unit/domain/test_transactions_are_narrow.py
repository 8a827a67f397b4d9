"""A transaction's Protocol offers only the repositories that the use cases written against it touch."""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache

from tests import ROOT


@cache
def _trees() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in sorted((ROOT / "domain").rglob("*.py"))]


def _name(node: ast.expr | None) -> str:
    return ast.unparse(node).strip("\"'") if node is not None else ""


def _bases(node: ast.ClassDef) -> list[str]:
    return [name for name in map(_name, node.bases) if name.endswith("Transaction")]


@cache
def _protocols() -> dict[str, ast.ClassDef]:
    return {
        node.name: node
        for tree in _trees()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and node.name.endswith("Transaction")
        and "Protocol" in map(_name, node.bases)
    }


def _offered(protocol: str) -> set[str]:
    """The repositories of a Protocol, those of its bases included."""
    node = _protocols()[protocol]
    own = {
        member.name
        for member in node.body
        if isinstance(member, ast.FunctionDef) and "property" in map(_name, member.decorator_list)
    }
    return own.union(*map(_offered, _bases(node)))


@dataclass
class Uses:
    """What a piece of code touches on `tx`, and every name that it mentions."""

    touched: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def add(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            self.names.add(node.id)
        elif isinstance(node, ast.Attribute):
            self.names.add(node.attr)
            holder = node.value
            name = holder.id if isinstance(holder, ast.Name) else getattr(holder, "attr", None)
            if name in ("tx", "_tx"):
                self.touched.add(node.attr)

    def __or__(self, other: Uses) -> Uses:
        return Uses(self.touched | other.touched, self.names | other.names)


def _transaction_of(node: ast.AST) -> str | None:
    """The Protocol of a function's own parameter `tx`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for argument in (*node.args.args, *node.args.kwonlyargs):
            if argument.arg == "tx" and _name(argument.annotation) in _protocols():
                return _name(argument.annotation)
    return None


#: Functions that are handed a `tx`: name, its Protocol, what they use.
_FUNCTIONS: list[tuple[str, str, Uses]] = []


def _uses(tree: ast.Module) -> dict[str | None, Uses]:
    """What a module uses in functions whose `tx` is of each Protocol; under None everywhere else."""
    found: dict[str | None, Uses] = defaultdict(Uses)

    def visit(node: ast.AST, inside: str | None) -> None:
        if (protocol := _transaction_of(node)) is not None:
            before, found[protocol] = found[protocol], Uses()
            for child in ast.iter_child_nodes(node):
                visit(child, protocol)
            _FUNCTIONS.append((getattr(node, "name", ""), protocol, found[protocol]))
            found[protocol] |= before
            return
        found[inside].add(node)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(tree, None)
    return found


@cache
def _used() -> list[dict[str | None, Uses]]:
    return [_uses(tree) for tree in _trees()]


def _touched(protocol: str) -> set[str]:
    """What the modules that name the Protocol touch, in functions of other modules to which they hand `tx` too."""
    offered = _offered(protocol)
    total = Uses()
    for by_protocol in _used():
        if protocol in by_protocol or protocol in by_protocol[None].names:
            total |= by_protocol[None] | by_protocol.get(protocol, Uses())
    pending = list(_FUNCTIONS)
    while handed := [found for found in pending if found[0] in total.names and _offered(found[1]) <= offered]:
        pending = [found for found in pending if found not in handed]
        for _, _, uses in handed:
            total |= uses
    return total.touched


def test_every_repository_offered_is_touched() -> None:
    untouched = {
        name: offered - _touched(name) for name in _protocols() if len(offered := _offered(name)) > 1
    }
    assert len(untouched) > 10
    assert {name: left for name, left in untouched.items() if left} == {}


def test_each_says_what_it_is_for() -> None:
    assert [name for name, node in _protocols().items() if not ast.get_docstring(node)] == []
