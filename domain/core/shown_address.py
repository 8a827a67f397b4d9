"""How an address is shown to those who may not use it; apart, because every place that tells of one tells the same.

Its path, query and user name may hold a secret."""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

from domain.core.web_address import BadAddress, read_address

#: For the descriptions of properties that hold one.
SHOWN_ADDRESS: Final = (
    "Origin, the beginning of the path, and 8 hex digits of the URL's SHA-256 digest; "
    "`GET /api/webhooks` shows the whole URL"
)
_SHOWN = re.compile(r"(?:https?://[^/?#\s]+/[^/?#\s]{0,3}(?:\.\.\.)?|\.\.\.)#[0-9a-f]{8}")
_AFTER_AUTHORITY = re.compile(r"[/?#\\]")
#: Characters of a path that tell addresses apart, and too few to be of use to anybody.
_KEPT = 3


def shown_address(url: str) -> str:
    """Return origin, the beginning of the path, and 8 hex digits of the URL's SHA-256 digest.

    `https://hooks.example/se...#4f2c81aa`: of the path at most three characters, and at most a third of its first
    step. The digits change with every change of the URL. Of what is no address only they are shown, and what was
    shown already stays as it is."""
    if _SHOWN.fullmatch(url):
        return url
    digest = hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:8]
    try:
        address = read_address(_without_user(url))
    except BadAddress:
        return f"...#{digest}"
    parts = urlsplit(address.url)
    first = parts.path.strip("/").partition("/")[0]
    kept = first[: min(_KEPT, len(first) // 3)]
    hidden = "..." if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{kept}{hidden}#{digest}"


def _without_user(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    found = _AFTER_AUTHORITY.search(rest)
    end = found.start() if found else len(rest)
    return f"{scheme}{mark}{rest[:end].rpartition('@')[2]}{rest[end:]}"


def host_of(url: str) -> str:
    """Return host and port of an address, for a sentence in which its name is enough; empty text of none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""
