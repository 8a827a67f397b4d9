"""Grants over either table store: claims, fences and the index of what is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from domain.core.ports import TableStore
from domain.oauth.grants import TABLE, GrantStore, StaleGrant
from domain.oauth.model import Grant, GrantStatus, Tokens
from infra.azure.tables.store import AzureTableStore
from infra.embedded.secrets import EmbeddedSecretStore
from infra.embedded.tables import EmbeddedTableStore
from tests.worlds.builders import START, TENANT, USER, FakeClock

TOKENS = Tokens("access", "refresh", ("read",), START, START + timedelta(hours=1))


class Desk:
    def __init__(self, tables: TableStore, home: Path) -> None:
        self.clock, self.tables = FakeClock(), tables
        self.secrets = EmbeddedSecretStore(home)
        self.grants = GrantStore(tables, self.secrets, self.clock)

    def established(self, due_in_minutes: int = 45) -> Grant:
        fresh = Grant(
            uuid4(),
            TENANT,
            USER,
            GrantStatus.Active,
            authorized_at=START,
            expires_at=TOKENS.expires_at,
            due_at=START + timedelta(minutes=due_in_minutes),
            scopes=("read",),
            requested_scopes=("read", "write"),
        )
        self.grants.establish(fresh, TOKENS)
        return self.now(fresh)

    def now(self, grant: Grant) -> Grant:
        found = self.grants.get(grant.integration_id)
        assert found is not None
        return found

    def is_due(self, grant: Grant) -> bool:
        return grant.integration_id in {due.integration_id for due in self.grants.due(1000)}


@pytest.fixture(params=["embedded", pytest.param("azure", marks=pytest.mark.azure)])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    tables: EmbeddedTableStore | AzureTableStore
    if request.param == "embedded":
        tables = EmbeddedTableStore(tmp_path / "tables.db", FakeClock())
    else:
        tables = AzureTableStore(connection_string=request.getfixturevalue("azurite_tables"))
    yield Desk(tables, tmp_path)
    tables.close()


def test_it_comes_back_as_it_was_kept(desk: Desk) -> None:
    grant = desk.established()
    assert grant.missing_scopes == ("write",)
    assert (grant.fence, grant.token_fence, grant.authorized_at) == (1, 1, START)
    assert desk.grants.tokens(grant) == replace(TOKENS, fence=1)


def test_one_of_two_claims_gets_it(desk: Desk) -> None:
    grant = desk.established()
    claimed = desk.grants.claim(grant)
    assert claimed.fence == 2
    with pytest.raises(StaleGrant):
        desk.grants.claim(grant)
    desk.grants.check(claimed)


def test_a_change_counts_only_under_the_last_fence_and_moves_the_due_moment(desk: Desk) -> None:
    grant = desk.established()
    stale = desk.grants.claim(grant)
    last = desk.grants.claim(desk.now(grant))
    desk.clock.advance(minutes=46)
    assert desk.is_due(grant)
    with pytest.raises(StaleGrant):
        desk.grants.change(stale, lambda current: replace(current, failures=9))
    desk.grants.change(last, lambda current: replace(current, due_at=START + timedelta(hours=2)))
    assert not desk.is_due(grant)
    assert desk.now(grant).failures == 0
    desk.clock.advance(minutes=75)
    assert desk.is_due(grant)


def test_a_withdrawn_grant_is_never_due_and_overtakes_whoever_refreshes_it(desk: Desk) -> None:
    grant = desk.established(due_in_minutes=0)
    claimed = desk.grants.claim(grant)
    desk.grants.withdraw(grant.integration_id)
    assert not desk.is_due(grant)
    assert desk.secrets.get(grant.secret_name) is None
    with pytest.raises(StaleGrant):
        desk.grants.change(claimed, lambda current: replace(current, failures=1))


def test_authorised_again_it_has_new_tokens_only(desk: Desk) -> None:
    grant = desk.established()
    again = desk.grants.establish(grant, replace(TOKENS, access_token="second"))
    kept = desk.grants.tokens(desk.now(grant))
    assert kept is not None and kept.access_token == "second"
    assert again.fence == 2
    assert desk.secrets.get(grant.secret_name) is None


def test_removed_it_leaves_nothing(desk: Desk) -> None:
    grant = desk.established(due_in_minutes=0)
    desk.grants.remove(grant)
    assert desk.grants.get(grant.integration_id) is None
    assert desk.secrets.names("oauth-") == []
    shard = grant.integration_id.hex[-1]
    assert not [row for row in desk.tables.query(TABLE, shard) if grant.integration_id.hex in row.row_key]
