"""A value between two processes in pieces: reading one large pickle holds the interpreter until it is done."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

PIECE_BYTES: Final = 256 * 1024
#: Elements that are pickled together, where they are not larger than a piece.
GROUP: Final = 64
#: Containers within containers that are larger than a piece each.
LEVELS_AT_MOST: Final = 20


class NotCuttable(Exception):
    """The value is larger, or nested more deeply, than a result may be."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """A value in parts: pickles of several elements each, Pieces of one, or the value itself (`kind` None)."""

    kind: type | None
    parts: Sequence[bytes | str | Pieces]


def cut(value: Any, most: int) -> Pieces:
    """Return the value in pieces, which are `most` bytes together. Raises NotCuttable."""
    return _Cutter(most).cut(value, 0)


def joined(pieces: Pieces) -> Any:
    """Return the value that was cut. Only for what a process of our own cut."""
    if pieces.kind is None:
        return pieces.parts[0]
    elements: list[Any] = []
    for part in pieces.parts:
        if isinstance(part, Pieces):
            elements.append(joined(part))
        else:
            assert isinstance(part, bytes)
            elements.extend(pickle.loads(part))  # noqa: S301 - our own process wrote it
    if pieces.kind is _One:
        return elements[0]
    if dataclasses.is_dataclass(pieces.kind):
        names = (field.name for field in dataclasses.fields(pieces.kind))
        return pieces.kind(**dict(zip(names, elements, strict=True)))
    return pieces.kind(elements)


class _One:
    """The kind of a value that is pickled as it is."""


class _Cutter:
    def __init__(self, most: int) -> None:
        self._left = most

    def cut(self, value: Any, level: int) -> Pieces:
        if level > LEVELS_AT_MOST:
            raise NotCuttable
        if isinstance(value, str | bytes):
            self._take(len(value))
            return Pieces(None, (value,))
        if type(value) in (list, tuple):
            return Pieces(type(value), self._in_groups(value, level))
        if type(value) is dict:
            return Pieces(dict, self._in_groups(value.items(), level))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            # Each on its own: one field holds nearly all of it.
            fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
            return Pieces(type(value), [self.cut(field, level + 1) for field in fields])
        pickled = pickle.dumps([value], pickle.HIGHEST_PROTOCOL)
        self._take(len(pickled))
        return Pieces(_One, (pickled,))

    def _in_groups(self, elements: Iterable[Any], level: int) -> list[bytes | str | Pieces]:
        parts: list[bytes | str | Pieces] = []
        rest = iter(elements)
        while group := list(islice(rest, GROUP)):
            if any(isinstance(element, str | bytes) and len(element) > PIECE_BYTES for element in group):
                pickled = None
            else:
                pickled = pickle.dumps(group, pickle.HIGHEST_PROTOCOL)
            if pickled is not None and len(pickled) <= PIECE_BYTES:
                self._take(len(pickled))
                parts.append(pickled)
            else:
                parts += [self.cut(element, level + 1) for element in group]
        return parts

    def _take(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise NotCuttable
