"""What a regular expression may cost: an automaton of it, and the ways in which a text can be read twice.

Python's `re` tries every way to match before it gives up. A pattern is linear when no text can go through two of its
loops in more ways than one. Two loops of the same letters, one behind the other or one in the other, are quadratic or
worse, and so is a search whose first loop may fail at the end: it begins anew at each letter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

#: A repeat of at most this many is no loop, where no other repeat holds it.
COUNTED = 260
#: A repeat of at most this many is written out, also where another holds it.
UNROLLED = 8
#: One letter for each way in which patterns tell letters apart.
_LETTERS = frozenset(map(chr, range(256))) | frozenset(
    "\u0130\u2028\u3000\ud800\U0001f600\u00df\u0416\u2010\u3002"
)
_ALL = _LETTERS | {"\U0010fffd"}
_BEGINNINGS = ((codes.AT, codes.AT_BEGINNING), (codes.AT, codes.AT_BEGINNING_STRING))
_SEARCHES = frozenset(("search", "sub", "subn", "split", "findall", "finditer"))


@dataclass(slots=True)
class Automaton:
    """Glushkov's: a position for each letter of the pattern, `follow` says which comes next."""

    letters: list[frozenset[str]] = field(default_factory=list)
    follow: list[set[int]] = field(default_factory=list)
    #: Steps that there are two ways to take, as `(a+)+` repeats its letter by either loop.
    doubled: set[tuple[int, int]] = field(default_factory=set)
    #: Positions behind which the pattern asks for something that is no letter: an end, a look ahead.
    asked: set[int] = field(default_factory=set)
    first: set[int] = field(default_factory=set)
    is_anchored: bool = False
    begins_lines: bool = False
    last: set[int] = field(default_factory=set)

    def add(self, letters: frozenset[str]) -> int:
        self.letters.append(letters)
        self.follow.append(set())
        return len(self.letters) - 1


@dataclass(slots=True)
class _Part:
    is_empty: bool
    first: set[int]
    last: set[int]


def automaton_of(pattern: str | bytes, flags: int = 0) -> Automaton:
    """Build the automaton. Counted repeats are kept short, as they multiply the cost by a constant."""
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    tree = parser.parse(text, flags)
    made = Automaton()
    begins = tree[0] if len(tree) else None
    made.is_anchored = begins in _BEGINNINGS and not tree.state.flags & re.MULTILINE
    made.begins_lines = begins in _BEGINNINGS and bool(tree.state.flags & re.MULTILINE)
    part = _sequence(made, tree, tree.state.flags, inside=False)
    made.first, made.last = part.first, part.last
    return made


def _sequence(made: Automaton, items: Any, flags: int, *, inside: bool) -> _Part:
    whole = _Part(True, set(), set())
    for item in items:
        whole = _joined(made, whole, _part(made, item, flags, inside=inside))
        if item[0] in (codes.AT, codes.ASSERT, codes.ASSERT_NOT):
            made.asked |= whole.last
    return whole


def _part(made: Automaton, item: tuple[Any, Any], flags: int, *, inside: bool) -> _Part:
    code, value = item
    if code in (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN):
        position = made.add(_letters(code, value, flags))
        return _Part(False, {position}, {position})
    if code is codes.BRANCH:
        parts = [_sequence(made, branch, flags, inside=inside) for branch in value[1]]
        return _Part(
            any(part.is_empty for part in parts),
            set().union(*(part.first for part in parts)),
            set().union(*(part.last for part in parts)),
        )
    if code is codes.SUBPATTERN:
        _, added, removed, inner = value
        return _sequence(made, inner, (flags | added) & ~removed, inside=inside)
    if code is codes.ATOMIC_GROUP:
        return _sequence(made, value, flags, inside=inside)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return _repeated(made, value, flags, inside=inside)
    if code in (codes.AT, codes.ASSERT, codes.ASSERT_NOT):
        return _Part(True, set(), set())
    if code is codes.GROUPREF:  # a copy of what was read, which may be any text
        position = made.add(frozenset())
        return _Part(True, {position}, {position})
    raise NotImplementedError(code)


