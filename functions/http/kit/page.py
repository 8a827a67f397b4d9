"""Self-contained pages: their one script and one style sheet are allowed by hash."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

_STATIC = Path(__file__).parents[1] / "static"


def static(*names: str) -> str:
    """Return the text of the files, one after the other."""
    return "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in names)


def page_headers(script: str, style: str, connect: Sequence[str] = ("'self'",)) -> dict[str, str]:
    """Return the headers of a page with this script and style, which may connect to the `connect` origins.

    Content Security Policy level 3."""
    return {
        "Content-Security-Policy": "; ".join(
            (
                "default-src 'none'",
                f"script-src {_hash(script)}",
                f"style-src {_hash(style)}",
                f"connect-src {' '.join(connect)}",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "public, max-age=300",
    }


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
