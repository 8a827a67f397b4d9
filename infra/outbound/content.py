"""Undoing the codings of an answer's body: what is beyond the bound, or broken, is cut off, and told.

Apart from `domain/core/codings.py`, because a webhook that comes in is refused for either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from domain.core.codings import undone

_BEYOND: Final = "The body was undone to {} bytes only"
_BROKEN: Final = "The body's {} coding is broken"
_UNKNOWN: Final = "The body's coding is not known"


def undo_codings(body: bytes, codings: Sequence[str], limit: int) -> tuple[bytes, str | None, bool]:
    """Return the body without its codings, at most `limit` bytes; what was wrong; whether all within `limit` is there.

    A broken body gives what came before the defect; one in a coding that is not known stays as it is."""
    flaw: str | None = None
    is_all = True
    for named in reversed(codings):
        coding = named.strip().lower().removeprefix("x-")
        if coding in ("", "identity"):
            continue
        found = undone(coding, body, limit + 1)
        if found is None:
            return body, flaw or _UNKNOWN, False
        body, is_whole = found
        if len(body) > limit:
            body, flaw = body[:limit], flaw or _BEYOND.format(limit)
        elif not is_whole:
            flaw, is_all = flaw or _BROKEN.format(coding), False
    return body, flaw, is_all
