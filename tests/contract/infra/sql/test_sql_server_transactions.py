"""What SQL Server is told around the statements: isolation levels, commits, and what happens when it gives one up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from domain.core.errors import OutcomeUnknown, Unavailable, Undone
from domain.core.transaction import repeated
from infra.sql.engine import SNAPSHOT, Database
from infra.sql.migrate import SNAPSHOTS_ON, _turn_snapshots_on
from infra.sql.transaction import SqlTransaction, SqlTransactions
from tests.worlds.builders import FakeClock
from tests.worlds.sql_server_wire import Wire, sql_server_engine

_TO_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"
_BACK = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


class Server:
    """Units of work over the stand-in for pyodbc, on one pooled connection."""

    def __init__(self) -> None:
        self.wire = Wire()
        engine = sql_server_engine(self.wire, pool_size=1, max_overflow=0)
        self.database = Database(engine, reads=SNAPSHOT)
        self.transactions = SqlTransactions(self.database, FakeClock(), lambda refs: None)
        self.log = self.wire.log
        self.database.ping()
        self.log.clear()

    def fails(self, what: str, *errors: tuple[str, str] | None) -> None:
        """The next texts that begin with `what` meet these (SQLSTATE, message)s; None stands for none."""
        left = list(errors)

        def fault(told: str) -> None:
            error = left.pop(0) if left and told.startswith(what) else None
            if error is not None:
                raise self.wire.module().Error(*error)

        self.wire.fault = fault


@pytest.fixture
def server() -> Server:
    return Server()


def _say(tx: SqlTransaction, statement: str) -> None:
    tx._connection.execute(text(statement))


# -- isolation ------------------------------------------------------------------------------------------------


def test_a_read_is_one_moment_and_its_connection_goes_back_as_it_came(server: Server) -> None:
    with server.transactions.read() as tx:
        _say(tx, "SELECT 1")
        _say(tx, "SELECT 2")
    assert server.log == [_TO_SNAPSHOT, "COMMIT", "SELECT 1", "SELECT 2", "ROLLBACK", _BACK]


def test_a_write_after_a_read_on_the_same_connection_is_read_committed(server: Server) -> None:
    with server.transactions.read() as tx:
        _say(tx, "SELECT 1")
    before = len(server.log)
    with server.transactions.write() as tx:
        _say(tx, "UPDATE t")
        tx.commit()
    assert server.log[before:] == ["UPDATE t", "COMMIT", "ROLLBACK"]
    levels = [statement for statement in server.log if statement.startswith("SET TRANSACTION")]
    assert levels == [_TO_SNAPSHOT, _BACK]


def test_the_level_goes_back_after_a_read_that_failed(server: Server) -> None:
    with pytest.raises(RuntimeError), server.transactions.read() as tx:
        _say(tx, "SELECT 1")
        raise RuntimeError("the use case failed")
    assert server.log[-1] == _BACK


def test_a_ping_needs_no_isolation(server: Server) -> None:
    server.database.ping()
    assert not [statement for statement in server.log if statement.startswith("SET")]


def test_a_migration_has_the_database_keep_versions_outside_any_transaction(server: Server) -> None:
    modes: dict[str, bool] = {}
    server.wire.fault = lambda told: modes.update({told: server.wire.autocommit})
    _turn_snapshots_on(server.database)
    assert [modes[statement] for statement in SNAPSHOTS_ON] == [True, True]
    with server.transactions.write() as tx:
        _say(tx, "UPDATE t")
    assert modes["UPDATE t"] is False


# -- giving up ------------------------------------------------------------------------------------------------

_DEADLOCK = ("40001", "[40001] Transaction (Process ID 52) was deadlocked and chosen (1205) (SQLExecDirectW)")
_LOST = ("08S01", "[08S01] TCP Provider: Error code 0x68 (104) (SQLExecDirectW)")


def _written(server: Server) -> Callable[[], str]:
    """A use case of one transaction."""

    @repeated
    def use_case() -> str:
        with server.transactions.write() as tx:
            _say(tx, "UPDATE t")
            tx.commit()
        return "done"

    return use_case


@pytest.mark.parametrize("error", [_DEADLOCK, _LOST], ids=["deadlock", "lost"])
def test_a_transaction_that_was_undone_is_done_again_as_a_whole(
    server: Server, error: tuple[str, str]
) -> None:
    server.fails("UPDATE", error, error)
    assert _written(server)() == "done"
    assert server.log.count("UPDATE t") == 3
    assert server.log.count("COMMIT") == 1


def test_the_third_time_is_the_last(server: Server) -> None:
    server.fails("UPDATE", *[_DEADLOCK] * 9)
    with pytest.raises(Undone):
        _written(server)()
    assert server.log.count("UPDATE t") == 3
    assert "COMMIT" not in server.log


def test_a_commit_whose_answer_was_lost_is_not_repeated(server: Server) -> None:
    """It may have come through."""
    server.fails("COMMIT", _LOST)
    with pytest.raises(OutcomeUnknown):
        _written(server)()
    assert server.log.count("UPDATE t") == 1


def test_what_asks_for_a_pause_is_not_repeated_at_once(server: Server) -> None:
    server.fails("UPDATE", ("HY000", "[HY000] The service is currently busy. (40501) (SQLExecDirectW)"))
    with pytest.raises(Unavailable) as caught:
        _written(server)()
    assert not isinstance(caught.value, Undone)
    assert server.log.count("UPDATE t") == 1


def test_a_unit_that_committed_once_is_not_undone_as_a_whole(server: Server) -> None:
    server.fails("UPDATE", None, _DEADLOCK)
    with pytest.raises(OutcomeUnknown), server.transactions.write() as tx:
        _say(tx, "UPDATE a")
        tx.commit()
        _say(tx, "UPDATE b")


def test_a_conflict_under_commit_left_nothing_behind(server: Server) -> None:
    server.fails("COMMIT", _DEADLOCK)
    with pytest.raises(Unavailable) as caught:
        _written(server)()
    assert not isinstance(caught.value, OutcomeUnknown)


def test_a_mistake_of_ours_is_not_hidden(server: Server) -> None:
    server.fails("UPDATE", ("42S02", "[42S02] Invalid object name 't'. (208) (SQLExecDirectW)"))
    with pytest.raises(Exception, match="Invalid object name"):
        _written(server)()
    assert server.log.count("UPDATE t") == 1


# -- lost connections -------------------------------------------------------------------------------------------

_LOST = (
    "08S01",
    "[08S01] [Microsoft][ODBC Driver 18 for SQL Server]Communication link failure (0) (SQLEndTran)",
)
_TIMED_OUT = (
    "HYT00",
    "[HYT00] [Microsoft][ODBC Driver 18 for SQL Server]Query timeout expired (0) (SQLExecDirectW)",
)


@pytest.mark.parametrize(("error", "meant"), [(_TIMED_OUT, Unavailable), (_LOST, Undone)])
def test_a_statement_that_times_out_costs_one_connection_and_not_the_pool(
    error: tuple[str, str], meant: type[Exception]
) -> None:
    wire = Wire()
    database = Database(sql_server_engine(wire, pool_size=3))
    with database.write(), database.write(), database.write():
        pass
    assert wire.connections == 3

    def fault(told: str) -> None:
        if told == "SLOW":
            raise wire.module().OperationalError(*error)

    wire.fault = fault
    with pytest.raises(meant), database.write() as connection:
        connection.execute(text("SLOW"))
    with database.write(), database.write(), database.write():
        pass
    assert wire.connections == 4


def test_a_connection_that_is_lost_as_a_process_greets_the_server_is_unavailability() -> None:
    """SQLAlchemy hands on the driver's own error of these moments, which was a fault of ours to callers: 500."""
    wire = Wire()
    database = Database(sql_server_engine(wire))

    def fault(told: str) -> None:
        raise wire.module().OperationalError(*_LOST)

    wire.fault = fault
    with pytest.raises(Unavailable) as refusal, database.read():
        pass
    assert not isinstance(refusal.value, Undone)
    wire.fault = lambda told: None
    database.ping()


def test_nothing_is_asked_of_the_server_before_the_first_statement() -> None:
    wire = Wire()
    database = Database(sql_server_engine(wire))
    with database.write() as connection:
        connection.execute(text("SELECT 2"))
    assert [told for told in wire.log if told != "ROLLBACK"] == ["SELECT 2"]
