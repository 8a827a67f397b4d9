"""Where a compile error could hide in the Bicep files: properties and their types, names, what modules are given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.harness import ROOT
from tests.worlds.bicep_templates import BICEP, FILES, TEXT, TREE

#: By resource type and API version.
KNOWN: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "fixtures" / "arm_properties.yaml").read_text())
#: What stands beside the properties of every resource, and is the language's own.
_LANGUAGE = {"name", "parent", "scope", "depends_on", "dependsOn", "resources"}
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "bool": (bool,), "int": (int,)}
FUNCTIONS = {
    "concat": "array",
    "empty": "bool",
    "environment": "object",
    "guid": "string",
    "items": "array",
    "loadTextContent": "string",
    "replace": "string",
    "split": "array",
    "resourceGroup": "object",
    "subscription": "object",
    "subscriptionResourceId": "string",
    "take": "string",
    "toLower": "string",
    "union": "object",
    "uniqueString": "string",
}
"""Bicep's functions that we use, with what they return."""
_WORDS = {
    "param", "var", "resource", "module", "output", "existing", "if", "for", "in", "targetScope",
    "true", "false", "null", "string", "bool", "int", "object", "array",
}  # fmt: skip


def _calls(node: Any) -> bool:
    return isinstance(node, dict) and any(isinstance(node.get(key), dict) for key in ("operator", "function"))


def _branches(node: Any) -> list[Any]:
    """What an expression may come to, as far as it is written out."""
    if not _calls(node):
        return [node]
    operator = node.get("operator", {})
    if operator.get("type") != "conditional":
        return []
    return [*_branches(operator["operands"]["true_value"]), *_branches(operator["operands"]["false_value"])]


def _wrong(node: Any, wanted: Any, where: str, names: dict[str, str | None]) -> Iterator[str]:
    """What does not fit; `names` are the file's own, with their types where these are known."""
    for branch in _branches(node):
        if branch is None or wanted == "any":
            continue
        if isinstance(wanted, dict) and "[]" in wanted:
            for each in branch if isinstance(branch, list) else []:
                yield from _wrong(each, wanted["[]"], f"{where}[]", names)
        elif isinstance(wanted, dict):
            for name, value in branch.items() if isinstance(branch, dict) else []:
                bare = name.strip("'")
                if bare not in wanted and "*" not in wanted:
                    yield f"{where}.{bare} is not known"
                else:
                    yield from _wrong(value, wanted.get(bare, "any"), f"{where}.{bare}", names)
        elif isinstance(branch, str) and branch in names:
            kind = names[branch]
            if kind is not None and kind != (wanted if isinstance(wanted, str) else "string"):
                yield f"{where} is {wanted}, {branch} is {kind}"
        elif isinstance(wanted, list):
            if branch not in wanted:
                yield f"{where} is none of {wanted}: {branch}"
        elif not isinstance(branch, _TYPES[wanted]) or (wanted == "int" and isinstance(branch, bool)):
            yield f"{where} is {wanted}: {branch!r}"


def _names(path: Path) -> dict[str, str | None]:
    tree = TREE[path]
    found: dict[str, str | None] = dict.fromkeys(tree.get("variables", {}))
    found |= dict.fromkeys([*tree.get("resources", {}), *tree.get("modules", {})])
    for name in list(found):  # a resource within another is known as outer__inner
        found[name.rpartition("__")[2]] = None
    return found | {name: facts["type"] for name, facts in tree.get("parameters", {}).items()}


def _config(resource: dict[str, Any]) -> dict[str, Any]:
    """Without the loop and the condition around it."""
    config = resource["config"]
    while "config" in config:
        config = config["config"]
    return dict(config)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_property_is_known_to_its_resource_in_its_type(path: Path) -> None:
    for symbol, resource in TREE[path].get("resources", {}).items():
        properties = {name: value for name, value in _config(resource).items() if name not in _LANGUAGE}
        wanted = KNOWN[f"{resource['type']}@{resource['api_version']}"]
        assert list(_wrong(properties, wanted, symbol, _names(path))) == []


