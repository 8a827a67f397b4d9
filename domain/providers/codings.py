"""A bounded way to undo a content coding (RFC 9110 section 8.4.1); apart, because answers and webhooks share it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

_PIECE_BYTES: Final = 1024
#: Members of one gzip body: each costs as much as a thousand bytes, however little it holds.
MEMBERS_AT_MOST: Final = 1_000
GZIP_MAGIC: Final = b"\x1f\x8b"


def undone(coding: str, body: bytes, most: int) -> tuple[bytes, bool] | None:
    """Return the body without one coding, `most` bytes of it at most, and whether nothing before that was broken.

    A broken body gives what came before the defect. None: the coding is not known."""
    undo = _UNDO.get(coding.strip().lower().removeprefix("x-"))
    return undo(body, most) if undo is not None else None


def _gunzip(body: bytes, most: int) -> tuple[bytes, bool]:
    found, is_whole, at = bytearray(), True, 0
    # RFC 1952: members follow one another.
    for _ in range(MEMBERS_AT_MOST):
        more, is_whole, at = _inflate(body, most - len(found), zlib.MAX_WBITS | 16, at)
        found += more
        if not is_whole or len(found) >= most or not body.startswith(GZIP_MAGIC, at):
            return bytes(found), is_whole
    return bytes(found), False


def _undeflate(body: bytes, most: int) -> tuple[bytes, bool]:
    """Take zlib's format (RFC 9110), and the bare one that many servers send under this name."""
    found, is_whole, _ = _inflate(body, most, zlib.MAX_WBITS)
    if not found and not is_whole:
        found, is_whole, _ = _inflate(body, most, -zlib.MAX_WBITS)
    return found, is_whole


def _inflate(body: bytes, most: int, window: int, begin: int = 0) -> tuple[bytes, bool, int]:
    """Return what the body holds from `begin` on, whether nothing was broken, and where what was read ends."""
    undoing = zlib.decompressobj(window)
    found = bytearray()
    try:
        # In pieces: an error would take with it what the same call had undone.
        for start in range(begin, len(body), _PIECE_BYTES):
            piece = body[start : start + _PIECE_BYTES]
            found += undoing.decompress(undoing.unconsumed_tail + piece, most - len(found))
            if undoing.eof or len(found) >= most:
                return bytes(found), True, start + len(piece) - len(undoing.unused_data)
    except zlib.error:
        pass
    return bytes(found), False, len(body)


def _unbrotli(body: bytes, most: int) -> tuple[bytes, bool]:
    import brotli  # type: ignore[import-untyped]  # here: hardly anyone compresses what was asked for as it is

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
