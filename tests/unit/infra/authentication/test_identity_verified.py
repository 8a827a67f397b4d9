"""What is remembered of verified tokens, and for how long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from domain.core.principal import Principal
from infra.authentication.verified import VerifiedTokens

ADA = Principal(UUID(int=1), UUID(int=2), frozenset())


def test_a_token_is_remembered_for_60_seconds() -> None:
    tokens = VerifiedTokens()
    tokens.put("t", ADA, now=100, expires=9999, generation=1)
    assert tokens.get("t", now=159.9, generation=1) is ADA
    assert tokens.get("t", now=160, generation=1) is None


def test_a_token_is_not_remembered_past_its_expiry() -> None:
    tokens = VerifiedTokens()
    tokens.put("t", ADA, now=100, expires=110, generation=1)
    assert tokens.get("t", now=109.9, generation=1) is ADA
    assert tokens.get("t", now=110, generation=1) is None


def test_a_clock_set_back_does_not_lengthen_the_memory() -> None:
    tokens = VerifiedTokens()
    tokens.put("t", ADA, now=10_000, expires=99_999, generation=1)
    assert tokens.get("t", now=100, generation=1) is None


def test_another_key_set_forgets_every_token() -> None:
    tokens = VerifiedTokens()
    tokens.put("t", ADA, now=100, expires=9999, generation=1)
    assert tokens.get("t", now=101, generation=2) is None
    assert len(tokens) == 0


def test_only_the_very_same_token_is_remembered() -> None:
    tokens = VerifiedTokens()
    tokens.put("t", ADA, now=100, expires=9999, generation=1)
    assert tokens.get("T", now=101, generation=1) is None


def test_at_most_1024_are_kept_and_the_least_recently_used_go_first() -> None:
    tokens = VerifiedTokens()
    for number in range(1024):
        tokens.put(str(number), ADA, now=100, expires=9999, generation=1)
    tokens.get("0", now=101, generation=1)
    tokens.put("one more", ADA, now=101, expires=9999, generation=1)
    assert len(tokens) == 1024
    assert tokens.get("0", now=101, generation=1) is ADA
    assert tokens.get("1", now=101, generation=1) is None


def test_threads_share_it() -> None:
    tokens = VerifiedTokens()

    def work(thread: int) -> None:
        for number in range(2000):
            token = str((thread * 7 + number) % 1500)
            if tokens.get(token, now=number / 100, generation=1) is None:
                tokens.put(token, ADA, now=number / 100, expires=5, generation=1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(tokens) <= 1024
