"""The key string: `ihk_`, 43 base62 characters of 32 random bytes, 6 of a CRC32 over the characters before.

The checksum lets a mistyped key be refused before anything is looked up, and lets secret scanners tell a key from
other text. Only the hash of a key is ever stored (BR-AK-01, BR-AK-02)."""

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
_LENGTH = len(MARK) + _BODY + _CHECK
_KEY = re.compile(rf"{MARK}[0-9A-Za-z]{{{_BODY + _CHECK}}}")


@dataclass(frozen=True, slots=True)
class PlainKey:
    """A whole, well-formed key. Its `text` appears in no repr."""

    text: str = field(repr=False)

    @property
    def prefix(self) -> str:
        """Return the first 8 characters, by which people recognise the key."""
        return self.text[:PREFIX_LENGTH]

    @property
    def hash(self) -> str:
        """Return the SHA-256 in 64 hexadecimal digits.

        It needs no salt and no stretching: 256 random bits cannot be guessed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def new_key() -> PlainKey:
    """Return a new key from the operating system's random source."""
    return key_of(secrets.token_bytes(32))


def key_of(random: bytes) -> PlainKey:
    """Return the key that 32 bytes make."""
    body = MARK + _base62(int.from_bytes(random, "big"), _BODY)
    return PlainKey(body + _checksum(body))


def parse_key(text: str) -> PlainKey | None:
    """Return the key in a text; None when its mark, length, alphabet or checksum is wrong."""
    if len(text) != _LENGTH or not _KEY.fullmatch(text):
        return None
    return PlainKey(text) if text[-_CHECK:] == _checksum(text[:-_CHECK]) else None


def safe_prefix(text: str) -> str:
    """Return what a log may say of a text presented as a key.

    That is 8 characters of a text that looks like a key; nothing of any other, which may be a password pasted into
    the wrong field."""
    return text[:PREFIX_LENGTH] if text.startswith(MARK) and len(text) >= 2 * PREFIX_LENGTH else ""


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECK)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
