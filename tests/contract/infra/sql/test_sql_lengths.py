"""SQLite refuses the texts that SQL Server's NVARCHAR(n) would (error 2628), which knows no lengths itself."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Column, insert, select, update
from sqlalchemy.dialects import mssql, sqlite
from sqlalchemy.exc import StatementError

from infra.sql.schema import metadata
from infra.sql.tenants.repository import SqlUsers
from infra.sql.tenants.tables import users
from tests.worlds.sql_world import START, SqlWorld

EMOJI = "\N{GRINNING FACE}"
TEXTS: list[tuple[str, Column[Any], int]] = [
    (f"{table.name}.{column.name}", column, column.type.length)
    for table in metadata.tables.values()
    for column in table.columns
    if getattr(column.type, "length", None)
]


@pytest.mark.parametrize(
    ("column", "most"), [(column, most) for _, column, most in TEXTS], ids=[name for name, _, _ in TEXTS]
)
def test_a_column_takes_its_length_in_utf_16_units_and_no_more(column: Column[Any], most: int) -> None:
    bind = column.type.bind_processor(sqlite.dialect())
    assert bind is not None and bind("x" * most) == "x" * most and bind(None) is None
    full = "x" * (most % 2) + EMOJI * (most // 2)
    assert bind(full) == full
    for longer in ("x" * (most + 1), full + "x"):
        with pytest.raises(ValueError, match=f"NVARCHAR\\({most}\\)"):
            bind(longer)
    assert column.type.compile(mssql.dialect()).startswith(f"NVARCHAR({most})")


def test_a_row_with_a_text_that_is_too_long_is_neither_inserted_nor_changed(world: SqlWorld) -> None:
    user = {"UserId": uuid4(), "TenantId": world.tenant, "CreatedAt": START}
    mine = users.c.UserId == user["UserId"]
    with world.database.write() as connection:
        connection.execute(insert(users).values(user | {"DisplayName": EMOJI * 100}))
        connection.commit()
    for refused in (
        update(users).where(mine).values(DisplayName=EMOJI * 100 + "x"),
        insert(users).values(user | {"UserId": uuid4(), "DisplayName": "x" * 201}),
    ):
        with world.database.write() as connection, pytest.raises(StatementError):
            connection.execute(refused)
    with world.database.read() as connection:
        assert connection.execute(select(users.c.DisplayName).where(mine)).scalar_one() == EMOJI * 100


def test_a_text_that_is_too_long_may_be_looked_for(world: SqlWorld) -> None:
    with world.database.read() as connection:
        for condition in (users.c.DisplayName == "x" * 201, users.c.DisplayName.in_(["x" * 201])):
            assert connection.execute(select(users).where(condition)).first() is None


def test_the_name_of_a_user_is_cut_to_its_column(world: SqlWorld) -> None:
    with world.database.write() as connection:
        user_id = uuid4()
        SqlUsers(connection).see(world.tenant, user_id, "x" + EMOJI * 100, START)
        name = select(users.c.DisplayName).where(users.c.UserId == user_id)
        assert connection.execute(name).scalar_one() == "x" + EMOJI * 99