def _repeated(made: Automaton, value: tuple[int, Any, Any], flags: int, *, inside: bool) -> _Part:
    least, most, inner = value
    if most is codes.MAXREPEAT or most > (UNROLLED if inside else COUNTED):
        part = _sequence(made, inner, flags, inside=True)
        for position in part.last:
            made.doubled |= {(position, after) for after in made.follow[position] & part.first}
            made.follow[position] |= part.first
        return _Part(part.is_empty or least == 0, part.first, part.last)
    if not inside and most > UNROLLED:
        least, most = min(least, 1), 2
    copy = (codes.SUBPATTERN, (None, 0, 0, inner))
    part = _sequence(made, [copy] * least, flags, inside=inside or most > 1)
    return _joined(made, part, _optional(made, copy, most - least, flags, inside=inside or most > 1))


def _optional(made: Automaton, copy: Any, times: int, flags: int, *, inside: bool) -> _Part:
    """At most so many copies, each beneath the one before it, as a repeat takes them."""
    if times == 0:
        return _Part(True, set(), set())
    first = _part(made, copy, flags, inside=inside)
    whole = _joined(made, first, _optional(made, copy, times - 1, flags, inside=inside))
    return _Part(True, whole.first, whole.last)


def _joined(made: Automaton, one: _Part, other: _Part) -> _Part:
    for position in one.last:
        made.follow[position] |= other.first
    return _Part(
        one.is_empty and other.is_empty,
        one.first | other.first if one.is_empty else one.first,
        one.last | other.last if other.is_empty else other.last,
    )


def _letters(code: Any, value: Any, flags: int) -> frozenset[str]:
    known = _ALL
    if code is codes.ANY:
        return known if flags & re.DOTALL else known - {"\n"}
    if code is codes.LITERAL:
        return _cased({chr(value)}, flags)
    if code is codes.NOT_LITERAL:
        return frozenset(known - _cased({chr(value)}, flags))
    found: set[str] = set()
    is_negated = False
    for kind, inner in value:
        if kind is codes.NEGATE:
            is_negated = True
        elif kind is codes.LITERAL:
            found.add(chr(inner))
        elif kind is codes.RANGE:
            found |= {letter for letter in known if inner[0] <= ord(letter) <= inner[1]}
        else:
            name = {
                codes.CATEGORY_DIGIT: r"\d", codes.CATEGORY_NOT_DIGIT: r"\D", codes.CATEGORY_SPACE: r"\s",
                codes.CATEGORY_NOT_SPACE: r"\S", codes.CATEGORY_WORD: r"\w", codes.CATEGORY_NOT_WORD: r"\W",
            }[inner]  # fmt: skip
            found |= {letter for letter in known if re.match(name, letter)}
    cased = _cased(found, flags)
    return frozenset(known - cased) if is_negated else cased


def _cased(letters: set[str], flags: int) -> frozenset[str]:
    if not flags & re.IGNORECASE:
        return frozenset(letters)
    return frozenset(letters | {other for letter in letters for other in (letter.lower(), letter.upper())})


def flaw_of(pattern: str | bytes, flags: int = 0, *, is_search: bool = True) -> str | None:
    """Say how the pattern costs more than linear time, None when it does not."""
    made = automaton_of(pattern, flags)
    is_search = is_search and not made.is_anchored
    start = -1
    if is_search:
        start = made.add(_ALL)
        if made.begins_lines:
            line_end = made.add(frozenset("\n"))
            made.follow[line_end] = set(made.first)
            made.follow[start] = {start, line_end}
        else:
            made.follow[start] = {start, *made.first}
    reach = [_reached(made, position) for position in range(len(made.letters))]
    loops = [position for position in range(len(made.letters)) if position in reach[position]]
    for early in loops:
        circle = {other for other in reach[early] if early in reach[other]}
        if _is_read_twice(made, early, circle):
            return "a text can go round one loop in two ways: exponential"
    for early in loops:
        for late in loops:
            if early == late or late not in reach[early] or early in reach[late]:
                continue
            ends = made.last - made.asked
            if late in ends and late in made.follow[late] and made.letters[late] == _ALL:
                continue  # whatever comes is taken
            # Where a loop passes an end, the search has found something, and goes on behind it.
            third = {place for place in reach[late] if late in reach[place]} - (
                ends if early == start else set()
            )
            if late in third and _is_shared(made, reach, early, late, third):
                return (
                    "a search begins anew at each letter of a loop that may fail: quadratic"
                    if early == start
                    else "two loops behind one another take the same text: quadratic"
                )
    return None


