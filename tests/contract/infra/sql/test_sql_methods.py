"""Every method of every repository, on each database; and the database of the tests themselves."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from domain.webhooks.model import DeliveryStatus
from infra.sql.migrate import HEAD, migrate, unmigrate
from infra.sql.schema import metadata
from tests.worlds.sql_drive import calls
from tests.worlds.sql_server_database import SERVER, empty, fresh_database, named, needs_sql_server
from tests.worlds.sql_world import SqlWorld


def test_every_method_is_taken_by_the_database(world: SqlWorld) -> None:
    """What SQL Server takes, only it knows; elsewhere the texts are parsed."""
    refused: dict[str, Exception] = {}
    for method, each in calls(world).items():
        for call in each:
            try:
                with world.transactions.write() as tx:
                    call(tx)
            except Exception as error:
                refused[method] = error
    assert refused == {}


def _rows(world: SqlWorld) -> int:
    with world.database.read() as connection:
        return sum(
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        )


def test_a_world_that_was_emptied_is_as_new(world: SqlWorld) -> None:
    calls(world)
    assert _rows(world) > 1_000
    empty(world.database)
    assert _rows(world) == 0
    again = SqlWorld(world.database)
    webhook = again.webhook()
    assert again.status(webhook, again.deliveries(webhook)[0]) == DeliveryStatus.Pending


@pytest.mark.parametrize(
    "text",
    [
        "Server=localhost;UID=sa;PWD=x",
        "Server=localhost;UID=sa;PWD=x;",
        "Server=localhost;Database=hub;UID=sa;PWD=x",
        "database=hub;Server=localhost;UID=sa;PWD=x;",
        "Server=localhost;UID=sa;PWD=x;Initial Catalog=hub",
    ],
)
def test_the_database_of_a_connection_string_is_replaced(text: str) -> None:
    assert named(text, "master") == "Server=localhost;UID=sa;PWD=x;Database=master"


@needs_sql_server
def test_the_migrations_go_back_and_forth_on_sql_server() -> None:
    with fresh_database(SERVER) as database:
        unmigrate(database)
        with pytest.raises(Exception, match="208"), database.read() as connection:
            connection.exec_driver_sql("SELECT 1 FROM Webhooks")
        migrate(database)
        with database.read() as connection:
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        assert revision == HEAD
