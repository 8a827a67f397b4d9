"""A state is good once, for ten minutes, for whom it was made."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from domain.core.ports import TableEntity
from domain.oauth.model import PendingState
from domain.oauth.states import TABLE, StateRefused, StateStore, browser_hash, is_same_browser
from infra.embedded.secrets import EmbeddedSecretStore
from infra.embedded.tables import EmbeddedTableStore
from infra.sealing import SecretStoreCipher
from tests.worlds.builders import TENANT, USER, FakeClock

VERIFIER = "the-pkce-verifier-that-nobody-may-read-0123456789"


class Desk:
    def __init__(self, home: Path) -> None:
        self.clock = FakeClock()
        self.tables = EmbeddedTableStore(home / "tables.db", self.clock)
        self.states = StateStore(self.tables, SecretStoreCipher(EmbeddedSecretStore(home)), self.clock)

    def begin(self) -> str:
        pending = PendingState(
            TENANT, USER, UUID(int=7), VERIFIER, browser_hash("cookie"), self.states.expiry(), "/settings"
        )
        return self.states.begin(pending)

    def rows(self) -> list[TableEntity]:
        return self.tables.query(TABLE)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.tables.close()


def test_it_gives_back_what_it_stood_for(desk: Desk) -> None:
    found = desk.states.take(desk.begin())
    assert (found.tenant_id, found.user_id, found.integration_id) == (TENANT, USER, UUID(int=7))
    assert found.verifier == VERIFIER
    assert found.redirect_after == "/settings"


def test_it_is_good_once(desk: Desk) -> None:
    state = desk.begin()
    desk.states.take(state)
    with pytest.raises(StateRefused, match="used already"):
        desk.states.take(state)


def test_of_many_callbacks_at_once_one_gets_it(desk: Desk) -> None:
    state = desk.begin()

    def attempt(_: int) -> bool:
        try:
            desk.states.take(state)
        except StateRefused:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(64))) == 1


def test_ten_minutes_later_it_is_expired_and_gone(desk: Desk) -> None:
    state = desk.begin()
    desk.clock.advance(minutes=10)
    with pytest.raises(StateRefused, match="expired"):
        desk.states.take(state)
    assert desk.rows() == []


def test_a_second_before_it_is_still_good(desk: Desk) -> None:
    state = desk.begin()
    desk.clock.advance(minutes=9, seconds=59)
    assert desk.states.take(state).verifier == VERIFIER


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: "0" + s, lambda s: "", lambda s: "a/b#c?"])
def test_what_is_not_one_of_ours_is_refused(desk: Desk, change: object) -> None:
    assert callable(change)
    with pytest.raises(StateRefused):
        desk.states.take(change(desk.begin()))


def test_its_expiry_cannot_be_moved(desk: Desk) -> None:
    expires, _, random = desk.begin().partition(".")
    with pytest.raises(StateRefused, match="does not exist"):
        desk.states.take(f"{int(expires, 16) + 3600:x}.{random}")


def test_a_row_copied_from_another_state_does_not_open(desk: Desk) -> None:
    state, other = desk.begin(), desk.begin()
    mine, theirs = desk.rows()
    desk.tables.upsert(TABLE, replace(mine, properties=theirs.properties))
    desk.tables.upsert(TABLE, replace(theirs, properties=mine.properties))
    for swapped in (state, other):
        with pytest.raises(ValueError, match=r"."):
            desk.states.take(swapped)


def test_who_reads_the_table_learns_neither_state_nor_verifier(desk: Desk) -> None:
    state = desk.begin()
    stored = repr(desk.rows())
    assert state not in stored and state.partition(".")[2] not in stored
    assert VERIFIER not in stored


def test_only_the_browser_that_asked_has_the_cookie(desk: Desk) -> None:
    pending = desk.states.take(desk.begin())
    assert is_same_browser(pending, "cookie")
    assert not is_same_browser(pending, "another")


def test_states_nobody_came_back_for_are_forgotten(desk: Desk) -> None:
    desk.begin()
    desk.clock.advance(minutes=11)
    fresh = desk.begin()
    assert desk.states.forget_expired() == 1
    assert desk.states.take(fresh).verifier == VERIFIER
