"""The database user of the app's identity."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlglot

from infra.sql.grant import statements

CLIENT = UUID("00112233-4455-6677-8899-aabbccddeeff")


def test_a_user_is_made_of_the_client_id_as_sql_server_stores_it() -> None:
    drop, create, *roles = statements("id-hub-dev-abc123", CLIENT)
    sid = "0x33221100554477668899aabbccddeeff"  # CAST(CAST('...' AS uniqueidentifier) AS varbinary(16))
    assert create.endswith(f"CREATE USER [id-hub-dev-abc123] WITH SID = {sid}, TYPE = E")
    assert f"name = N'id-hub-dev-abc123' AND sid <> {sid}" in drop
    assert roles == [
        "ALTER ROLE db_datareader ADD MEMBER [id-hub-dev-abc123]",
        "ALTER ROLE db_datawriter ADD MEMBER [id-hub-dev-abc123]",
    ]


def test_it_is_t_sql_and_asks_before_it_makes_or_drops() -> None:
    for statement in statements("id-hub", CLIENT)[:2]:
        assert sqlglot.parse(statement, dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE)
        assert statement.startswith("IF ")


@pytest.mark.parametrize("name", ["", "a]; DROP TABLE Webhooks --", "a'b", "a\0b", "x" * 129])
def test_a_name_that_no_identity_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="managed identity"):
        statements(name, CLIENT)
