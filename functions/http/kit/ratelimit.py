"""A quota as response headers.

The fields of the IETF draft (draft-ietf-httpapi-ratelimit-headers-10) and the `X-RateLimit-*` that most clients
know."""

from __future__ import annotations

from datetime import datetime

from domain.apikeys.rate_limit import SECONDS, RateStatus


def rate_headers(rate: RateStatus, now: datetime) -> dict[str, str]:
    """Return the headers of a quota.

    `t` (seconds) and `X-RateLimit-Reset` (Unix seconds) say when the oldest requests leave the window, or, with
    none remaining, when the next request is allowed, as `Retry-After` does."""
    seconds = rate.reset_seconds if rate.remaining else rate.retry_after_seconds
    return {
        "RateLimit-Policy": f'"hour";q={rate.limit};w={SECONDS}',
        "RateLimit": f'"hour";r={rate.remaining};t={seconds}',
        "X-RateLimit-Limit": str(rate.limit),
        "X-RateLimit-Remaining": str(rate.remaining),
        "X-RateLimit-Reset": str(int(now.timestamp()) + seconds),
    }
