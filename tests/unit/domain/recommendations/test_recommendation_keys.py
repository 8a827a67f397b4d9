"""Rules about API keys."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.apikeys.model import UpdateApiKey
from domain.apikeys.usage import Bucket
from domain.monitoring.anomalies.ports import ANYTHING, SeenTrait
from domain.recommendations.key_rules import higher_limit, unused, unused_scopes, without_expiry
from domain.recommendations.model import Operation
from tests.worlds.recommendation_facts import NOW, SUBJECT, figures, key_facts

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def busy(*limited: int, accepted: int = 1000) -> list[Bucket]:
    """Return an hour a day, the last of them yesterday."""
    return [Bucket(NOW - DAY * (len(limited) - n), accepted, some, 0) for n, some in enumerate(limited)]


def test_a_limit_that_is_hit_again_and_again_is_to_be_raised() -> None:
    advice = higher_limit(key_facts(busy(200, 0, 350, 40)))
    assert advice is not None and advice.change is not None
    # 1,350 in the busiest hour, a fifth more is 1,620
    assert advice.change.body == {"rateLimitPerHour": 1700}
    assert not advice.change.is_final
    UpdateApiKey.model_validate(dict(advice.change.body))
    assert figures(advice) == {
        "refused": 590,
        "hoursAtTheLimit": 3,
        "busiestHour": 1350,
        "limit": 1000,
        "refusalsAvoidedPerDay": round(590 / 14, 1),
    }


def test_no_limit_is_raised_beyond_the_platforms() -> None:
    advice = higher_limit(key_facts(busy(*[9_500] * 3)))
    assert advice is not None and advice.change is not None
    assert advice.change.body == {"rateLimitPerHour": 10_000}
    assert figures(advice)["refusalsAvoidedPerDay"] == round(27_000 / 14, 1)
    assert higher_limit(key_facts(busy(*[900] * 3, accepted=10_000), rate_limit_per_hour=10_000)) is None


@pytest.mark.parametrize(
    "hours",
    [busy(300, 300), busy(5, 5, 5), [Bucket(NOW - HOUR * n, 1000, 300, 0) for n in range(1, 6)], []],
    ids=["two hours", "few refusals", "one day", "no request"],
)
def test_an_accident_is_no_reason_to_raise_a_limit(hours: list[Bucket]) -> None:
    assert higher_limit(key_facts(hours)) is None


def test_a_key_that_nobody_uses_is_to_be_revoked() -> None:
    advice = unused(key_facts(last_used_at=NOW - 90 * DAY, created_at=NOW - 300 * DAY))
    assert advice is not None and advice.change is not None
    assert advice.change.operation == Operation.RevokeApiKey
    assert advice.change.body == {"reason": "Not used for 90 days."}
    assert advice.change.is_final
    assert figures(advice)["daysWithoutUse"] == 90
    never = unused(key_facts(last_used_at=None, created_at=NOW - 91 * DAY))
    assert never is not None and "never used in 91 days" in never.explanation


@pytest.mark.parametrize(
    "fields",
    [
        {"last_used_at": NOW - 89 * DAY},
        {"last_used_at": None, "created_at": NOW - 89 * DAY},
        {"last_used_at": None, "created_at": NOW - 200 * DAY, "not_before": NOW - DAY},
        {"last_used_at": NOW - 100 * DAY, "is_active": False},
        {"last_used_at": NOW - 100 * DAY, "expires_at": NOW},
    ],
    ids=["used lately", "young", "begun lately", "revoked", "expired"],
)
def test_other_keys_stay(fields: dict[str, object]) -> None:
    assert unused(key_facts(**{"created_at": NOW - 300 * DAY, **fields})) is None


ALL = ["events:read", "events:write", "payments:read", "webhook:manage"]


def seen(*scopes: str, days: int = 90, last: int = 0) -> list[SeenTrait]:
    return [SeenTrait(scope, NOW - days * DAY, NOW - last * DAY) for scope in scopes]


def test_scopes_that_a_key_is_never_used_for_are_to_be_taken_away() -> None:
    advice = unused_scopes(key_facts(scopes=ALL, seen=[*seen("events:write"), *seen("events:read", days=3)]))
    assert advice is not None and advice.change is not None
    assert advice.change.operation == Operation.UpdateApiKey
    assert advice.change.body == {"scopes": ["events:read", "events:write"]}
    UpdateApiKey.model_validate(dict(advice.change.body))
    assert figures(advice) == {
        "scopes": 4,
        "scopesUsed": 2,
        "scopesUnused": 2,
        "watched": 90,
        "scopesFewer": 2,
    }
    assert "never for `payments:read`, `webhook:manage`." in advice.explanation


def test_a_scope_that_shows_more_of_the_same_page_counts_as_used() -> None:
    advice = unused_scopes(
        key_facts(scopes=["insights:read", "webhook:manage", "events:write"], seen=seen("insights:read"))
    )
    assert advice is not None and advice.change is not None
    assert advice.change.body == {"scopes": ["insights:read", "webhook:manage"]}


@pytest.mark.parametrize(
    ("known", "fields"),
    [
        ([], {}),
        (seen("events:write", days=89), {}),
        (seen(*ALL), {}),
        (seen("events:write", days=200, last=90), {}),
        ([*seen("events:write"), *seen(ANYTHING, days=1)], {}),
        ([*seen("events:write"), *seen("integration:manage", days=1)], {}),
        (seen("events:write"), {"is_active": False}),
    ],
    ids=[
        "never used",
        "watched too short",
        "all used",
        "none used lately",
        "verified without a scope",
        "manages keys",
        "revoked",
    ],
)
def test_scopes_of_other_keys_stay(known: list[SeenTrait], fields: dict[str, object]) -> None:
    assert unused_scopes(key_facts(scopes=ALL, seen=known, **fields)) is None


def test_an_old_key_without_an_end_is_a_persons_business() -> None:
    advice = without_expiry(key_facts(created_at=NOW - 180 * DAY))
    assert advice is not None and advice.change is None
    assert figures(advice)["age"] == 180


@pytest.mark.parametrize(
    "fields",
    [
        {"created_at": NOW - 179 * DAY},
        {"expires_at": NOW + 900 * DAY},
        {"rotated_to": SUBJECT},
        {"last_used_at": NOW - 100 * DAY},
        {"is_active": False},
    ],
    ids=["young", "ends", "being rotated", "unused", "revoked"],
)
def test_keys_with_an_end_in_sight_are_left_alone(fields: dict[str, object]) -> None:
    assert without_expiry(key_facts(**{"created_at": NOW - 200 * DAY, **fields})) is None
