"""JSON text that is kept as it came: checked and cut out without being written anew, numbers included."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, NoReturn, TypeVar

import jiter
import msgspec
from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from domain.core.errors import FieldError, ValidationFailed, json_pointer

M = TypeVar("M", bound=BaseModel)

DIGITS_AT_MOST = 4_300
LEVELS_AT_MOST = 200
_MEMBERS_AT_MOST = 1_000
#: A larger text is not built as values a second time to tell what is wrong with it.
EXPLAINED_BYTES = 128 * 1024
_ERRORS_SHOWN = 100
_TOO_DEEP = f"A value may lie beneath at most {LEVELS_AT_MOST} others."
_HALF_A_PAIR = "half a surrogate pair, which is no character"
_SURROGATE = re.compile("[\ud800-\udfff]")
_quoted = json.encoder.encode_basestring
_quoted_in_ascii = json.encoder.encode_basestring_ascii


class MalformedJson(ValueError):
    """The text is not JSON at all."""


class JsonText:
    """A JSON value as text. An answer and an event carry it unchanged."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"JsonText({len(self.text)} characters)"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take the text of an object, or an object that is written as text."""

        def kept(value: Any, validated: Callable[[Any], Any]) -> JsonText:
            if isinstance(value, JsonText):
                if not value.text.startswith("{"):
                    raise PydanticCustomError("dict_type", "Input should be an object")
                return value
            return cls(compact_json(validated(value)))

        object_schema = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        return core_schema.no_info_wrap_validator_function(kept, object_schema)


class Number(float):
    """A number that knows how it was written, such as `10.10` or `1e400`."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _whole_number(text: str) -> int | Number:
    return Number(text) if text == "-0" or len(text.removeprefix("-")) > DIGITS_AT_MOST else int(text)


def read_json(text: str | bytes) -> Any:
    """Do what `json.loads` does, with numbers that `compact_json` writes as they were written."""
    return json.loads(text, parse_float=Number, parse_int=_whole_number)


def compact_json(value: Any, *, is_canonical: bool = False) -> str:
    """Return JSON text without spaces; the canonical one has sorted names and only ASCII.

    Raises ValueError for what JSON cannot hold, TypeError for what is no JSON value, RecursionError."""
    text = _written(value, is_canonical=is_canonical)
    text.encode()
    return text


def _written(value: Any, *, is_canonical: bool) -> str:
    if isinstance(value, str):
        return str(_quoted_in_ascii(value) if is_canonical else _quoted(value))
    if isinstance(value, Number):
        return value.text
    if isinstance(value, Mapping):
        quote = _quoted_in_ascii if is_canonical else _quoted
        members = sorted(value.items()) if is_canonical else value.items()
        inner = (f"{quote(name)}:{_written(item, is_canonical=is_canonical)}" for name, item in members)
        return "{" + ",".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_written(item, is_canonical=is_canonical) for item in value) + "]"
    return json.dumps(value, allow_nan=False)


def check_json(body: bytes) -> None:
    """Check that the bytes are JSON that every receiver reads alike.

    Raises MalformedJson, or ValidationFailed with the place of each name that occurs twice in its object, NaN,
    infinity, half a surrogate pair, whole number of more than 4,300 digits, and value beneath more than 200."""
    try:
        with _uncollected():
            jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="lossless-float")
    except ValueError as error:
        _explain(body, str(error))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the collector away from values that are dropped at once: it takes as long as making them."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def read_kept(model: type[M], body: bytes, cut: Callable[[], Mapping[str, Any]]) -> M:
    """Return the model of what `cut` takes out of the body.

    Raises pydantic's ValidationError in words of JSON, and what `check_json` raises."""
    check_json(body)
    try:
        return model.model_validate(cut(), by_alias=True, by_name=False)
    except (MalformedJson, ValidationError):
        if len(body) <= EXPLAINED_BYTES:
            model.model_validate_json(body, by_alias=True, by_name=False)
        raise


def cut_members(body: bytes, kept: str) -> dict[str, Any]:
    """Return the members of an object: `kept` as its text, the others as values.

    Raises MalformedJson, or ValidationFailed for more than 1,000 of them."""
    try:
        parts = _OBJECT.decode(body)
        if len(parts) > _MEMBERS_AT_MOST:
            detail = f"An object may have {_MEMBERS_AT_MOST:,} members here."
            raise ValidationFailed("The body is not valid; see errors.", [FieldError("", detail)])
        return _members(parts, kept)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedJson(str(error)) from None


def _members(parts: Mapping[str, msgspec.Raw], kept: str) -> dict[str, Any]:
    return {
        name: JsonText(str(memoryview(part), "utf-8"))
        if name == kept and part != _NULL
        else json.loads(bytes(part))
        for name, part in parts.items()
    }


_NULL: Final = msgspec.Raw(b"null")
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class _Constant:
    """NaN or an infinity, which Python's parser takes."""

    name: str


@dataclass(frozen=True, slots=True)
class _Object:
    """An object with every member, also those whose name occurs before."""

    members: Sequence[tuple[str, Any]]


def _explain(body: bytes, reason: str) -> NoReturn:
    """Raise what is wrong with the body, which the strict parser refused for `reason`."""
    try:
        tree = json.loads(
            body.decode(),
            parse_int=_whole_number,
            parse_constant=_Constant,
            object_pairs_hook=_Object,
        )
        errors = list(islice(_flaws(tree, ()), _ERRORS_SHOWN))
    except RecursionError:
        errors = [FieldError("", _TOO_DEEP)]
    except ValueError:
        raise MalformedJson(reason) from None
    if not errors:
        raise MalformedJson(reason)
    raise ValidationFailed("The body is not valid; see errors.", errors)


def _flaws(value: Any, path: tuple[str | int, ...]) -> Iterator[FieldError]:
    detail = _flaw(value, len(path))
    if detail is not None:
        yield FieldError(json_pointer(*path), detail)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flaws(item, (*path, index))
    elif isinstance(value, _Object):
        seen: set[str] = set()
        for name, item in value.members:
            if name in seen:
                yield FieldError(json_pointer(*path, name), "The name occurs twice in its object.")
            seen.add(name)
            if _is_cut(name):
                yield FieldError(json_pointer(*path), f"A name holds {_HALF_A_PAIR}.")
            yield from _flaws(item, (*path, name))


def _flaw(value: Any, depth: int) -> str | None:
    if depth > LEVELS_AT_MOST:
        return _TOO_DEEP
    if isinstance(value, _Constant):
        return f"{value.name} is not JSON."
    if isinstance(value, str) and _is_cut(value):
        return f"The text holds {_HALF_A_PAIR}."
    if isinstance(value, Number) and len(value.text.removeprefix("-")) > DIGITS_AT_MOST:
        return f"A whole number may have {DIGITS_AT_MOST:,} digits."
    return None


def _is_cut(text: str) -> bool:
    return _SURROGATE.search(text) is not None