def _reached(made: Automaton, position: int) -> set[int]:
    found: set[int] = set()
    waiting = list(made.follow[position])
    while waiting:
        here = waiting.pop()
        if here not in found:
            found.add(here)
            waiting += made.follow[here]
    return found


def _is_read_twice(made: Automaton, one: int, circle: set[int]) -> bool:
    """Whether some text leads from `one` back to it in two ways."""
    seen: set[tuple[int, int, bool]] = set()
    waiting = [(one, one, False)]
    while waiting:
        left, right, apart = waiting.pop()
        for a in made.follow[left] & circle:
            for b in made.follow[right] & circle:
                if not made.letters[a] & made.letters[b]:
                    continue
                state = (a, b, apart or a != b or (left, a) in made.doubled)
                if state == (one, one, True):
                    return True
                if state not in seen:
                    seen.add(state)
                    waiting.append(state)
    return False


def _is_shared(made: Automaton, reach: list[set[int]], one: int, other: int, third: set[int]) -> bool:
    """Whether some text leads from `one` to itself, from `one` to `other`, and from `other` to itself."""
    first = {place for place in reach[one] if one in reach[place]}
    middle = {place for place in reach[one] if other in reach[place]} | third
    seen: set[tuple[int, int, int]] = set()
    waiting = [(one, one, other)]
    while waiting:
        a, b, c = waiting.pop()
        for next_a in made.follow[a] & first:
            for next_c in made.follow[c] & third:
                both = made.letters[next_a] & made.letters[next_c]
                if not both:
                    continue
                for next_b in made.follow[b] & middle:
                    state = (next_a, next_b, next_c)
                    if not both & made.letters[next_b] or state in seen:
                        continue
                    if state == (one, other, other):
                        return True
                    seen.add(state)
                    waiting.append(state)
    return False


@dataclass(frozen=True, slots=True)
class Use:
    """A pattern of the source: where it stands, and whether any use of it searches."""

    where: str
    name: str
    pattern: str | bytes
    flags: int
    is_search: bool


def uses_of(path: Path, root: Path) -> Iterator[Use]:
    """Find the patterns that a module gives to `re`. What is no constant has its parts taken for one letter each."""
    text = path.read_text()
    tree = ast.parse(text)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str | bytes)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    names = {
        id(node.value): target.id if isinstance(target, ast.Name) else target.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name | ast.Attribute)
    }
    for node in ast.walk(tree):
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in (*_SEARCHES, "compile", "match", "fullmatch")
        ):
            continue
        pattern = _constant(node.args[0], constants)
        flags = 0
        for flag in [*node.args[1:], *(keyword.value for keyword in node.keywords)]:
            for name in re.findall(r"re\.([A-Z]+)", ast.unparse(flag)):
                flags |= getattr(re, name)
        name = names.get(id(node), "")
        if node.func.attr == "compile":
            called = set(re.findall(rf"\b{re.escape(name)}\.(\w+)\(", text)) if name else set()
            is_search = not called or bool(called & _SEARCHES)
        else:
            is_search = node.func.attr in _SEARCHES
        yield Use(str(path.relative_to(root)), name, pattern, flags, is_search)


def _constant(node: ast.expr, constants: dict[str, str | bytes]) -> str | bytes:
    if isinstance(node, ast.Constant):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "\u0416" for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _constant(node.left, constants) + _constant(node.right, constants)  # type: ignore[operator]
    return "\u0416"
