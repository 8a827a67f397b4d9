"""Undoing the codings of an answer's body, within a bound."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Final

_PIECE_BYTES: Final = 1024
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
        undo = _UNDO.get(coding)
        if undo is None:
            return body, flaw or _UNKNOWN, False
        body, is_whole = undo(body, limit + 1)
        if len(body) > limit:
            body, flaw = body[:limit], flaw or _BEYOND.format(limit)
        elif not is_whole:
            flaw, is_all = flaw or _BROKEN.format(coding), False
    return body, flaw, is_all


def _gunzip(body: bytes, most: int) -> tuple[bytes, bool]:
    found, is_whole, rest = _inflate(body, most, zlib.MAX_WBITS | 16)
    while (
        is_whole and rest.startswith(b"\x1f\x8b") and len(found) < most
    ):  # RFC 1952: members follow one another
        more, is_whole, rest = _inflate(rest, most - len(found), zlib.MAX_WBITS | 16)
        found += more
    return found, is_whole


def _undeflate(body: bytes, most: int) -> tuple[bytes, bool]:
    """Take zlib's format (RFC 9110), and the bare one that many servers send under this name."""
    found, is_whole, _ = _inflate(body, most, zlib.MAX_WBITS)
    if not found and not is_whole:
        found, is_whole, _ = _inflate(body, most, -zlib.MAX_WBITS)
    return found, is_whole


def _inflate(body: bytes, most: int, window: int) -> tuple[bytes, bool, bytes]:
    undoing = zlib.decompressobj(window)
    found = bytearray()
    try:
        # In pieces: an error would take with it what the same call had undone.
        for start in range(0, len(body), _PIECE_BYTES):
            found += undoing.decompress(
                undoing.unconsumed_tail + body[start : start + _PIECE_BYTES], most - len(found)
            )
            if undoing.eof or len(found) >= most:
                return bytes(found), True, undoing.unused_data + body[start + _PIECE_BYTES :]
    except zlib.error:
        pass
    return bytes(found), False, b""


def _unbrotli(body: bytes, most: int) -> tuple[bytes, bool]:
    import brotli  # type: ignore[import-untyped]  # here: hardly any receiver compresses what was asked for as it is

    undoing = brotli.Decompressor()
    found = bytearray()
    try:
        for start in range(0, len(body), _PIECE_BYTES):
            found += undoing.process(body[start : start + _PIECE_BYTES], output_buffer_limit=most)
            while not undoing.can_accept_more_data() and len(found) < most:
                found += undoing.process(b"", output_buffer_limit=most)
            if undoing.is_finished() or len(found) >= most:
                return bytes(found[:most]), True
    except brotli.error:
        pass
    return bytes(found), False


_UNDO: Final[dict[str, Callable[[bytes, int], tuple[bytes, bool]]]] = {
    "gzip": _gunzip,
    "deflate": _undeflate,
    "br": _unbrotli,
}
