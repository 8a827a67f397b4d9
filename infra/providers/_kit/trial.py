"""Tests that create something at the provider and take it away again."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from domain.providers.contract import ProviderFailure, ProviderRequest, ProviderResponse

Expect = Callable[..., Awaitable[ProviderResponse]]

TITLE = "Integration Hub connection test"


async def create(expect: Expect, request: ProviderRequest, undo: ProviderRequest) -> ProviderResponse:
    """Create a thing whose name we chose ourselves. When no clear answer comes it may exist all the same, so it
    is deleted before the failure goes on. `expect` is ProviderHttp.expect or narrows it."""
    try:
        return await expect(request)
    except ProviderFailure as failure:
        if failure.kind in ("unavailable", "malformed"):
            with contextlib.suppress(ProviderFailure):
                await expect(undo)
        raise


async def delete(expect: Expect, request: ProviderRequest, what: str) -> None:
    """Delete what a test created; 404 and 410 mean that it is gone already. Raises ProviderFailure, which says
    that `what` was left behind."""
    try:
        await expect(request, 200, 202, 204, 404, 410)
    except ProviderFailure as failure:
        raise ProviderFailure(
            failure.kind,
            f"{what} was created and could not be deleted: {failure.detail}",
            status=failure.status,
            retry_after_seconds=failure.retry_after_seconds,
        ) from None
