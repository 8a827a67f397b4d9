"""JSON of an answer, in which a `JsonText` stands as it is; apart, because pydantic cannot embed text."""

from __future__ import annotations

import re
import secrets
from typing import Any

from pydantic import BaseModel

from domain.core.json_text import JsonText


def json_of(view: BaseModel) -> str:
    """Return the view as JSON: each JsonText leaves a mark that nobody can guess, and then takes its place."""
    kept: list[str] = []
    mark = secrets.token_hex(16)

    def keep(value: Any) -> str:
        if not isinstance(value, JsonText):
            raise TypeError(f"{type(value).__name__} is no part of an answer.")
        kept.append(value.text)
        return f"{mark}{len(kept) - 1}"

    text = view.model_dump_json(by_alias=True, fallback=keep)
    return re.sub(f'"{mark}([0-9]+)"', lambda found: kept[int(found[1])], text) if kept else text
