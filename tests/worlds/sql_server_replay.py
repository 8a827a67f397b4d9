"""What SQL Server's driver is handed when every method of every repository is called once."""

from __future__ import annotations

import sqlite3
import weakref
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, event

from infra.rotate_data_key import SEALED, keys_in_use, reseal
from tests.worlds.sql_drive import calls, public_methods
from tests.worlds.sql_server_wire import Sent, Wire, sql_server_engine
from tests.worlds.sql_world import world_under


class ScatteredIds:
    """Ids in no order of time, as if those of several processes met."""

    def __init__(self) -> None:
        self._random = Random(20260301)

    def new(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)


class _Cipher:
    """Opens everything."""

    current = "0123456789abcdef"

    def open(self, sealed: str, *, context: str) -> str:
        return sealed

    def seal(self, plaintext: str, *, context: str) -> str:
        return f"v1.{self.current}.x"


class _Cursors:
    """Which statements were sent while the rows of another were still being read."""

    def __init__(self, engine: Engine) -> None:
        self.meanwhile: list[str] = []
        self._read: list[weakref.ref[Any]] = []
        event.listen(engine, "before_cursor_execute", self._before)

    def _before(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        for earlier in [ref() for ref in self._read]:
            if earlier is not None and not _is_closed(earlier):
                self.meanwhile.append(statement)
        self._read = [weakref.ref(cursor)]


def _is_closed(cursor: Any) -> bool:
    try:
        cursor.fetchone()
    except sqlite3.ProgrammingError:
        return True
    return False


def handed_over(home: Path, *, scattered: bool = False) -> tuple[list[Sent], list[str]]:
    """Run each method on SQLite, and send each statement that it executes there to SQL Server's dialect too.

    Return what the driver got, and the statements sent while the rows of another were still being read. With
    `scattered` the ids that the methods are called with come in no order."""
    wire = Wire()
    server = sql_server_engine(wire).connect()
    with world_under(home) as world:
        if scattered:
            world.ids = ScatteredIds()  # type: ignore[assignment]
        methods = calls(world)
        assert set(methods) == public_methods(world), "a repository method is not driven by sql_drive.calls"

        def replay(connection: Any, statement: Any, many: Any, one: Any, options: Any) -> None:
            if wire.method:
                server.execute(statement, many or one)

        event.listen(world.database.engine, "before_execute", replay)
        cursors = _Cursors(world.database.engine)
        for method, each in methods.items():
            for call in each:
                wire.call += 1
                with world.transactions.write() as tx:
                    wire.method = method
                    call(tx)
                    wire.method = ""
        # A program of its own, which uses no repository.
        wire.method = "rotation"
        keys_in_use(world.database)
        for column in SEALED:
            reseal(world.database, _Cipher(), column, _Cipher.current)  # type: ignore[arg-type]
    return wire.sent, cursors.meanwhile
