"""Types of fields in configurations: addresses, e-mail addresses, phone numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from domain.core.web_address import BadAddress, require_https
from domain.providers.contract import DESTINATION

URL_MAX = 2000


def _secured(url: str) -> str:
    try:
        require_https(url, allow_loopback=True)
    except BadAddress as error:
        raise ValueError(f"{error}.") from None
    return url


def _without_query(url: str) -> str:
    if "?" in url:
        raise ValueError("The address must have no query.")
    return url.rstrip("/")


#: An absolute https address; the outbound client decides whether loopback is allowed at all.
HttpsUrl = Annotated[
    str, StringConstraints(max_length=URL_MAX, pattern=r"^[^\s\\]+$"), AfterValidator(_secured), DESTINATION
]

#: The same without a query, kept without its last slash: paths are appended to it.
BaseUrl = Annotated[HttpsUrl, AfterValidator(_without_query)]


EmailAddress = Annotated[str, StringConstraints(max_length=320, pattern=r"^[^@\s<>]+@[^@\s<>]+$")]

#: Seconds for which the signed timestamp of a webhook is good.
WebhookTolerance = Annotated[int, Field(ge=60, le=24 * 3600)]

#: E.164.
PhoneNumber = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]
