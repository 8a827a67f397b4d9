"""How Azure SQL is entered: driver, token, and another try after a failure that passes."""

from __future__ import annotations

import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from infra.sql.login import (
    LOGIN_SECONDS,
    SCOPE,
    SQL_COPT_SS_ACCESS_TOKEN,
    Login,
    access_token,
    needs_token,
    with_driver,
)

AZURE = "Server=tcp:hub.database.windows.net,1433;Database=hub;Encrypt=yes;"


class DriverError(Exception):
    """Stands for pyodbc.Error."""


class Dialect:
    """Refuses the first connections with the errors given, then keeps what it was called with."""

    loaded_dbapi = SimpleNamespace(Error=DriverError)

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def connect(self, *arguments: Any, **options: Any) -> str:
        self.calls.append((arguments, options))
        if self.errors:
            raise self.errors.pop(0)
        return "connection"


class Credential:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> Any:
        self.asked += scopes
        return SimpleNamespace(token=f"token-{len(self.asked)}")


def opened(dialect: Dialect, credential: Any = None) -> tuple[Any, list[float]]:
    waited: list[float] = []
    login = Login(credential, sleep=waited.append)
    return login.do_connect(dialect, None, ["text"], {"timeout": 5}), waited


def test_the_newest_installed_driver_is_named_where_none_is() -> None:
    installed = [
        "SQLite3",
        "ODBC Driver 9 for SQL Server",
        "ODBC Driver 18 for SQL Server",
        "ODBC Driver 17 for SQL Server",
    ]
    assert with_driver(AZURE, installed) == f"Driver={{ODBC Driver 18 for SQL Server}};{AZURE}"
    named = f"DRIVER=/opt/libtdsodbc.so;{AZURE}"
    assert with_driver(named, installed) == named


def test_without_a_driver_the_refusal_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="HUB_SQL_CONNECTION"):
        with_driver(AZURE, ["SQLite3"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AZURE, True),
        (f"{AZURE}UID=sa;PWD=x", False),
        (f"{AZURE}User Id=sa;", False),
        (f"{AZURE}Authentication=ActiveDirectoryMsi", False),
        (f"{AZURE}Trusted_Connection=yes", False),
    ],
)
def test_the_managed_identity_enters_where_no_credentials_are_named(text: str, expected: bool) -> None:
    assert needs_token(text) is expected


def test_a_token_is_its_length_and_utf_16() -> None:
    packed = access_token("aé")
    assert struct.unpack("<I", packed[:4]) == (4,)
    assert packed[4:].decode("utf-16-le") == "aé"


def test_every_connection_gets_a_token_of_its_own_moment() -> None:
    credential, dialect = Credential(), Dialect()
    for _ in range(2):
        assert opened(dialect, credential) == ("connection", [])
    assert credential.asked == [SCOPE, SCOPE]
    assert [call[1]["attrs_before"] for call in dialect.calls] == [
        {SQL_COPT_SS_ACCESS_TOKEN: access_token("token-1")},
        {SQL_COPT_SS_ACCESS_TOKEN: access_token("token-2")},
    ]


def test_with_credentials_in_the_text_no_token_is_asked_for() -> None:
    dialect = Dialect()
    opened(dialect)
    assert dialect.calls == [(("text",), {"timeout": 5})]


@pytest.mark.parametrize(
    "error",
    [
        DriverError("42000", "[42000] Database 'hub' is not currently available (40613) (SQLDriverConnect)"),
        DriverError("08001", "[08001] TCP Provider: Error code 0x2746 (10054) (SQLDriverConnect)"),
        DriverError("HYT00", "[HYT00] Login timeout expired (0) (SQLDriverConnect)"),
        DriverError("42000", "[42000] The service is busy (40501)"),
    ],
    ids=["paused", "reset", "timeout", "busy"],
)
def test_a_failure_that_passes_is_tried_again_with_growing_waits(error: Exception) -> None:
    connection, waited = opened(Dialect(error, error, error))
    assert connection == "connection"
    assert [0.25 <= waited[0] <= 0.75, 1 <= waited[1] <= 3, 2.5 <= waited[2] <= 7.5] == [True] * 3


def test_the_fourth_failure_is_the_last() -> None:
    error = DriverError("42000", "not currently available (40613)")
    with pytest.raises(DriverError):
        opened(Dialect(*[error] * 4))


def test_a_refused_login_is_not_tried_again() -> None:
    dialect = Dialect(DriverError("28000", "[28000] Login failed for user '<token>' (18456)"))
    with pytest.raises(DriverError):
        opened(dialect)
    assert len(dialect.calls) == 1


def test_an_error_of_our_own_is_not_taken_for_the_drivers() -> None:
    dialect = Dialect(RuntimeError("(40613)"))
    with pytest.raises(RuntimeError):
        opened(dialect)
    assert len(dialect.calls) == 1


class Outage:
    """A database that is away until told otherwise; `moment` is what the clock shows."""

    def __init__(self) -> None:
        self.is_away = True
        self.tries = 0
        self.moment = 0.0
        self.takes = 0.0
        self.login = Login(sleep=self.pass_time, monotonic=lambda: self.moment)

    def pass_time(self, seconds: float) -> None:
        self.moment += seconds

    def connect(self) -> str:
        self.tries += 1
        self.moment += self.takes
        if self.is_away:
            raise DriverError("HYT00", "Login timeout expired (0) (SQLDriverConnect)")
        return "connection"

    def open(self) -> Any:
        return self.login.open(self.connect, lambda error: isinstance(error, DriverError))


def test_tries_that_take_their_whole_time_end_within_half_a_minute() -> None:
    outage = Outage()
    outage.takes = LOGIN_SECONDS
    with pytest.raises(DriverError):
        outage.open()
    assert outage.tries == 2
    assert outage.moment < 30


def test_in_an_outage_the_next_callers_try_once_each_and_the_first_success_ends_it() -> None:
    outage = Outage()
    for tries in (4, 5, 6):
        with pytest.raises(DriverError):
            outage.open()
        assert outage.tries == tries
    outage.is_away = False
    assert outage.open() == "connection"
    outage.is_away = True
    with pytest.raises(DriverError):
        outage.open()
    assert outage.tries == 7 + 4, "a new outage is met with all patience again"


def test_in_an_outage_one_asks_and_the_others_fail_at_once() -> None:
    outage = Outage()
    with pytest.raises(DriverError):
        outage.open()
    asked, answer = threading.Event(), threading.Event()

    def slow() -> str:
        asked.set()
        answer.wait(10)
        return outage.connect()

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(outage.login.open, slow, lambda error: True)
        assert asked.wait(10)
        before = outage.tries
        with pytest.raises(DriverError, match="HYT00"):
            outage.open()
        assert outage.tries == before
        outage.is_away = False
        answer.set()
        assert asking.result(10) == "connection"
    assert outage.open() == "connection"


def test_a_refusal_is_no_outage() -> None:
    outage = Outage()
    for _ in range(2):
        with pytest.raises(DriverError):
            outage.login.open(outage.connect, lambda error: False)
    outage.is_away = False
    assert outage.open() == "connection"
