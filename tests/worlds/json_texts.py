"""JSON as producers write it: texts of objects, for hypothesis."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st

#: Every form of RFC 8259: more digits than a float has, zeros at the end, exponents beyond its range, minus zero.
_signs = st.sampled_from(["", "-"])
_digits = st.integers(0, 10**40).map(str)
_fractions = st.just("") | st.builds(".{:0{}d}".format, st.integers(0, 10**30), st.integers(1, 40))
_exponents = st.just("") | st.builds(
    "{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 9_999)
)
numbers = st.builds("{}{}{}{}".format, _signs, _digits, _fractions, _exponents)
spaces = st.sampled_from(["", "", "", " ", "\n  ", "\t", "\r\n"])
_SHORT = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


@st.composite
def strings(draw: st.DrawFn) -> str:
    """Text between quotes; each character raw, by its short escape, or as the UTF-16 units of it in hex."""
    characters = st.characters(exclude_categories=["Cs"])
    return (
        '"' + "".join(_spelled(draw, character) for character in draw(st.text(characters, max_size=12))) + '"'
    )


def _spelled(draw: st.DrawFn, character: str) -> str:
    form = draw(st.sampled_from(["raw", "raw", "short", "hex", "HEX"]))
    if form == "short" and character in _SHORT:
        return _SHORT[character]
    if form in ("raw", "short") and character >= " " and character not in '"\\':
        return character
    units = character.encode("utf-16-be").hex()
    units = units.upper() if form == "HEX" else units
    return "".join("\\u" + units[start : start + 4] for start in range(0, len(units), 4))


@st.composite
def _objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    names = draw(st.lists(strings(), max_size=4, unique_by=json.loads))
    return "{" + _joined(draw, [f"{name}{draw(spaces)}:{draw(spaces)}{draw(values)}" for name in names]) + "}"


@st.composite
def _lists(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    return "[" + _joined(draw, draw(st.lists(values, max_size=4))) + "]"


def _joined(draw: st.DrawFn, parts: Sequence[str]) -> str:
    return ",".join(f"{draw(spaces)}{part}{draw(spaces)}" for part in parts) or draw(spaces)


_values = st.recursive(
    numbers | strings() | st.sampled_from(["true", "false", "null"]),
    lambda values: _objects(values) | _lists(values),
    max_leaves=8,
)
#: Objects with names that occur once.
objects = _objects(_values)
