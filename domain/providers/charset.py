"""Text of other systems made readable; apart, because answers of receivers and of providers are read the same way."""

from __future__ import annotations

import codecs
import re
from typing import Any

#: The charsets that are read. Python knows more: names without end, and some whose decoding takes the square of the
#: length (punycode) or is no charset of texts.
_READ = re.compile(
    r"(?:x-)?(?:utf[-_]?(?:7|8|16|32)(?:[-_]?[lb]e)?(?:[-_]sig)?|(?:us[-_]?)?ascii|ansi_x3\.4-19(?:68|86)|latin[-_]?[0-9]{1,2}"
    r"|iso[-_]?8859[-_][0-9]{1,2}(?:-[ei])?|iso[-_]?2022[-_](?:jp|kr)(?:[-_]?(?:[123]|2004|ext))?|koi8[-_]?[rtu]"
    r"|(?:windows[-_]?|cp|ibm)[0-9]{3,5}|(?:ms[-_]?)?kanji|s(?:hift)?[-_]?jis(?:x0213|[-_]2004)?|ms932|euc[-_]?(?:jp|kr|cn)"
    r"|ks_c_5601(?:-1987)?|uhc|johab|big5(?:-?hkscs)?|gb(?:k|2312|18030)|hz(?:-gb-2312)?|mac[-_]?[a-z]{1,12}|tis[-_]?620)",
    re.IGNORECASE,
)
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:+-]{1,40})""", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Half of a UTF-16 pair, which no encoding can write: JSON may name one (`"\\ud83d"`).
_HALF = re.compile("[\ud800-\udfff]")


def read_text(body: bytes, content_type: str, declared: str | None = None, *, is_cut: bool = False) -> str:
    """Return a body as text: by its byte order mark, the charset of its type, or `declared`; else UTF-8.

    Bytes that mean nothing in it are U+FFFD, but for half a character at the end of one that `is_cut`."""
    mark = next((name for start, name in _MARKS if body.startswith(start)), None)
    named = _CHARSET.search(content_type)
    charset = mark or (named[1] if named else None) or declared or "utf-8"
    if _READ.fullmatch(charset) is None:
        charset = "utf-8"
    try:
        text = codecs.getincrementaldecoder(charset)("replace").decode(body, not is_cut)
    except (LookupError, ValueError):
        text = body.decode("utf-8", "replace")
    # UTF-7 can spell half a character.
    return _HALF.sub("\ufffd", text.removeprefix("\ufeff"))


def with_whole_characters(value: Any) -> Any:
    """Return a JSON value in which half characters, in texts and in names, are U+FFFD.

    Raises RecursionError for one that is nested too deeply."""
    if isinstance(value, str):
        return value if value.isascii() else _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [with_whole_characters(element) for element in value]
    if isinstance(value, dict):
        return {with_whole_characters(name): with_whole_characters(found) for name, found in value.items()}
    return value
