"""The key string: `ihk_`, 43 base62 characters of 32 random bytes, 6 of a CRC32 over the characters before.

The checksum refuses a mistyped key before a lookup, and lets secret scanners recognise keys.
Only a key's hash is stored (BR-AK-01, BR-AK-02)."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass, field

MARK = "ihk_"
PREFIX_LENGTH = 8
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BODY = 43
_CHECK = 6
_KEY = re.compile(rf"{MARK}[0-9A-Za-z]{{{_BODY + _CHECK}}}")


@dataclass(frozen=True, slots=True)
class PlainKey:
    """A whole, well-formed key. Its `text` appears in no repr."""

    text: str = field(repr=False)

    @property
    def prefix(self) -> str:
        return self.text[:PREFIX_LENGTH]

    @property
    def hash(self) -> str:
        """Return the SHA-256 in hexadecimal, without salt: 256 random bits cannot be guessed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def new_key() -> PlainKey:
    return key_of(secrets.token_bytes(32))


def key_of(random: bytes) -> PlainKey:
    body = MARK + _base62(int.from_bytes(random, "big"), _BODY)
    return PlainKey(body + _checksum(body))


def parse_key(text: str) -> PlainKey | None:
    """Return the key in a text; None when its mark, length, alphabet or checksum is wrong."""
    is_key = _KEY.fullmatch(text) and text[-_CHECK:] == _checksum(text[:-_CHECK])
    return PlainKey(text) if is_key else None


def safe_prefix(text: str) -> str:
    """Return the 8 characters that a log may show of a key; nothing of other text, perhaps a password."""
    return text[:PREFIX_LENGTH] if text.startswith(MARK) and len(text) >= 2 * PREFIX_LENGTH else ""


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECK)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
