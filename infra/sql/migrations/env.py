"""Alembic's environment: over the connection that `infra.sql.migrate` gives, or offline as T-SQL text."""

from __future__ import annotations

from alembic import context

from infra.sql.migrate import SNAPSHOTS_ON
from infra.sql.schema import metadata

connection = context.config.attributes.get("connection")

if context.is_offline_mode():
    context.configure(
        dialect_name="mssql",
        target_metadata=metadata,
        literal_binds=True,
        output_buffer=context.config.output_buffer,
    )
    # sqlcmd turns this off, and without it SQL Server refuses filtered indexes.
    context.execute("SET QUOTED_IDENTIFIER ON")
    context.execute("SET XACT_ABORT ON")
    for statement in SNAPSHOTS_ON:
        context.execute(statement)
else:
    # SQLite's changes of schema are transactional, which Alembic does not assume.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)

with context.begin_transaction():
    context.run_migrations()
