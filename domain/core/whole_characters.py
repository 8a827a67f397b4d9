"""JSON without half characters; apart from `domain/providers/charset.py`, because neither room imports the other."""

from __future__ import annotations

import re
from typing import Any

_HALF = re.compile("[\ud800-\udfff]")


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
