"""Data synchronisation: jobs with their steps and checkpoints, records, their errors, streams, schedules, mappings."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from infra.sql.columns import utc_now
from infra.sql.types import Exact, Flag, Guid, Text, Utc, Varchar

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ZERO = sa.text("0")
_COLUMNS = (
    "Origin",
    "Stage",
    "RecordsWritten",
    "RecordsUnchanged",
    "RecordsDuplicate",
    "RecordsDeleted",
    "ErrorCode",
    "RunSlot",
    "RunNumber",
    "Restarts",
    "RunStartedAt",
    "LiveAt",
    "WaitingUntil",
    "QueuedAt",
    "Rate",
)
_INDEXES = (
    "UX_DataSync_Slot",
    "UX_DataSync_Running",
    "IX_DataSync_Waiting",
    "IX_DataSync_Created",
    "IX_DataSync_Limits",
)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default=_ZERO)


def _integration(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["IntegrationId"], ["Integrations.IntegrationId"], name=name)


def _job(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["DataSyncJobId"], ["DataSyncJobs.DataSyncJobId"], name=name, ondelete="CASCADE"
    )


def _filtered(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    clause: Any = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=clause, mssql_where=clause)


def upgrade() -> None:
    for column in (
        sa.Column("Origin", Exact(20), nullable=False, server_default=sa.text("'Manual'")),
        sa.Column("Stage", Exact(120), nullable=False, server_default=sa.text("''")),
        _count("RecordsWritten"),
        _count("RecordsUnchanged"),
        _count("RecordsDuplicate"),
        _count("RecordsDeleted"),
        sa.Column("ErrorCode", Exact(40)),
        sa.Column("RunSlot", sa.Integer()),
        _count("RunNumber"),
        _count("Restarts"),
        sa.Column("RunStartedAt", Utc()),
        sa.Column("LiveAt", Utc()),
        sa.Column("WaitingUntil", Utc()),
        sa.Column("QueuedAt", Utc()),
        sa.Column("Rate", sa.Float()),
    ):
        op.add_column("DataSyncJobs", column)
    running = "RunSlot IS NOT NULL"
    _filtered("UX_DataSync_Slot", "DataSyncJobs", ["RunSlot"], running, unique=True)
    _filtered("UX_DataSync_Running", "DataSyncJobs", ["IntegrationId"], running, unique=True)
    _filtered("IX_DataSync_Waiting", "DataSyncJobs", ["Status", "ScheduledAt"], "Status = 0")
    op.create_index("IX_DataSync_Created", "DataSyncJobs", ["TenantId", "CreatedAt"])
    op.create_index("IX_DataSync_Limits", "DataSyncJobs", ["IntegrationId", "ScheduledAt"])
    _steps_and_streams()
    _records()
    _settings()


def _steps_and_streams() -> None:
    op.create_table(
        "SyncSteps",
        sa.Column("DataSyncJobId", Guid, nullable=False),
        sa.Column("Position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("Stream", Exact(60), nullable=False),
        sa.Column("Direction", sa.Integer(), nullable=False),
        sa.Column("SyncType", sa.Integer(), nullable=False),
        sa.Column("Phase", Exact(10), nullable=False),
        sa.Column("Checkpoint", Text),
        sa.Column("CheckpointVersion", sa.Integer(), nullable=False, server_default=_ZERO),
        sa.Column("Generation", sa.BigInteger(), nullable=False, server_default=_ZERO),
        sa.Column("Total", sa.Integer()),
        _count("Processed"),
        _count("Failed"),
        sa.PrimaryKeyConstraint("DataSyncJobId", "Position", name="PK_SyncSteps"),
        _job("FK_SyncStep_Job"),
    )
    op.create_table(
        "SyncStreams",
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("Stream", Exact(60), nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("State", Text),
        sa.Column("Since", Utc()),
        sa.Column("Generation", sa.BigInteger(), nullable=False, server_default=_ZERO),
        sa.Column("LastTotal", sa.Integer()),
        sa.Column("LastFullAt", Utc()),
        sa.Column("SyncedAt", Utc()),
        sa.PrimaryKeyConstraint("IntegrationId", "Stream", name="PK_SyncStreams"),
        _integration("FK_SyncStream_Integration"),
    )


def _records() -> None:
    op.create_table(
        "SyncedRecords",
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("Stream", Exact(60), nullable=False),
        sa.Column("ExternalId", Exact(300), nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("RecordType", Exact(20), nullable=False),
        sa.Column("Data", Text),
        sa.Column("LocalId", Exact(100)),
        sa.Column("SourceHash", Exact(32)),
        sa.Column("ExportedHash", Exact(32)),
        sa.Column("SourceVersion", Exact(200)),
        sa.Column("ModifiedAt", Utc()),
        sa.Column("SyncedAt", Utc(), nullable=False),
        sa.Column("DeletedAt", Utc()),
        sa.Column("Generation", sa.BigInteger(), nullable=False, server_default=_ZERO),
        sa.Column("LastJobId", Guid),
        sa.Column("IsLocal", Flag, nullable=False, server_default=_ZERO),
        sa.Column("ExportPending", Flag, nullable=False, server_default=_ZERO),
        sa.PrimaryKeyConstraint("IntegrationId", "Stream", "ExternalId", name="PK_SyncedRecords"),
        _integration("FK_SyncedRecord_Integration"),
    )
    table, key = "SyncedRecords", ["IntegrationId", "Stream"]
    op.create_index("IX_SyncedRecord_Changed", table, ["IntegrationId", "SyncedAt"])
    _filtered("IX_SyncedRecord_Local", table, [*key, "LocalId"], "LocalId IS NOT NULL", unique=True)
    _filtered("IX_SyncedRecord_Export", table, [*key, "ExternalId"], "ExportPending = 1")
    _filtered("IX_SyncedRecord_Job", table, ["LastJobId"], "LastJobId IS NOT NULL")
    _filtered("IX_SyncedRecord_Deleted", table, ["DeletedAt"], "DeletedAt IS NOT NULL")
    op.create_table(
        "SyncRecordErrors",
        sa.Column("SyncRecordErrorId", Guid, nullable=False),
        sa.Column("DataSyncJobId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Stream", Exact(60), nullable=False),
        sa.Column("ExternalId", Exact(300), nullable=False),
        sa.Column("Pointer", Varchar(300), nullable=False),
        sa.Column("Reason", Varchar(400), nullable=False),
        sa.Column("CreatedAt", Utc(), server_default=utc_now(), nullable=False),
        sa.PrimaryKeyConstraint("SyncRecordErrorId", name="PK_SyncRecordErrors", mssql_clustered=False),
        _job("FK_SyncRecordError_Job"),
    )
    op.create_index("IX_SyncRecordError_CreatedAt", "SyncRecordErrors", ["CreatedAt"], mssql_clustered=True)
    op.create_index("IX_SyncRecordError_Job", "SyncRecordErrors", ["DataSyncJobId", "CreatedAt"])


def _settings() -> None:
    op.create_table(
        "SyncSchedules",
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("SyncType", sa.Integer(), nullable=False),
        sa.Column("Direction", sa.Integer(), nullable=False),
        sa.Column("Expression", Exact(120)),
        sa.Column("IntervalMinutes", sa.Integer()),
        sa.Column("IsEnabled", Flag, nullable=False, server_default=sa.text("1")),
        sa.Column("NextRunAt", Utc()),
        sa.Column("ModifiedAt", Utc(), nullable=False),
        sa.Column("ModifiedBy", Guid, nullable=False),
        sa.Column("Version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint("IntegrationId", name="PK_SyncSchedules"),
        _integration("FK_SyncSchedule_Integration"),
        sa.ForeignKeyConstraint(["ModifiedBy"], ["Users.UserId"], name="FK_SyncSchedule_ModifiedBy"),
    )
    _filtered("IX_SyncSchedule_Next", "SyncSchedules", ["NextRunAt"], "NextRunAt IS NOT NULL")
    op.create_table(
        "SyncMappings",
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Mapping", Text, nullable=False),
        sa.Column("ModifiedAt", Utc(), nullable=False),
        sa.Column("ModifiedBy", Guid, nullable=False),
        sa.Column("Version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint("IntegrationId", name="PK_SyncMappings"),
        _integration("FK_SyncMapping_Integration"),
        sa.ForeignKeyConstraint(["ModifiedBy"], ["Users.UserId"], name="FK_SyncMapping_ModifiedBy"),
    )


def downgrade() -> None:
    for table in (
        "SyncMappings",
        "SyncSchedules",
        "SyncRecordErrors",
        "SyncedRecords",
        "SyncStreams",
        "SyncSteps",
    ):
        op.drop_table(table)
    for name in _INDEXES:
        op.drop_index(name, "DataSyncJobs")
    for name in _COLUMNS:
        op.drop_column("DataSyncJobs", name, mssql_drop_default=True)
