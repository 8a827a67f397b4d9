"""Types of fields in configurations: addresses, e-mail addresses, phone numbers."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

URL_MAX = 2000
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")


def _secured(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port_fits = parts.port != 0
    except ValueError:
        raise ValueError("The address cannot be read.") from None
    if not host or not port_fits or "@" in parts.netloc or "#" in url:
        raise ValueError("The address must have a plain host, no credentials and no fragment.")
    if parts.scheme != "https" and not (parts.scheme == "http" and _LOOPBACK.fullmatch(host)):
        raise ValueError("The address must be https (http is for loopback only).")
    return url


def _without_query(url: str) -> str:
    if "?" in url:
        raise ValueError("The address must have no query.")
    return url.rstrip("/")


#: An absolute https address; the outbound client decides whether loopback is allowed at all.
HttpsUrl = Annotated[
    str, StringConstraints(max_length=URL_MAX, pattern=r"^[^\s\\]+$"), AfterValidator(_secured)
]

#: The same without a query, kept without its last slash: paths are appended to it.
BaseUrl = Annotated[HttpsUrl, AfterValidator(_without_query)]


EmailAddress = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s<>]+@[^@\s<>]+$")]

#: E.164.
PhoneNumber = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]
