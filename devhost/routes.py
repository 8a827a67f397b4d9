"""Route templates of HTTP functions, compiled once and matched per request.

Source: https://learn.microsoft.com/aspnet/core/fundamentals/routing#route-templates
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from devhost.constraints import Check, constraint
from devhost.errors import HostError

T = TypeVar("T")
_NO_PARAMETERS: Mapping[str, str] = {}

# How specific a segment is, most specific first (ASP.NET Core's RoutePrecedence).
_LITERAL, _CONSTRAINED, _PARAMETER, _CONSTRAINED_REST, _REST = range(1, 6)


@dataclass(frozen=True, slots=True)
class Parameter:
    """`{name:constraint=default}`, `{name?}` or `{*name}`."""

    name: str
    checks: tuple[Check, ...]
    optional: bool
    default: str | None
    is_rest: bool
    shape: str


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. `precedence` sorts the more specific first; two of equal `shape` match the same."""

    text: str
    pattern: re.Pattern[str]
    parameters: tuple[Parameter, ...]
    precedence: tuple[int, ...]
    shape: str
    lengths: range

    def match(self, path: str) -> dict[str, str] | None:
        """Return the route parameters of a path (`/a/b`), or None when it does not match."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        values: dict[str, str] = {}
        for parameter, value in zip(self.parameters, found.groups(), strict=True):
            if not value:
                if parameter.default is not None:
                    values[parameter.name] = parameter.default
                continue
            for check in parameter.checks:
                if not check(value):
                    return None
            values[parameter.name] = value
        return values


class RouteTable(Generic[T]):
    """Finds what serves a method and path; literal segments beat parameters.

    Methods that a route does not list are not served by it: the real host answers 404, never 405.
    """

    def __init__(self) -> None:
        self._literal: dict[str, T] = {}
        self._routes: list[tuple[Template, tuple[str, ...], T]] = []
        self._by_length: dict[int, list[tuple[Template, tuple[str, ...], T]]] = {}
        self._owners: dict[str, str] = {}

    def add(self, template: str, methods: Iterable[str], target: T) -> None:
        """Serve `template` (empty `methods`: all of them).

        Raises HostError when it cannot be read, or when another target has the same route and method."""
        compiled, verbs = compile_template(template), tuple(methods)
        for verb in verbs or ("*",):
            key = f"{verb} {compiled.shape}"
            others = [f"* {compiled.shape}"]
            if verb == "*":
                others = [each for each in self._owners if each.partition(" ")[2] == compiled.shape]
            if key in self._owners or any(other in self._owners for other in others):
                raise HostError(f"Two functions serve {verb} /{template.strip('/')}")
            self._owners[key] = template
            if not compiled.parameters:
                self._literal[f"{verb} /{template.strip('/').lower()}"] = target
        if compiled.parameters:
            self._routes.append((compiled, verbs, target))
            self._routes.sort(key=lambda route: route[0].precedence)
            self._by_length.clear()

    def find(self, method: str, path: str) -> tuple[T, Mapping[str, str]] | None:
        """Return what serves the (decoded) path, with its route parameters, or None when nothing does."""
        if len(path) > 1 and path[-1] == "/":
            path = path[:-1]
        literal, lowered = self._literal, path.lower()
        target = literal.get(f"{method} {lowered}") or literal.get(f"* {lowered}")
        if target is not None:
            return target, _NO_PARAMETERS
        for template, methods, candidate in self._candidates(path.count("/")):
            if not methods or method in methods:
                values = template.match(path)
                if values is not None:
                    return candidate, values
        return None

    def _candidates(self, length: int) -> list[tuple[Template, tuple[str, ...], T]]:
        found = self._by_length.get(length)
        if found is None:
            found = [route for route in self._routes if length in route[0].lengths]
            # Paths of absurd depth must not fill the table.
            if length <= 64:
                self._by_length[length] = found
        return found


def compile_template(template: str) -> Template:
    """Compile a route template. Raises HostError when it cannot be read."""
    pattern, shape, precedence = "", "", []
    parameters: list[Parameter] = []
    required = 0
    for segment in _split(template.strip("/"), "/"):
        pieces = _pieces(segment)
        own = [piece for piece in pieces if isinstance(piece, Parameter)]
        if parameters and parameters[-1].is_rest:
            raise HostError(f"Route '{template}': a catch-all must come last")
        parameters += own
        precedence.append(_precedence(pieces))
        shape += "/" + "".join(
            piece.shape if isinstance(piece, Parameter) else piece.lower() for piece in pieces
        )
        text = "".join(
            ("(.*)" if piece.is_rest else "([^/]+?)") if isinstance(piece, Parameter) else re.escape(piece)
            for piece in pieces
        )
        may_lack = len(pieces) == 1 and bool(own) and _may_lack(own[0])
        pattern += f"(?:/{text})?" if may_lack else f"/{text}"
        required += not may_lack
    names = [parameter.name.lower() for parameter in parameters]
    if len(set(names)) != len(names):
        raise HostError(f"Route '{template}' names a parameter twice")
    longest = 1 << 30 if parameters and parameters[-1].is_rest else len(precedence) + 1
    return Template(
        template,
        re.compile(pattern + "/?", re.IGNORECASE | re.DOTALL),
        tuple(parameters),
        tuple(precedence),
        shape,
        # A path "/" and a path of one segment both have one slash.
        range(min(required, 1) if required < 2 else required, longest),
    )


def _may_lack(parameter: Parameter) -> bool:
    return parameter.optional or parameter.is_rest or parameter.default is not None


def _precedence(pieces: list[str | Parameter]) -> int:
    if len(pieces) != 1:
        return _CONSTRAINED
    piece = pieces[0]
    if isinstance(piece, str):
        return _LITERAL
    if piece.is_rest:
        return _CONSTRAINED_REST if piece.checks else _REST
    return _CONSTRAINED if piece.checks else _PARAMETER


def _pieces(segment: str) -> list[str | Parameter]:
    """Return a segment's literal texts and parameters, in order; doubled braces are literal ones."""
    pieces: list[str | Parameter] = []
    position = 0
    while position < len(segment):
        if segment[position] == "{" and segment[position + 1 : position + 2] != "{":
            end = _closing(segment, position)
            pieces.append(_parameter(segment[position + 1 : end]))
            position = end + 1
            continue
        doubled = segment[position : position + 2] in ("{{", "}}")
        if pieces and isinstance(pieces[-1], str):
            pieces[-1] += segment[position]
        else:
            pieces.append(segment[position])
        position += 2 if doubled else 1
    return pieces


