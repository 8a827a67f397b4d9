"""What a model may say about a suggestion: nothing that the suggestion itself does not say."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

MAX_TITLE = 100
MAX_EXPLANATION = 400

WordedBy = Literal["model", "rules"]

_NUMBER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?")
_PLAIN_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_PLAIN_NUMBER = re.compile(r"[+$€£~=]*[0-9][0-9.,]*%?")
_BETWEEN_WORDS = re.compile(r"[\s/\u2010-\u2015-]+")
_AROUND_WORDS = ".,;:!?()\"'\u2018\u2019\u201c\u201d\u2026%"
_MARKUP = re.compile(r"[<>`*\[\]{}|\\@]|://|\bwww\.", re.IGNORECASE)
_QUOTED = re.compile(r"`([^`\s]+)`")
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
#: Abbreviations that every reader of a recommendation knows and that name no evidence.
_COMMON: Final = frozenset(
    {"i", "api", "apis", "http", "https", "id", "ids", "oauth", "tls", "url", "urls", "utc"}
)

#: Words that say how many. "One", "first" and "second" mostly say something else.
_COUNTING: Final[Mapping[str, int]] = {
    "zero": 0,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
}
#: Words that may only be repeated: no figure of the evidence proves them by itself.
_MEASURING: Final = (
    frozenset({"half", "halved", "third", "thirds", "quarter", "quarters", "tenfold", "twice"})
    | frozenset({"double", "doubled", "doubles", "triple", "tripled", "triples", "quadrupled"})
    | frozenset({"dozen", "dozens", "hundreds", "thousands", "millions", "billion", "billions"})
    | frozenset({"thirteen", "fourteen", "sixteen", "seventeen", "eighteen", "nineteen"})
)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A recommendation of the rules; `priority` 1 is the most urgent, within one the order given counts."""

    id: str
    kind: str
    title: str
    explanation: str
    evidence: Mapping[str, int | float | str]
    priority: int


@dataclass(frozen=True, slots=True)
class Worded:
    """The suggestions in the order to show them. `by_model` are the ids of those that the model worded."""

    suggestions: Sequence[Suggestion]
    by_model: frozenset[str] = frozenset()

    @property
    def worded_by(self) -> WordedBy:
        return "model" if self.by_model else "rules"


class ProposedText(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    title: str
    explanation: str


class Proposal(BaseModel):
    model_config = ConfigDict(extra="forbid")

    suggestions: list[ProposedText]


def by_rules(suggestions: Sequence[Suggestion]) -> Worded:
    return Worded(sorted(suggestions, key=lambda suggestion: suggestion.priority))


def accepted(suggestions: Sequence[Suggestion], proposal: Proposal) -> Worded:
    """Return the suggestions, none lost or added, with the acceptable texts of the proposal.

    The model orders only within a class of urgency, so that no text it read can push down what is urgent."""
    texts: dict[int, ProposedText] = {}
    twice: set[int] = set()
    for text in proposal.suggestions:
        if text.number in texts:
            twice.add(text.number)
        else:
            texts[text.number] = text
    ranks = {number: rank for rank, number in enumerate(texts)}
    ordered: list[tuple[int, int, Suggestion]] = []
    by_model: set[str] = set()
    for number, suggestion in enumerate(suggestions, 1):
        proposed = None if number in twice else texts.get(number)
        ordered.append((suggestion.priority, ranks.get(number, len(texts)), _worded(suggestion, proposed)))
        if ordered[-1][2] is not suggestion:
            by_model.add(suggestion.id)
    ordered.sort(key=lambda entry: entry[:2])
    return Worded([suggestion for _, _, suggestion in ordered], frozenset(by_model))


def is_faithful(text: str, suggestion: Suggestion) -> bool:
    """Return whether numbers, names and identifiers are all the suggestion's, without markup or address.

    The meaning of the words between them is **not** checked."""
    text = _unquoted(text, suggestion)
    if _MARKUP.search(text) or any(_is_odd(character) for character in text):
        return False
    source = _Source.of(suggestion)
    starts = True
    for piece in _BETWEEN_WORDS.split(text):
        bare = piece.strip(_AROUND_WORDS)
        if bare and not source.knows(bare, starts_sentence=starts):
            return False
        starts = piece.rstrip("\"')\u201d\u2019").endswith((".", "!", "?")) if piece else starts
    return True


@dataclass(frozen=True, slots=True)
class _Source:
    words: frozenset[str]
    numbers: frozenset[Decimal]

    @classmethod
    def of(cls, suggestion: Suggestion) -> _Source:
        values = [str(value) for value in suggestion.evidence.values()]
        said = _unquoted(" ".join([suggestion.title, suggestion.explanation, *values]), suggestion)
        named = " ".join([said, suggestion.kind, *suggestion.evidence])
        words = {piece.strip(_AROUND_WORDS).casefold() for piece in _BETWEEN_WORDS.split(named)}
        return cls(frozenset(words), frozenset(_numbers(said)))

    def knows(self, word: str, *, starts_sentence: bool) -> bool:
        folded = word.replace("\u2019", "'").casefold().removesuffix("'s")
        if folded in self.words:
            return True
        if _PLAIN_NUMBER.fullmatch(word):
            return self.numbers.issuperset(_numbers(word))
        if not _PLAIN_WORD.fullmatch(word):
            return False
        if folded in _MEASURING:
            return False
        if folded in _COUNTING:
            return Decimal(_COUNTING[folded]).normalize() in self.numbers
        is_name = any(letter.isupper() for letter in (word[1:] if starts_sentence else word))
        return not is_name or folded in _COMMON


def _unquoted(text: str, suggestion: Suggestion) -> str:
    """Return the text with backticks removed around what the suggestion itself quotes."""
    quoted = set(_QUOTED.findall(f"{suggestion.title} {suggestion.explanation}"))
    return _QUOTED.sub(lambda found: found[1] if found[1] in quoted else found[0], text)


def _worded(suggestion: Suggestion, proposed: ProposedText | None) -> Suggestion:
    if proposed is None:
        return suggestion
    title, explanation = (
        " ".join(unicodedata.normalize("NFC", text).split())
        for text in (proposed.title, proposed.explanation)
    )
    if not (0 < len(title) <= MAX_TITLE and 0 < len(explanation) <= MAX_EXPLANATION):
        return suggestion
    if not (is_faithful(title, suggestion) and is_faithful(explanation, suggestion)):
        return suggestion
    return replace(suggestion, title=title, explanation=explanation)


def _numbers(text: str) -> set[Decimal]:
    return {Decimal(found.replace(",", "")).normalize() for found in _NUMBER.findall(text)}


def _is_odd(character: str) -> bool:
    """Return whether a character is invisible, or a number that is not written in ASCII digits."""
    category = unicodedata.category(character)
    return category in _INVISIBLE or (category.startswith("N") and not character.isascii())
