"""Names that end in a blank are other names than those without it, on SQL Server too (`Named` in infra/sql/types.py).

Only what ends in a blank is rewritten: no column changes. SQL Server has no two rows whose names differ in nothing
else, or its unique keys would have refused the second."""

from __future__ import annotations

from alembic import op

revision = "0036"
down_revision = "0032"
branch_labels = None
depends_on = None

_NAMES = (
    ("SyncedRecords", "ExternalId"),
    ("SyncedRecords", "LocalId"),
    ("SyncedRecords", "Stream"),
    ("SyncStreams", "Stream"),
    ("SyncSteps", "Stream"),
    ("SyncRecordErrors", "ExternalId"),
    ("SyncRecordErrors", "Stream"),
    ("KeySightings", "Value"),
)


def upgrade() -> None:
    _replace_last(" ", 0xFFFF)


def downgrade() -> None:
    _replace_last("\uffff", 0x20)


def _replace_last(last: str, code: int) -> None:
    for table, column in _NAMES:
        # LIKE, unlike =, compares the blanks at the end.
        if op.get_context().dialect.name == "mssql":
            ends = f"[{column}] LIKE N'%' + NCHAR({ord(last)})"
            value = f"STUFF([{column}], DATALENGTH([{column}]) / 2, 1, NCHAR({code}))"
            op.execute(f"UPDATE [{table}] SET [{column}] = {value} WHERE {ends}")  # noqa: S608 - names of this file
        else:
            ends = f"\"{column}\" LIKE '%' || char({ord(last)})"
            value = f'substr("{column}", 1, length("{column}") - 1) || char({code})'
            op.execute(f'UPDATE "{table}" SET "{column}" = {value} WHERE {ends}')  # noqa: S608 - as above
