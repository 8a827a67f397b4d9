"""Pure functions that find a person in JSON text, and return the text without the person."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote_plus
from uuid import UUID

from domain.core.json_text import compact_json, read_json
from domain.core.normal_form import nfkc

ERASED = "[erased]"
# Takes every run of such letters, address or not: a search for addresses alone begins anew at each letter of a run.
_RUN = re.compile(r"[\w.+%-]+(?:@[\w-]+(?:\.[\w-]+)+)?")
#: A shorter number is more likely an amount or a count than an id.
_ID_DIGITS = 6
#: A longer text is unlikely the name of a member.
_MEMBER_NAME_CHARACTERS = 24


class Found(IntEnum):
    """What a value has to do with the person: nothing, it mentions the person, or it is about the person."""

    Nothing = 0
    Within = 1
    About = 2


class Person(Protocol):
    def is_named(self, text: str) -> bool: ...

    def without(self, text: str) -> str: ...

    def may_occur(self, text: str) -> bool:
        """Return False only for JSON text without escapes that has nothing to do with the person; fast."""


class IdentifiedPerson:
    """A person whose identifiers are known."""

    def __init__(self, identifiers: Collection[str]) -> None:
        self._known = frozenset(normalised(identifier) for identifier in identifiers)
        spellings = {text for raw in identifiers for text in (raw, normalised(raw))}
        longest_first = sorted(spellings, key=len, reverse=True)
        # Not a part of a longer word, address or number: `ann@a.example` is not in `joann@a.example`.
        inner = "|".join(re.escape(text) for text in longest_first)
        self._within = (
            re.compile(rf"(?<![\w.+%@-])(?:{inner})(?!\.?[\w@-])", re.IGNORECASE) if inner else None
        )

    def is_named(self, text: str) -> bool:
        return normalised(text) in self._known

    def without(self, text: str) -> str:
        return self._within.sub(ERASED, text) if self._within else text

    def may_occur(self, text: str) -> bool:
        plain = nfkc(text).casefold()
        return any(identifier in plain for identifier in self._known)


class DigestedPeople:
    """The suppressed people, of whom only keyed digests are stored: whole values and e-mail addresses match."""

    def __init__(self, key: bytes, digests: Collection[str]) -> None:
        self._key = key
        self._digests = frozenset(digests)
        # Names of members are the same in every record.
        self._repeated = lru_cache(maxsize=1_000)(self._is_named)

    def is_named(self, text: str) -> bool:
        return self._repeated(text) if len(text) <= _MEMBER_NAME_CHARACTERS else self._is_named(text)

    def _is_named(self, text: str) -> bool:
        return digest_of(self._key, text) in self._digests

    def without(self, text: str) -> str:
        if "@" not in text:
            return text
        return _RUN.sub(self._unless_named, text)

    def _unless_named(self, found: re.Match[str]) -> str:
        return ERASED if "@" in found[0] and self.is_named(found[0]) else found[0]

    def may_occur(self, text: str) -> bool:
        return True

    def holds(self, integration_id: UUID, stream: str, external_id: str) -> bool:
        name = record_name(integration_id, stream, external_id)
        return digest_of(self._key, name) in self._digests or self.is_named(external_id)


def normalised(identifier: str) -> str:
    """Return the one spelling of an identifier: NFKC, no case, no `mailto:` or `tel:`."""
    plain = nfkc(identifier).strip().casefold()
    return plain.removeprefix("mailto:").removeprefix("tel:")


def digest_of(key: bytes, identifier: str) -> str:
    """Return the keyed BLAKE2b digest (RFC 7693) of the normalised identifier; it is fast, for syncs."""
    text = normalised(identifier).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, key=key, digest_size=32).hexdigest()


def record_name(integration_id: UUID, stream: str, external_id: str) -> str:
    return f"record:{integration_id}:{stream}:{external_id}"


def without_person(text: str, person: Person) -> tuple[str, Found]:
    """Return JSON text without the person, and what it had to do with the person.

    All values of the smallest object that names the person become null; within a longer text, the identifier
    is replaced. Text that is not JSON counts as one value."""
    if "\\" not in text and not person.may_occur(text):
        return text, Found.Nothing
    try:
        value, found = _without(read_json(text), person)
    except (ValueError, RecursionError):
        plain = person.without(text)
        if person.is_named(text):
            return json.dumps(ERASED), Found.About
        return plain, Found.Within if plain != text else Found.Nothing
    if found == Found.Nothing:
        return text, found
    return compact_json(value, is_canonical=True), found


def occurs_in(text: str, person: Person) -> bool:
    """Tell whether the person occurs in the body of a request: JSON, a form, or any text."""
    if without_person(text, person)[1] != Found.Nothing:
        return True
    return any(person.without(form) != form for form in (text, unquote_plus(text)))


def _without(value: Any, person: Person) -> tuple[Any, Found]:
    if isinstance(value, str):
        if person.is_named(value):
            return None, Found.About
        plain = person.without(value)
        return plain, Found.Within if plain != value else Found.Nothing
    if isinstance(value, int) and len(str(value)) >= _ID_DIGITS:
        return (None, Found.About) if person.is_named(str(value)) else (value, Found.Nothing)
    if isinstance(value, list):
        return _without_in_list(value, person)
    if isinstance(value, dict):
        return _without_in_object(value, person)
    return value, Found.Nothing


def _without_in_list(items: list[Any], person: Person) -> tuple[Any, Found]:
    results = [_without(item, person) for item in items]
    found = max((item_found for _, item_found in results), default=Found.Nothing)
    names_person = any(
        item_found == Found.About and not isinstance(item, dict | list)
        for item, (_, item_found) in zip(items, results, strict=True)
    )
    if names_person:
        return [], Found.About
    return [kept for kept, _ in results], min(found, Found.Within)


def _without_in_object(members: Mapping[str, Any], person: Person) -> tuple[Any, Found]:
    rest: dict[str, Any] = {}
    found = Found.Nothing
    for name, item in members.items():
        if person.is_named(name):
            found = max(found, Found.Within)  # a value under the person's name is left out with it
            continue
        kept, item_found = _without(item, person)
        if item_found == Found.About and (not isinstance(item, dict) or len(members) == 1):
            return _blank(members, person), Found.About
        rest[person.without(name)] = kept
        found = max(found, min(item_found, Found.Within))
    return rest, found


def _blank(value: Any, person: Person) -> Any:
    if isinstance(value, Mapping):
        return {person.without(name): _blank(item, person) for name, item in value.items()}
    return [] if isinstance(value, list) else None
