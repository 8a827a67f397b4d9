"""How providers say "slow down": by 429, or by 403 with the headers that belong to a limit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from domain.providers.contract import ProviderResponse

# X-RateLimit-Remaining (GitHub), RateLimit-Remaining (draft-ietf-httpapi-ratelimit-headers-06), X-Rate-Limit-Remaining
# (Okta), with what some put around it, such as X-RateLimit-Remaining-Minute and X-HubSpot-RateLimit-Daily-Remaining.
_OF_LIMIT = re.compile(r"(?:x-)?(?:\w+-)?rate-?limit((?:-\w+)+)")
_RESET = ("x-ratelimit-reset", "ratelimit-reset", "x-rate-limit-reset")
# RateLimit: "default";r=0;t=30 (the draft from -08 on)
_SPENT = re.compile(r";\s*r=0\s*(?:;|$)")
_SPENT_UNTIL = re.compile(r";\s*t=(\d{1,9})\s*(?:;|$)")
#: A reset above this is a Unix time, below it seconds from now.
_UNIX_TIME = 1e8
_MILLISECONDS = 1e11
_ANY_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)


def is_rate_limit(response: ProviderResponse) -> bool:
    """Return whether the answer asks to wait.

    A 403 does where it names a wait, or where nothing is left of the quota: GitHub documents both for its limits."""
    if response.status != 403:
        return response.status == 429
    return retry_after_seconds(response, _ANY_MOMENT) is not None or _is_spent(response)


def asked_wait(response: ProviderResponse, now: datetime) -> float | None:
    """Return for how many seconds the answer asks to wait, None when it names no time that can be read."""
    seconds = retry_after_seconds(response, now)
    if seconds is not None or not _is_spent(response):
        return seconds
    return next(_resets(response, now), None)


def retry_after_seconds(response: ProviderResponse, now: datetime) -> float | None:
    """Return `Retry-After` in seconds (RFC 9110 section 10.2.3), None when it is missing or cannot be read.

    A date that has passed is 0."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal() and value.isascii():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _is_spent(response: ProviderResponse) -> bool:
    remaining = (value for name, value in response.headers.items() if _says_what_remains(name))
    return bool(_spent_quotas(response)) or any(value.strip() == "0" for value in remaining)


def _says_what_remains(name: str) -> bool:
    found = _OF_LIMIT.fullmatch(name)
    return found is not None and "remaining" in found[1].split("-")


def _spent_quotas(response: ProviderResponse) -> list[str]:
    return [quota for quota in response.headers.get("ratelimit", "").split(",") if _SPENT.search(quota)]


def _resets(response: ProviderResponse, now: datetime) -> Iterator[float]:
    for quota in _spent_quotas(response):
        if match := _SPENT_UNTIL.search(quota):
            yield float(match[1])
    for name in _RESET:
        try:
            value = float(response.headers.get(name, ""))
        except ValueError:
            continue
        if not 0 <= value < float("inf"):
            continue
        if value >= _UNIX_TIME:
            value = max(0.0, (value / 1000 if value >= _MILLISECONDS else value) - now.timestamp())
        yield value
