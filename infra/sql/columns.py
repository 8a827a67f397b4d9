"""What the tables of the schema share: the metadata they are on, and pieces of columns and indexes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, PrimaryKeyConstraint, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from infra.sql.types import Guid, Utc

metadata = MetaData(naming_convention={"pk": "PK_%(table_name)s"})


class utc_now(GenericFunction[Any]):  # noqa: N801 - a SQL function's name
    """The database's own UTC time, for the columns the specification gives a default."""

    type = Utc()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _utc_now_sqlite(element: utc_now, compiler: Any, **options: Any) -> str:
    return "(strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))"


@compiles(utc_now)
def _utc_now(element: utc_now, compiler: Any, **options: Any) -> str:
    return "GETUTCDATE()"


#: SQLite counts rows by INTEGER, SQL Server by BIGINT IDENTITY.
BigKey = BigInteger().with_variant(Integer, "sqlite")


def filtered(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Index the rows that `where` selects. SQL Server uses it with QUOTED_IDENTIFIER ON only, as ODBC has."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), mssql_where=text(where))


def clustered(name: str, *columns: str) -> Index:
    """Order the rows themselves by an index on SQL Server, where version 7 ids do not sort by time; see docs/sql.md.

    Its table keeps a `scattered_key`."""
    return Index(name, *columns, mssql_clustered=True)


def scattered_key(*columns: str) -> PrimaryKeyConstraint:
    """Return a primary key that does not order the rows on SQL Server."""
    return PrimaryKeyConstraint(*columns, mssql_clustered=False)


def created_at() -> Column[Any]:
    """Return the column of when the row was stored, by the database's clock unless given."""
    return Column("CreatedAt", Utc, nullable=False, server_default=utc_now())


def user(name: str, *, constraint: str, nullable: bool = False) -> Column[Any]:
    """Return a column that refers to the user who did it."""
    return Column(name, Guid, ForeignKey("Users.UserId", name=constraint), nullable=nullable)


def integration(constraint: str, *, nullable: bool = False, primary_key: bool = False) -> Column[Any]:
    """Return a column that refers to the integration a row belongs to."""
    refers = ForeignKey("Integrations.IntegrationId", name=constraint)
    return Column("IntegrationId", Guid, refers, nullable=nullable, primary_key=primary_key)
