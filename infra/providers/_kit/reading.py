"""Reading what a provider sent as JSON: small bodies where they are needed, large ones in a process of its own."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final

from domain.providers.contract import (
    AlreadyRead,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    read_apart,
)
from domain.providers.untrusted import TenantWork

#: A body of so many bytes is read by the event loop: the worst of them takes it some 40 ms, a usual one 2 ms.
HERE_BYTES: Final = 128 * 1024
#: The most values of an answer, and of them lists and objects, which each cost memory of their own.
VALUES_AT_MOST: Final = 4_000_000
CONTAINERS_AT_MOST: Final = 500_000
_COUNTED_BYTES = 1024 * 1024


async def with_body_read(
    request: ProviderRequest, response: ProviderResponse, work: TenantWork
) -> ProviderResponse:
    """Return the answer with its body read as JSON apart, where it may be that and is large."""
    body = response.body
    is_small = len(body) <= HERE_BYTES
    if is_small or request.reads_apart or response.missing is not None or body.lstrip()[:1] == b"<":
        return response
    try:
        await asyncio.to_thread(check_values, body)
        value = await read_apart(work, _json_of, body, response.headers.get("content-type", ""))
    except ProviderFailure as failure:
        failure.status = response.status
        return replace(response, already=AlreadyRead(None, failure))
    return replace(response, already=AlreadyRead(value))


def _json_of(body: bytes, content_type: str) -> Any:
    return ProviderResponse(200, {"content-type": content_type}, body, 0).json()


def check_values(body: bytes) -> None:
    """Raise ProviderFailure (malformed) for a body that may hold more values than are read.

    Counted are the characters that separate values, wherever they stand, before anything is made of them."""
    containers = values = 0
    for start in range(0, len(body), _COUNTED_BYTES):
        end = start + _COUNTED_BYTES
        containers += body.count(b"[", start, end) + body.count(b"{", start, end)
        values += body.count(b",", start, end)
        if containers > CONTAINERS_AT_MOST or containers + values > VALUES_AT_MOST:
            detail = f"The provider's answer holds more than {CONTAINERS_AT_MOST:,} lists and objects"
            raise ProviderFailure(
                "malformed", f"{detail}, or {VALUES_AT_MOST:,} values, and is not read.", is_lasting=True
            )
