"""The length of text as SQL Server's NVARCHAR counts it; apart, because models, use cases and adapters must agree.

A column of 200 takes 200 UTF-16 units; a character outside the Basic Multilingual Plane, such as an emoji, is two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from annotated_types import BaseMetadata
from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError


def utf16_units(text: str) -> int:
    """Return the length of a text in UTF-16 units; half of a pair counts as one."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, most: int) -> str:
    """Return the beginning of a text that has at most `most` UTF-16 units, without half of a character."""
    if 2 * len(text) <= most or utf16_units(text) <= most:
        return text
    kept = text[:most].encode("utf-16-le", "surrogatepass")[: 2 * most]
    return kept.decode("utf-16-le", "ignore")


@dataclass(frozen=True)
class TextConstraints(StringConstraints):
    """Pydantic's constraints of a text, of which `max_length` counts UTF-16 units."""

    def __iter__(self) -> Iterator[BaseMetadata]:
        yield from super().__iter__()
        if self.max_length is not None:
            yield AfterValidator(_AtMost(self.max_length))  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class _AtMost:
    """Refuse a text of more than `most` UTF-16 units, in the words that pydantic has for one that is too long."""

    most: int

    def __call__(self, text: str) -> str:
        if 2 * len(text) > self.most and utf16_units(text) > self.most:
            raise PydanticCustomError(
                "string_too_long",
                "String should have at most {max_length} characters, where an emoji counts as two",
                {"max_length": self.most},
            )
        return text
