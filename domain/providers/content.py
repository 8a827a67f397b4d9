"""The content of an incoming webhook whose sender compressed it (RFC 9110 section 8.4)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from domain.providers.contract import ProviderFailure

CONTENT_MAX_BYTES = 1024 * 1024
_CODINGS_MAX = 3
_GZIP_MAGIC = b"\x1f\x8b"


class ContentTooLarge(Exception):
    """The content is more than 1 MiB once its coding is undone."""


def codings(headers: Mapping[str, str]) -> list[str]:
    """Return the codings in the order in which they were applied, without `identity`."""
    named = (part.strip().lower() for part in headers.get("content-encoding", "").split(","))
    return [name for name in named if name not in ("", "identity")]


def decoded(headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the body with its codings undone, as it is where it has none.

    Raises ContentTooLarge, ProviderFailure (`malformed`)."""
    named = codings(headers)
    if len(named) > _CODINGS_MAX:
        raise ProviderFailure("malformed", "The body has too many codings.")
    for name in reversed(named):
        body = _undone(name, body)
    return body


def _undone(coding: str, body: bytes) -> bytes:
    if coding in ("gzip", "x-gzip"):
        # A proxy that undid the coding may have left its header.
        return _inflated(body, 31, coding) if body.startswith(_GZIP_MAGIC) else body
    if coding == "deflate":
        # RFC 9110 means the zlib format; some senders leave its frame out.
        framed = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return _inflated(body, 15 if framed else -15, coding)
    raise ProviderFailure("malformed", "The body is in a coding that the hub does not undo.")


def _inflated(body: bytes, window: int, coding: str) -> bytes:
    whole = bytearray()
    try:
        while body:
            stream = zlib.decompressobj(window)
            whole += stream.decompress(body, CONTENT_MAX_BYTES + 1 - len(whole))
            if len(whole) > CONTENT_MAX_BYTES:
                raise ContentTooLarge
            if not stream.eof:
                raise zlib.error
            body = stream.unused_data if stream.unused_data.startswith(_GZIP_MAGIC) else b""
    except zlib.error:
        raise ProviderFailure("malformed", f"The body is not valid {coding}.") from None
    return bytes(whole)
