"""Configuration fields that several providers share."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_FORBIDDEN = re.compile(r"[\s\\?#@]")


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        scheme, host, _ = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if not host or _FORBIDDEN.search(value):
        raise ValueError("must be an https address without credentials, query or fragment")
    # The outbound client refuses loopback outside development.
    if scheme != "https" and not (scheme == "http" and host in _LOOPBACK):
        raise ValueError("must be an https address")
    return value.rstrip("/")


#: An https address (http for loopback), kept without its last slash.
BaseUrl = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_base_url)]

EmailAddress = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s<>]+@[^@\s<>]+$")]

#: E.164.
PhoneNumber = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]
