"""Connection tests that leave nothing behind: what they create is deleted, what they charge is reversed."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

from domain.providers.contract import (
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    TestOptions,
    TestResult,
    TestStep,
)

Expect = Callable[..., Awaitable[ProviderResponse]]

TITLE = "Integration Hub connection test"

T = TypeVar("T")
#: No answer, or one that is not understood, leaves open whether there is a charge.
_REFUSED = ("unauthorized", "forbidden", "rate_limited", "rejected")


async def create(expect: Expect, request: ProviderRequest, undo: ProviderRequest) -> ProviderResponse:
    """Create a thing whose name we chose ourselves. `expect` is ProviderHttp.expect or narrows it.

    When no clear answer comes it may exist all the same, so it is deleted before the failure goes on."""
    try:
        return await expect(request)
    except ProviderFailure as failure:
        if failure.kind in ("unavailable", "malformed"):
            with contextlib.suppress(ProviderFailure):
                await expect(undo)
        raise


async def delete(expect: Expect, request: ProviderRequest, what: str) -> None:
    """Delete what a test created; 404 and 410 mean that it is gone already.

    Raises ProviderFailure, which says that `what` was left behind."""
    try:
        await expect(request, 200, 202, 204, 404, 410)
    except ProviderFailure as failure:
        raise ProviderFailure(
            failure.kind,
            f"{what} was created and could not be deleted: {failure.detail}",
            status=failure.status,
            retry_after_seconds=failure.retry_after_seconds,
        ) from None


def made_and_deleted(detail: str, reference: str) -> TestResult:
    """Return the steps of a test that created something and deleted it again."""
    return TestResult(
        (TestStep("create", detail, reference), TestStep("delete", "Deleted it again", reference))
    )


async def charge_and_reverse(
    charged: TestStep,
    check: Callable[[], Awaitable[TestStep]],
    reverse: Callable[[], Awaitable[TestStep]],
) -> TestResult:
    """Look at a test charge, then reverse it, also when the look failed.

    When the reversal fails too the failure names the charge, so that someone can reverse it."""
    try:
        checked = await check()
    except ProviderFailure as failure:
        try:
            await reverse()
        except ProviderFailure as second:
            raise _left_behind(failure, f"{failure.detail} {second.detail}", charged) from None
        raise
    try:
        return TestResult((charged, checked, await reverse()))
    except ProviderFailure as failure:
        raise _left_behind(failure, failure.detail, charged) from None


def _left_behind(failure: ProviderFailure, detail: str, charged: TestStep) -> ProviderFailure:
    return ProviderFailure(
        failure.kind,
        f"{detail} The test charge {charged.reference} was not reversed.",
        status=failure.status,
        retry_after_seconds=failure.retry_after_seconds,
    )


def refuse_live(detail: str) -> ProviderFailure:
    """Return the failure of a test that would move real money."""
    return ProviderFailure("rejected", f"The test charge was not made: {detail}", nothing_charged=True)


async def charge(call: Awaitable[T]) -> T:
    """Return the answer to a test charge; a failure says whether the provider refused it before anything was done."""
    try:
        return await call
    except ProviderFailure as failure:
        failure.nothing_charged = failure.kind in _REFUSED
        raise


def sent(reference: str, *before: TestStep) -> TestResult:
    """Return the steps of a test whose message the provider took to deliver it."""
    step = TestStep("send", "Handed over for delivery.", reference or None)
    return TestResult((*before, step), delivered=True)


def checked(detail: str, reference: str | None = None, *before: TestStep) -> TestResult:
    """Return the steps of a test whose message was checked and is delivered to nobody, as `detail` says."""
    return TestResult((*before, TestStep("send", detail, reference)), delivered=False)


def recipient_of(options: TestOptions) -> str:
    """Return who gets the test message. Raises ProviderFailure (rejected) when no one is named."""
    if not options.recipient:
        raise ProviderFailure("rejected", "A test of this provider needs a recipient.")
    return options.recipient
