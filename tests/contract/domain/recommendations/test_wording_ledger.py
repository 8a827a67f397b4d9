"""The budget of tokens is exact over every table store, whoever spends it at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from domain.recommendations.wording_ledger import Ticket, WordingLedger
from infra.azure.tables.store import AzureTableStore
from infra.clock import SystemClock
from infra.embedded.tables import EmbeddedTableStore
from tests.worlds.builders import FakeClock

LEASE = timedelta(seconds=30)
Opened = Callable[[int], WordingLedger]


@pytest.fixture(params=["embedded", pytest.param("azure", marks=pytest.mark.azure)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Ledgers of processes that share nothing but the store, with so many tokens a day."""
    with ExitStack() as stack:

        def ledger_with(tokens_per_day: int) -> WordingLedger:
            store: EmbeddedTableStore | AzureTableStore
            if request.param == "embedded":
                store = EmbeddedTableStore(tmp_path / "tables.db", SystemClock())
            else:
                store = AzureTableStore(connection_string=request.getfixturevalue("azurite_tables"))
            stack.callback(store.close)
            return WordingLedger(store, FakeClock(), tokens_per_day=tokens_per_day)

        yield ledger_with


@pytest.fixture
def tenant() -> UUID:
    return uuid4()


def test_claims_of_many_at_once_never_set_aside_more_than_the_budget(opened: Opened, tenant: UUID) -> None:
    ledgers = [opened(1_000) for _ in range(4)]

    def claim(number: int) -> object:
        return ledgers[number % 4].claim(tenant, f"{number:x}0", 100, lease=LEASE)

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(claim, range(16)))
    assert sum(isinstance(outcome, Ticket) for outcome in outcomes) == 10
    assert outcomes.count("spent") == 6
    assert ledgers[0].spent_today(tenant) == 1_000


def test_the_same_question_is_claimed_once(opened: Opened, tenant: UUID) -> None:
    ledgers = [opened(100_000) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda ledger: ledger.claim(tenant, "abc", 100, lease=LEASE), ledgers))
    assert sum(isinstance(outcome, Ticket) for outcome in outcomes) == 1
    assert outcomes.count("busy") == 3
    assert ledgers[0].spent_today(tenant) == 100


def test_settling_at_the_same_time_loses_no_tokens(opened: Opened, tenant: UUID) -> None:
    ledgers = [opened(100_000) for _ in range(4)]
    tickets = [ledgers[0].claim(tenant, f"{number:x}0", 500, lease=LEASE) for number in range(8)]

    def settle(number: int) -> None:
        ticket = tickets[number]
        assert isinstance(ticket, Ticket)
        ledgers[number % 4].settle(ticket, spent=number + 1, answer=f"answer {number}")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(settle, range(8)))
    assert ledgers[1].spent_today(tenant) == sum(range(1, 9))
    kept = [ledgers[2].find(tenant, f"{number:x}0") for number in range(8)]
    assert [answer and answer.answer for answer in kept] == [f"answer {number}" for number in range(8)]


def test_an_answer_is_found_by_its_question_alone(opened: Opened, tenant: UUID) -> None:
    ledger = opened(100_000)
    assert ledger.find(tenant, "abc") is None
    ticket = ledger.claim(tenant, "abc", 10, lease=LEASE)
    assert isinstance(ticket, Ticket)
    claimed = ledger.find(tenant, "abc")
    assert claimed is not None
    assert claimed.answer is None
    assert isinstance(claimed.until, datetime)
    ledger.settle(ticket, spent=10, answer="ja" * 8_000)
    found = ledger.find(tenant, "abc")
    assert found is not None
    assert found.answer == "ja" * 8_000
    assert ledger.find(tenant, "abd") is None
    assert ledger.find(uuid4(), "abc") is None
    assert isinstance(ledger.claim(tenant, "abd", 10, lease=LEASE), Ticket), "another takes the place"
    assert ledger.find(tenant, "abc") is None


def test_an_answer_too_long_to_keep_is_not_kept(opened: Opened, tenant: UUID) -> None:
    ledger = opened(100_000)
    ticket = ledger.claim(tenant, "abc", 10, lease=LEASE)
    assert isinstance(ticket, Ticket)
    ledger.settle(ticket, spent=7, answer="a" * 16_001)
    found = ledger.find(tenant, "abc")
    assert found is not None
    assert found.answer is None
    assert ledger.spent_today(tenant) == 7
