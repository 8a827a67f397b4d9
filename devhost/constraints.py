"""Route constraints: which text a parameter of a route template accepts.

Source: https://learn.microsoft.com/aspnet/core/fundamentals/routing#route-constraints
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from uuid import UUID

from devhost.errors import HostError

Check = Callable[[str], bool]

_INTEGER = re.compile(r"[+-]?[0-9]+")
_GUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DATE_FORMATS = ("%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%m-%d-%Y")


def constraint(name: str, argument: str | None) -> Check:
    """Return the check that a constraint such as `min(1)` stands for. Raises HostError for an unknown one."""
    if argument is None:
        if name in _PLAIN:
            return _PLAIN[name]
    elif name in _WITH_ARGUMENT:
        try:
            return _WITH_ARGUMENT[name](argument)
        except (ValueError, re.error) as error:
            raise HostError(f"Route constraint '{name}({argument})': {error}") from error
    raise HostError(f"Unknown route constraint '{name}'" + ("" if argument is None else f"({argument})"))


def _is_integer(bits: int) -> Check:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return lambda text: _INTEGER.fullmatch(text) is not None and low <= int(text) <= high


def _is_guid(text: str) -> bool:
    try:
        bare = text[1:-1] if text[:1] + text[-1:] in ("{}", "()") else text
        return _GUID.fullmatch(bare) is not None and UUID(bare) is not None
    except ValueError:
        return False


def _is_decimal(text: str) -> bool:
    try:
        return "e" not in text.lower() and Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _is_double(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


def _is_datetime(text: str) -> bool:
    for parse in (datetime.fromisoformat, *(_strptime(each) for each in _DATE_FORMATS)):
        try:
            parse(text)
        except ValueError:
            continue
        return True
    return False


def _strptime(pattern: str) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, pattern)  # noqa: DTZ007 - only whether it parses


def _at_least(argument: str) -> Check:
    low, is_long = int(argument), _is_integer(64)
    return lambda text: is_long(text) and int(text) >= low


def _at_most(argument: str) -> Check:
    high, is_long = int(argument), _is_integer(64)
    return lambda text: is_long(text) and int(text) <= high


def _within(argument: str) -> Check:
    low, high = (int(part) for part in argument.split(","))
    is_long = _is_integer(64)
    return lambda text: is_long(text) and low <= int(text) <= high


def _of_length(argument: str) -> Check:
    bounds = [int(part) for part in argument.split(",")]
    low, high = bounds[0], bounds[-1]
    return lambda text: low <= len(text) <= high


def _min_length(argument: str) -> Check:
    low = int(argument)
    return lambda text: len(text) >= low


def _max_length(argument: str) -> Check:
    high = int(argument)
    return lambda text: len(text) <= high


def _matches(argument: str) -> Check:
    # Braces and brackets are doubled in a template to tell them from the template's own.
    for twice in "{}[]":
        argument = argument.replace(twice * 2, twice)
    pattern = re.compile(argument, re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


_PLAIN: dict[str, Check] = {
    "int": _is_integer(32),
    "long": _is_integer(64),
    "bool": lambda text: text.lower() in ("true", "false"),
    "guid": _is_guid,
    "alpha": lambda text: text.isascii() and (text.isalpha() or not text),
    "decimal": _is_decimal,
    "double": _is_double,
    "float": _is_double,
    "datetime": _is_datetime,
    "required": bool,
}
_WITH_ARGUMENT: dict[str, Callable[[str], Check]] = {
    "min": _at_least,
    "max": _at_most,
    "range": _within,
    "length": _of_length,
    "minlength": _min_length,
    "maxlength": _max_length,
    "regex": _matches,
}
