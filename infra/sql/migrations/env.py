"""Alembic's environment: online against a URL, or offline to print the T-SQL."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine

from infra.sql.tables import metadata

config = context.config
url = config.get_main_option("sqlalchemy.url")
if url is None:
    raise SystemExit("Set sqlalchemy.url to the database to migrate.")

if context.is_offline_mode():
    context.configure(url=url, target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()
