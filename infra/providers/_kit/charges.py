"""The test of a payment provider: a test-mode charge that is reversed whatever happens after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from domain.providers.contract import ProviderFailure, TestResult, TestStep


async def charge_and_reverse(
    charged: TestStep,
    check: Callable[[], Awaitable[TestStep]],
    reverse: Callable[[], Awaitable[TestStep]],
) -> TestResult:
    """`check` looks at the charge, then `reverse` undoes it, also when `check` failed. When the reversal fails too
    the failure names the charge, so that someone can reverse it."""
    try:
        checked = await check()
    except ProviderFailure as failure:
        await _reverse_after(failure, charged, reverse)
        raise
    try:
        return TestResult((charged, checked, await reverse()))
    except ProviderFailure as failure:
        raise _left_behind(failure, failure.detail, charged) from None


async def _reverse_after(
    failure: ProviderFailure, charged: TestStep, reverse: Callable[[], Awaitable[TestStep]]
) -> None:
    try:
        await reverse()
    except ProviderFailure as second:
        raise _left_behind(failure, f"{failure.detail} {second.detail}", charged) from None


def _left_behind(failure: ProviderFailure, detail: str, charged: TestStep) -> ProviderFailure:
    return ProviderFailure(
        failure.kind,
        f"{detail} The test charge {charged.reference} was not reversed.",
        status=failure.status,
        retry_after_seconds=failure.retry_after_seconds,
    )


def refuse_live(detail: str) -> ProviderFailure:
    """Tests never move real money."""
    return ProviderFailure("rejected", f"The test charge was not made: {detail}")
