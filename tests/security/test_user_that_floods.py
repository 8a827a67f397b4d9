"""A person's token, or a script that has it, calls without end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.apikeys.rate_limit import ChargeKind
from domain.authentication import user_limits
from domain.authentication.service import Authenticator, Credentials
from domain.authentication.user_limits import UserLimits
from domain.core.errors import RateLimited, Unavailable
from domain.core.permissions import APIKEY_VERIFY, INTEGRATION_MANAGE
from domain.core.ports import TableEntity
from infra.app.build import serving
from infra.authentication.development import mint_token
from tests.worlds.apikey_world import ApiKeyWorld
from tests.worlds.owned_world import Answer, OwnedWorld

TENANT, USER = uuid4(), uuid4()


class AtOnce(Executor):
    """Runs what it is given in the caller's thread, so that a test sees its result."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class TablesThatBreak:
    """A table store that is away while `is_away`, and counts its calls."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.is_away = False
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.is_away:
                raise Unavailable("The tables are away.")
            return getattr(self._inner, name)(*args, **kwargs)

        return called


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    return ApiKeyWorld(tmp_path)


def limits(world: ApiKeyWorld, per_hour: int, tables: Any = None) -> UserLimits:
    """Return the limits as one process has them."""
    return UserLimits(tables or world.hub.tables, world.clock, per_hour=per_hour, teller=AtOnce())


def let_in(limits: UserLimits, times: int, *, tenant: UUID = TENANT, user: UUID = USER) -> int:
    return sum(limits.charge(tenant, user, ChargeKind.Use).allowed for _ in range(times))


def test_a_flood_is_refused_with_the_headers_and_the_problem_of_keys(tmp_path: Path) -> None:
    world = OwnedWorld(tmp_path, user_rate_limit_per_hour=5)
    flooder = world.token([INTEGRATION_MANAGE])
    neighbour = world.token([INTEGRATION_MANAGE, APIKEY_VERIFY], user=uuid4())

    def ask(who: dict[str, str], path: str = "/api/apikeys/scopes") -> Answer:
        return world.call("GET", path, None, who)

    def left(answer: Answer) -> str:
        return answer.headers["X-RateLimit-Remaining"]

    with serving(world.hub):
        answers = [ask(flooder) for _ in range(8)]
        assert [answer.status for answer in answers] == [200] * 5 + [429] * 3
        assert [left(answer) for answer in answers] == ["4", "3", "2", "1", "0", "0", "0", "0"]
        assert answers[0].headers["RateLimit-Policy"] == '"hour";q=5;w=3600'
        refusal = answers[-1]
        assert (refusal.body["code"], refusal.body["status"]) == ("rate-limited", 429)
        assert "The user's limit of 5 requests an hour" in refusal.body["detail"]
        assert refusal.headers["Retry-After"] == "3600"
        assert refusal.headers["RateLimit"] == '"hour";r=0;t=3600'
        assert ask(neighbour).status == 200
        # What is refused takes nothing; verifying keys for the platform takes nothing of who is trusted with it.
        refused = ask(neighbour, "/api/audit")
        assert (refused.status, left(refused)) == (403, "4")
        key = {"key": "ihk_x"}
        verified = world.call("POST", "/api/apikeys/verify", key, neighbour)
        assert (verified.status, left(verified)) == (200, "4")
        assert world.call("POST", "/api/apikeys/verify", key, flooder).status == 429
        assert left(ask(neighbour)) == "3"
    world.close()


def test_new_tokens_of_the_same_person_share_the_limit(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path, user_rate_limit_per_hour=3)
    tenant, user = uuid4(), uuid4()

    def call() -> None:
        token = mint_token(tmp_path, tenant_id=tenant, user_id=user, permissions=[], ttl_seconds=60)
        world.hub.use(Authenticator).authenticate(Credentials(authorization=f"Bearer {token}")).require()

    for _ in range(3):
        call()
    with pytest.raises(RateLimited) as refusal:
        call()
    assert refusal.value.retry_after_seconds == 3600


def test_each_person_of_each_tenant_has_a_limit_of_their_own(world: ApiKeyWorld) -> None:
    process = limits(world, 2)
    assert let_in(process, 5) == 2
    assert let_in(process, 5, user=uuid4()) == 2
    assert let_in(process, 5, tenant=uuid4()) == 2


def test_no_sixty_minutes_hold_more_than_the_limit(world: ApiKeyWorld) -> None:
    process, passed = limits(world, 10), []
    for _ in range(200):
        if let_in(process, 1):
            passed.append(world.clock.now())
        world.clock.advance(seconds=97)
    assert len(passed) > 50
    for moment in passed:
        assert sum(moment <= other < moment + timedelta(hours=1) for other in passed) <= 10


def test_a_flood_over_many_processes_meets_one_limit(world: ApiKeyWorld) -> None:
    processes = [limits(world, 1_000) for _ in range(4)]
    passed = 0
    for _ in range(400):
        passed += sum(let_in(process, 1) for process in processes)
    # Each had told of all but the last hundredth when the others looked.
    assert 1_000 <= passed <= 1_000 + 4 * 10
    assert let_in(limits(world, 1_000), 50) <= 1
    world.clock.advance(minutes=61)
    assert let_in(processes[0], 5) == 5


def test_while_the_tables_are_away_each_process_limits_alone_and_catches_up(world: ApiKeyWorld) -> None:
    tables = TablesThatBreak(world.hub.tables)
    process = limits(world, 100, tables)
    tables.is_away = True
    assert let_in(process, 150) == 100
    assert tables.calls < 5
    tables.is_away = False
    world.clock.advance(seconds=6)
    assert let_in(process, 1) == 0
    world.clock.advance(minutes=30)
    # What it counted then is told now: another process learns of it with its first look.
    assert let_in(limits(world, 100), 5) == 1


def test_threads_that_charge_at_once_let_no_more_in(world: ApiKeyWorld) -> None:
    process = UserLimits(world.hub.tables, world.clock, per_hour=500)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: let_in(process, 100), range(16))) == 500


def test_the_windows_of_people_who_are_gone_do_not_stay(world: ApiKeyWorld) -> None:
    process = limits(world, 5)
    for _ in range(50):
        let_in(process, 1, user=uuid4())
    assert world.hub.use(UserLimits).forget_old([TENANT]) == 0
    world.clock.advance(minutes=60)
    left = uuid4()
    let_in(process, 1, user=left)
    assert world.hub.use(UserLimits).forget_old([TENANT, uuid4()]) == 50
    rows: list[TableEntity] = world.hub.tables.query(user_limits.TABLE, TENANT.hex)
    assert [row.row_key for row in rows] == [left.hex]
