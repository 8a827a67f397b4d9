"""Rewrite the README's table of settings from the settings themselves: `make docs`."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr

from infra.app.settings import Settings

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- settings: written by `make docs` from infra/app/settings.py -->\n"
END = "<!-- /settings -->"
_UNITS = ("seconds", "hours", "days", "bytes", "retries", "webhooks", "posts", "connections", "events")


def settings_table() -> str:
    """Return every setting with its unit, default and description, as Markdown."""
    rows = ["| setting | unit | default | |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        description = field.description or ""
        rows.append(
            f"| `HUB_{name.upper()}` | {_unit(name, field.annotation, description)} "
            f"| {_default(field.default)} | {html.escape(description, quote=False).replace('|', '&#124;')} |"
        )
    return "\n".join(rows) + "\n"


def _unit(name: str, kind: Any, description: str) -> str:
    options = [option for option in (kind, *get_args(kind)) if get_origin(option) is Literal]
    if options:
        return " \\| ".join(f"`{choice}`" for choice in get_args(options[0]))
    if bool in (kind, *get_args(kind)):
        return "`true` \\| `false`"
    if kind not in (int, float):
        return "secret" if SecretStr in get_args(kind) else "text"
    for unit in _UNITS:
        if name.endswith(f"_{unit}") or description.lower().startswith(unit) or f" {unit} " in description:
            return unit
    return "number"


def _default(value: object) -> str:
    if value is None:
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def with_table(text: str) -> str:
    """Return the README with its table of settings made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{settings_table()}{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
