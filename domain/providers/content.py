"""The content of a webhook whose sender compressed it; apart from the contract, because receipt and adapters use it."""

from __future__ import annotations

from collections.abc import Mapping

from domain.providers.codings import GZIP_MAGIC, undone
from domain.providers.contract import ProviderFailure

CONTENT_MAX_BYTES = 1024 * 1024
_CODINGS_MAX = 3


class ContentTooLarge(Exception):
    """The content is more than 1 MiB once its coding is undone."""


def codings(headers: Mapping[str, str]) -> list[str]:
    """Return the codings in the order in which they were applied, without `identity`."""
    named = (part.strip().lower() for part in headers.get("content-encoding", "").split(","))
    return [name for name in named if name not in ("", "identity")]


def decoded(headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the body with its codings undone, as it is where it has none.

    Raises ContentTooLarge, ProviderFailure (`malformed`)."""
    named = codings(headers)
    if len(named) > _CODINGS_MAX:
        raise ProviderFailure("malformed", "The body has too many codings.")
    for name in reversed(named):
        body = _undone(name, body)
    return body


def _undone(coding: str, body: bytes) -> bytes:
    if "gzip" in coding and not body.startswith(GZIP_MAGIC):
        return body  # a proxy that undid the coding may have left its header
    found = undone(coding, body, CONTENT_MAX_BYTES + 1)
    if found is None:
        raise ProviderFailure("malformed", "The body is in a coding that the hub does not undo.")
    content, is_whole = found
    if len(content) > CONTENT_MAX_BYTES:
        raise ContentTooLarge
    if not is_whole:
        raise ProviderFailure("malformed", f"The body is not valid {coding}.")
    return content
