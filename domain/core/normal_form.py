"""Unicode's compatibility form in linear time: apart, as `unicodedata` takes the square of a run of marks."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

#: Marks in a row that are left together (UAX 15 section 13, Stream-Safe Text): no language writes more.
_MARKS = 30
_GRAPHEME_JOINER = "\u034f"
#: Marks are in the first two planes, and their like in none of the others.
_PLANES = 0x20000


def nfkc(text: str) -> str:
    """Return the text in normal form KC; a joiner parts what has more than 30 marks in a row."""
    if text.isascii():
        return text
    if len(text) > _MARKS:
        text = _long_run().sub(lambda run: run[0] + _GRAPHEME_JOINER, text)
    return unicodedata.normalize("NFKC", text)


@cache
def _long_run() -> re.Pattern[str]:
    """Return the pattern of 30 marks before another: letters that are one, or whose form begins with one."""
    marks = [chr(number) for number in range(0x300, _PLANES) if _is_mark(chr(number))]
    letters = "".join(map(re.escape, marks))
    return re.compile(f"[{letters}]{{{_MARKS}}}(?=[{letters}])")


def _is_mark(letter: str) -> bool:
    return unicodedata.combining(unicodedata.normalize("NFKD", letter)[0]) != 0
