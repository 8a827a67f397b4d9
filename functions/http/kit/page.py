"""Pages that need nothing from elsewhere: their one script and one style are named by hash in their policy."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

_STATIC = Path(__file__).parents[1] / "static"


def static(*names: str) -> str:
    """The files' text, one after the other."""
    return "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in names)


def page_headers(script: str, style: str, connect: Sequence[str] = ("'self'",)) -> dict[str, str]:
    """The headers of a page with this script and style, which may connect to these origins. Content Security Policy
    level 3."""
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
