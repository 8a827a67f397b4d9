"""Which answers ask to wait, and for how long."""

from __future__ import annotations

import pytest

from domain.providers.contract import ProviderResponse
from infra.providers._kit.rate_limits import asked_wait, is_rate_limit
from infra.providers._kit.refusal import failure_kind
from tests.worlds.builders import START

SOON = START.timestamp() + 90


def answer(status: int, **headers: str) -> ProviderResponse:
    return ProviderResponse(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, b"", 1
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "60"}, 60.0),
        ({"retry_after": "0"}, 0.0),
        ({"x_ratelimit_remaining": "0"}, None),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(SOON))}, 90.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(SOON * 1000))}, 90.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "120"}, 120.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "tomorrow"}, None),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": str(int(SOON)), "retry_after": "7"}, 7.0),
        ({"ratelimit_remaining": " 0 ", "ratelimit_reset": "30"}, 30.0),
        ({"x_rate_limit_remaining": "0", "x_rate_limit_reset": str(int(SOON))}, 90.0),
        ({"x_ratelimit_remaining_minute": "0"}, None),
        ({"x_hubspot_ratelimit_daily_remaining": "0"}, None),
        ({"ratelimit": '"default";r=0;t=45'}, 45.0),
        ({"ratelimit": '"burst";r=5;t=1, "day";r=0'}, None),
    ],
)
def test_a_403_with_the_headers_of_a_limit_asks_to_wait(
    headers: dict[str, str], seconds: float | None
) -> None:
    response = answer(403, **headers)
    assert is_rate_limit(response) and failure_kind(response) == "rate_limited"
    assert asked_wait(response, START) == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"retry_after": "later"},
        {"x_ratelimit_remaining": "1"},
        {"x_ratelimit_remaining": "10"},
        {"x_ratelimit_limit": "0"},
        {"ratelimit": '"default";r=10;t=30'},
    ],
)
def test_any_other_403_is_a_missing_permission(headers: dict[str, str]) -> None:
    assert failure_kind(answer(403, **headers)) == "forbidden"


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_no_other_status_becomes_a_limit_by_its_headers(status: int) -> None:
    assert not is_rate_limit(answer(status, retry_after="5", x_ratelimit_remaining="0"))


def test_a_429_is_a_limit_whatever_it_says() -> None:
    assert failure_kind(answer(429)) == "rate_limited"
    assert asked_wait(answer(429), START) is None
    assert asked_wait(answer(429, x_ratelimit_remaining="0", x_ratelimit_reset="9"), START) == 9.0