def test_one_api_version_is_used_of_each_type_and_none_is_listed_in_vain() -> None:
    used = {
        f"{resource['type']}@{resource['api_version']}"
        for tree in TREE.values()
        for resource in tree.get("resources", {}).values()
    }
    assert used == set(KNOWN)
    assert len({type_.partition("@")[0] for type_ in used}) == len(used)


# -- names ----------------------------------------------------------------------------------------------------


def _expressions(text: str) -> str:
    """The code without comments, decorators and the letters of strings; what strings interpolate stays."""
    text = re.sub(r"(?m)^\s*//.*$|(?<!:)//.*$|^@.*$", "", text)
    inner: list[str] = []

    def keep(found: re.Match[str]) -> str:
        inner.extend(re.findall(r"\$\{(.*?)\}", found[0]))
        return "''"

    text = re.sub(r"'(?:\\.|\$\{(?:'[^']*'|[^}'])*\}|[^'\\])*'", keep, text)
    return "\n".join([text, *(_expressions(part) for part in inner)])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_name_is_declared(path: Path) -> None:
    code = _expressions(TEXT[path])
    declared = set(_names(path)) | _WORDS | set(FUNCTIONS)
    declared |= set(re.findall(r"\bfor (\w+) in\b", code)) | set(re.findall(r"\boutput (\w+) ", code))
    for pair in re.findall(r"\bfor \((\w+), (\w+)\) in\b", code):
        declared |= set(pair)
    # Neither a property's name, which a colon follows at once, nor what is taken of something by a dot.
    used = set(re.findall(r"(?<![\w.?!])([A-Za-z_]\w*)\b(?!:)", code))
    assert used - declared == set()


# -- modules --------------------------------------------------------------------------------------------------


def _type_of(expression: str, path: Path) -> str | None:
    """Of an expression as a module is given it; None where that takes more than a look."""
    expression = expression.strip()
    if found := re.fullmatch(r"(?:[^?']|'[^']*')+ \? (.+) : (.+)", expression):
        first, second = _type_of(found[1], path), _type_of(found[2], path)
        assert None in (first, second) or first == second, expression
        return first or second
    if re.fullmatch(r"'.*'", expression):
        return "string"
    if expression in ("true", "false"):
        return "bool"
    if expression.isdigit():
        return "int"
    if found := re.fullmatch(r"(\w+)!?\.outputs\.(\w+)", expression):
        target = (path.parent / TREE[path]["modules"][found[1]]["detail"]["path"]).resolve()
        return str(TREE[target]["outputs"][found[2]]["type"])
    if found := re.match(r"(\w+)\(", expression):
        return FUNCTIONS[found[1]]
    return _names(path).get(expression)


def _given(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(module, parameter -> expression), as written."""
    for name, block in re.findall(r"(?ms)^module (\w+) .*?\bparams: (\{ .*? \}$|\{\n.*?^  \})", TEXT[path]):
        body = re.sub(r"//.*", "", block.strip()[1:-1])
        yield name, dict(re.findall(r"(\w+): ((?:\([^()]*(?:\([^()]*\))?[^()]*\)|'[^']*'|[^,\n])+)", body))


def test_modules_are_given_what_they_declare_in_its_type() -> None:
    looked_at = 0
    for path in FILES:
        given = dict(_given(path))
        assert set(given) == set(TREE[path].get("modules", {}))
        for module, parameters in given.items():
            target = (path.parent / TREE[path]["modules"][module]["detail"]["path"]).resolve()
            declared = TREE[target]["parameters"]
            for name, expression in parameters.items():
                kind = _type_of(expression, path)
                looked_at += kind is not None
                assert kind in (None, declared[name]["type"]), f"{module}.{name}: {expression}"
    assert looked_at > 120


def test_no_parameter_carries_a_secret() -> None:
    """A connection string to Application Insights is an address where local authentication is switched off."""
    suspicious = re.compile(r"(?i)password|secret|key(?!Vault)|token|connectionstring|credential")
    named = {
        name
        for tree in TREE.values()
        for section in ("parameters", "outputs")
        for name in tree.get(section, {})
        if suspicious.search(name)
    }
    assert named == {"applicationInsightsConnectionString", "connectionString"}
    assert "DisableLocalAuth: true" in TEXT[BICEP / "modules" / "monitoring.bicep"]
