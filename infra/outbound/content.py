"""Undoing the codings of an answer's body: what is beyond the bound, or broken, is cut off, and told.

Apart from `domain/providers/codings.py`, because a webhook that comes in is refused for either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from domain.providers.codings import undone

_BEYOND: Final = "The body was undone to {} bytes only"
_BROKEN: Final = "The body's {} coding is broken"
_UNKNOWN: Final = "The body's coding is not known"
_TOO_MANY: Final = "The body has too many codings"
_CODINGS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class UndoneBody:
    """A body without its codings.

    - `flaw` says what was wrong; `whole` is false when part of what is within the limit is missing.
    - `is_cut`: there was more beyond the limit."""

    body: bytes
    flaw: str | None = None
    whole: bool = True
    is_cut: bool = False


def undo_codings(body: bytes, codings: Sequence[str], limit: int) -> UndoneBody:
    """Return the body without its codings, at most `limit` bytes.

    A broken body gives what came before the defect; one in a coding that is not known stays as it is."""
    flaw: str | None = None
    is_all, is_cut = True, False
    applied = [named.strip().lower().removeprefix("x-") for named in codings]
    applied = [coding for coding in applied if coding not in ("", "identity")]
    if len(applied) > _CODINGS_MAX:
        return UndoneBody(body, _TOO_MANY, whole=False)
    for coding in reversed(applied):
        found = undone(coding, body, limit + 1)
        if found is None:
            return UndoneBody(body, flaw or _UNKNOWN, whole=False, is_cut=is_cut)
        body, is_whole = found
        if len(body) > limit:
            body, flaw, is_cut = body[:limit], flaw or _BEYOND.format(limit), True
        elif not is_whole:
            flaw, is_all = flaw or _BROKEN.format(coding), False
    return UndoneBody(body, flaw, is_all, is_cut)
