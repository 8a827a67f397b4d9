"""Where a person occurs in JSON, and what is left of it without the person: pure functions."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote_plus
from uuid import UUID

ERASED = "[erased]"
_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
#: A number that is shorter is an amount or a count sooner than an id.
_DIGITS = 6
#: Letters of what is likely the name of a member.
_SHORT = 24


class Found(IntEnum):
    """How a value has to do with the person. `About`: it is about the person altogether."""

    Nothing = 0
    Within = 1
    About = 2


class Person(Protocol):
    """Somebody who can be recognised."""

    def is_named(self, text: str) -> bool:
        """Whether the whole text is an identifier."""

    def without(self, text: str) -> str:
        """The text with identifiers that occur in it replaced."""

    def may_occur(self, text: str) -> bool:
        """False only when JSON text without escapes has nothing to do with the person; quick."""


class IdentifiedPerson:
    """Somebody whose identifiers are known."""

    def __init__(self, identifiers: Collection[str]) -> None:
        self._known = frozenset(normalised(identifier) for identifier in identifiers)
        texts = {one for raw in identifiers for one in (raw, normalised(raw))}
        ordered = sorted(texts, key=len, reverse=True)
        # Not a part of a longer word, address or number: `ann@a.example` is not in `joann@a.example`.
        inner = "|".join(re.escape(one) for one in ordered)
        self._within = (
            re.compile(rf"(?<![\w.+%@-])(?:{inner})(?!\.?[\w@-])", re.IGNORECASE) if inner else None
        )

    def is_named(self, text: str) -> bool:
        return normalised(text) in self._known

    def without(self, text: str) -> str:
        return self._within.sub(ERASED, text) if self._within else text

    def may_occur(self, text: str) -> bool:
        plain = unicodedata.normalize("NFKC", text).casefold()
        return any(one in plain for one in self._known)


class DigestedPerson:
    """Somebody of whom only keyed digests are kept: whole values and e-mail addresses are recognised."""

    def __init__(self, key: bytes, digests: Collection[str]) -> None:
        self._key = key
        self._digests = frozenset(digests)
        # The names of members are the same in every record.
        self._repeated = lru_cache(maxsize=1_000)(self._is_named)

    def is_named(self, text: str) -> bool:
        return self._repeated(text) if len(text) <= _SHORT else self._is_named(text)

    def _is_named(self, text: str) -> bool:
        return digest_of(self._key, text) in self._digests

    def without(self, text: str) -> str:
        if "@" not in text:
            return text
        return _EMAIL.sub(lambda found: ERASED if self.is_named(found[0]) else found[0], text)

    def may_occur(self, text: str) -> bool:
        return True

    def holds(self, integration_id: UUID, stream: str, external_id: str) -> bool:
        """Whether the record with these ids is suppressed."""
        name = record_name(integration_id, stream, external_id)
        return digest_of(self._key, name) in self._digests or self.is_named(external_id)


def normalised(identifier: str) -> str:
    """One spelling of an identifier: NFKC, no case, no `mailto:`."""
    plain = identifier if identifier.isascii() else unicodedata.normalize("NFKC", identifier)
    plain = plain.strip().casefold()
    return plain.removeprefix("mailto:").removeprefix("tel:")


def digest_of(key: bytes, identifier: str) -> str:
    """Keyed BLAKE2b (RFC 7693) of the normalised identifier: without the key nobody can try addresses against it.
    Chosen for its speed: a sync takes it of every value."""
    text = normalised(identifier).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=key, digest_size=32).hexdigest()


def record_name(integration_id: UUID, stream: str, external_id: str) -> str:
    """What stands for a record among identifiers."""
    return f"record:{integration_id}:{stream}:{external_id}"


def without_person(text: str, person: Person) -> tuple[str, Found]:
    """JSON text without the person. The smallest object that names the person is about it, so that all of its
    values become null; where an identifier occurs within a longer text, that part is replaced."""
    if "\\" not in text and not person.may_occur(text):
        return text, Found.Nothing
    try:
        value, found = _without(json.loads(text), person)
    except (ValueError, RecursionError):
        plain = person.without(text)
        if person.is_named(text):
            return json.dumps(ERASED), Found.About
        return plain, Found.Within if plain != text else Found.Nothing
    if found == Found.Nothing:
        return text, found
    return json.dumps(value, sort_keys=True, separators=(",", ":")), found


def occurs_in(text: str, person: Person) -> bool:
    """Whether the person occurs in a request's body: JSON, a form, or any text."""
    if without_person(text, person)[1] != Found.Nothing:
        return True
    return any(person.without(form) != form for form in (text, unquote_plus(text)))


def _without(value: Any, person: Person) -> tuple[Any, Found]:
    if isinstance(value, str):
        if person.is_named(value):
            return None, Found.About
        plain = person.without(value)
        return plain, Found.Within if plain != value else Found.Nothing
    if isinstance(value, int) and len(str(value)) >= _DIGITS:
        return (None, Found.About) if person.is_named(str(value)) else (value, Found.Nothing)
    if isinstance(value, list):
        return _without_in_list(value, person)
    if isinstance(value, dict):
        return _without_in_object(value, person)
    return value, Found.Nothing


def _without_in_list(items: list[Any], person: Person) -> tuple[Any, Found]:
    made = [_without(item, person) for item in items]
    found = max((one for _, one in made), default=Found.Nothing)
    scalars = any(
        one == Found.About and not isinstance(raw, dict | list)
        for raw, (_, one) in zip(items, made, strict=True)
    )
    if scalars:
        return [], Found.About
    return [one for one, _ in made], min(found, Found.Within)


def _without_in_object(members: Mapping[str, Any], person: Person) -> tuple[Any, Found]:
    made: dict[str, Any] = {}
    found = Found.Nothing
    for name, item in members.items():
        if person.is_named(name):
            found = max(found, Found.Within)  # what is kept under the person's name goes with it
            continue
        kept, one = _without(item, person)
        if one == Found.About and (not isinstance(item, dict) or len(members) == 1):
            return _blank(members, person), Found.About
        made[person.without(name)] = kept
        found = max(found, min(one, Found.Within))
    return made, found


def _blank(value: Any, person: Person) -> Any:
    """The same shape without any value."""
    if isinstance(value, Mapping):
        return {person.without(name): _blank(item, person) for name, item in value.items()}
    return [] if isinstance(value, list) else None