def _closing(segment: str, start: int) -> int:
    position = start + 1
    while position < len(segment):
        if segment[position : position + 2] in ("{{", "}}") and "(" in segment[start:position]:
            position += 2
            continue
        if segment[position] == "}":
            return position
        position += 1
    raise HostError(f"Route segment '{segment}' has an unclosed brace")


def _parameter(text: str) -> Parameter:
    is_rest = text.startswith("*")
    head, *constraints = _split(text.lstrip("*"), ":")
    tail = constraints[-1] if constraints else head
    optional = tail.endswith("?")
    tail = tail.removesuffix("?")
    default: str | None = None
    if "=" in tail and not tail.endswith(")"):
        tail, _, default = tail.partition("=")
    if constraints:
        constraints[-1] = tail
    else:
        head = tail
    if not re.fullmatch(r"[\w.-]+", head):
        raise HostError(f"'{{{text}}}' is not a route parameter")
    checks = tuple(_constraint(each) for each in constraints)
    shape = "{" + "*" * is_rest + ":".join(sorted(constraints)) + "}"
    return Parameter(head, checks, optional, default, is_rest, shape)


def _constraint(text: str) -> Check:
    name, parenthesis, rest = text.partition("(")
    return constraint(name.lower(), rest.removesuffix(")") if parenthesis else None)


def _split(text: str, separator: str) -> list[str]:
    """Split outside parentheses and braces, which may hold the separator as part of a regex."""
    parts, depth = [""], 0
    for character in text:
        depth += character in "({"
        depth -= character in ")}"
        if character == separator and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
