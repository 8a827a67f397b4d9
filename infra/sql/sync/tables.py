"""Tables of data synchronisation."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, Table, text

from infra.sql.columns import clustered, created_at, filtered, integration, metadata, scattered_key, user
from infra.sql.types import Exact, Flag, Guid, Named, Text, Utc, Varchar

_ZERO = text("0")


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=_ZERO)


data_sync_jobs = Table(
    "DataSyncJobs",
    metadata,
    Column("DataSyncJobId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    integration("FK_DataSync_Integration"),
    Column("SyncType", Integer, nullable=False),
    Column("Direction", Integer, nullable=False),
    Column("Status", Integer, nullable=False),
    Column("RecordsTotal", Integer, nullable=False, server_default=text("0")),
    Column("RecordsProcessed", Integer, nullable=False, server_default=text("0")),
    Column("RecordsFailed", Integer, nullable=False, server_default=text("0")),
    Column("ErrorLog", Text),
    Column("StartedAt", Utc),
    Column("CompletedAt", Utc),
    Column("ScheduledAt", Utc, nullable=False),
    created_at(),
    user("CreatedBy", constraint="FK_DataSync_CreatedBy"),
    Index("IX_DataSync_Integration", "IntegrationId"),
    Index("IX_DataSync_Status", "Status"),
    Index("IX_DataSync_Scheduled", "ScheduledAt"),
    Index("IX_DataSync_Tenant", "TenantId"),
    # Beyond section 13's columns.
    Column("Origin", Exact(20), nullable=False, server_default=text("'Manual'")),
    Column("Stage", Exact(120), nullable=False, server_default=text("''")),
    _count("RecordsWritten"),
    _count("RecordsUnchanged"),
    _count("RecordsDuplicate"),
    _count("RecordsDeleted"),
    Column("ErrorCode", Exact(40)),
    # One of so many places for running jobs: a number held by one job only bounds how many run.
    Column("RunSlot", Integer),
    _count("RunNumber"),
    _count("Restarts"),
    Column("RunStartedAt", Utc),
    Column("LiveAt", Utc),
    Column("WaitingUntil", Utc),
    Column("QueuedAt", Utc),
    Column("Rate", Float),
    # The span that made the job (W3C Trace Context).
    Column("TraceParent", Varchar(55)),
    # The jobs before and after it in its chain, and what the chain counts by.
    Column("ResumedFrom", Guid),
    Column("ResumedBy", Guid),
    Column("ChainRun", Integer, nullable=False, server_default=text("1")),
    Column("ChainBeganAt", Utc),
    _count("RunBatches"),
    _count("Interruptions"),
    # at most so many run at a time, whoever races
    filtered("UX_DataSync_Slot", "RunSlot", where="RunSlot IS NOT NULL", unique=True),
    # one running job per integration
    filtered("UX_DataSync_Running", "IntegrationId", where="RunSlot IS NOT NULL", unique=True),
    filtered("IX_DataSync_Waiting", "Status", "ScheduledAt", where="Status = 0"),
    Index("IX_DataSync_Created", "TenantId", "CreatedAt"),
    Index("IX_DataSync_Limits", "IntegrationId", "ScheduledAt"),
)

sync_steps = Table(
    "SyncSteps",
    metadata,
    Column(
        "DataSyncJobId",
        Guid,
        ForeignKey("DataSyncJobs.DataSyncJobId", name="FK_SyncStep_Job", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("Position", Integer, primary_key=True, autoincrement=False),
    Column("Stream", Named(60), nullable=False),
    Column("Direction", Integer, nullable=False),
    Column("SyncType", Integer, nullable=False),
    Column("Phase", Exact(10), nullable=False),
    Column("Checkpoint", Text),
    Column("CheckpointVersion", Integer, nullable=False, server_default=_ZERO),
    Column("Generation", BigInteger, nullable=False, server_default=_ZERO),
    Column("Total", Integer),
    _count("Processed"),
    _count("Failed"),
)

sync_streams = Table(
    "SyncStreams",
    metadata,
    integration("FK_SyncStream_Integration", primary_key=True),
    Column("Stream", Named(60), primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("State", Text),
    Column("Since", Utc),
    Column("Generation", BigInteger, nullable=False, server_default=_ZERO),
    Column("LastTotal", Integer),
    Column("LastFullAt", Utc),
    Column("SyncedAt", Utc),
)

synced_records = Table(
    "SyncedRecords",
    metadata,
    integration("FK_SyncedRecord_Integration", primary_key=True),
    Column("Stream", Named(60), primary_key=True),
    # BR-DS-06: a record is its external id
    Column("ExternalId", Named(300), primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("RecordType", Exact(20), nullable=False),
    # NULL once it is deleted: a tombstone keeps no personal data
    Column("Data", Text),
    # What the tenant set of it and the provider does not have: waiting, or beyond what it takes
    Column("LocalFields", Text),
    Column("LocalId", Named(100)),
    Column("SourceHash", Exact(32)),
    Column("ExportedHash", Exact(32)),
    Column("SourceVersion", Exact(200)),
    Column("ModifiedAt", Utc),
    Column("SyncedAt", Utc, nullable=False),
    Column("DeletedAt", Utc),
    Column("Generation", BigInteger, nullable=False, server_default=_ZERO),
    Column("LastJobId", Guid),
    Column("IsLocal", Flag, nullable=False, server_default=_ZERO),
    Column("ExportPending", Flag, nullable=False, server_default=_ZERO),
    Index("IX_SyncedRecord_Changed", "IntegrationId", "SyncedAt"),
    filtered(
        "IX_SyncedRecord_Local",
        "IntegrationId",
        "Stream",
        "LocalId",
        where="LocalId IS NOT NULL",
        unique=True,
    ),
    filtered("IX_SyncedRecord_Export", "IntegrationId", "Stream", "ExternalId", where="ExportPending = 1"),
    filtered("IX_SyncedRecord_Job", "LastJobId", where="LastJobId IS NOT NULL"),
    filtered("IX_SyncedRecord_Deleted", "DeletedAt", where="DeletedAt IS NOT NULL"),
)

sync_record_errors = Table(
    "SyncRecordErrors",
    metadata,
    Column("SyncRecordErrorId", Guid, nullable=False),
    Column(
        "DataSyncJobId",
        Guid,
        ForeignKey("DataSyncJobs.DataSyncJobId", name="FK_SyncRecordError_Job", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("TenantId", Guid, nullable=False),
    Column("Stream", Named(60), nullable=False),
    Column("ExternalId", Named(300), nullable=False),
    Column("Pointer", Varchar(300), nullable=False),
    Column("Reason", Varchar(400), nullable=False),
    created_at(),
    # The log of the execution stands beside the refused records, so that both are one list.
    Column("Kind", Exact(12), nullable=False, server_default=text("'Record'")),
    Column("Details", Varchar(400)),
    scattered_key("SyncRecordErrorId"),
    clustered("IX_SyncRecordError_CreatedAt", "CreatedAt"),
    Index("IX_SyncRecordError_Job", "DataSyncJobId", "CreatedAt"),
)

sync_schedules = Table(
    "SyncSchedules",
    metadata,
    integration("FK_SyncSchedule_Integration", primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("SyncType", Integer, nullable=False),
    Column("Direction", Integer, nullable=False),
    Column("Expression", Exact(120)),
    Column("IntervalMinutes", Integer),
    Column("IsEnabled", Flag, nullable=False, server_default=text("1")),
    Column("NextRunAt", Utc),
    Column("ModifiedAt", Utc, nullable=False),
    user("ModifiedBy", constraint="FK_SyncSchedule_ModifiedBy"),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    filtered("IX_SyncSchedule_Next", "NextRunAt", where="NextRunAt IS NOT NULL"),
)

sync_mappings = Table(
    "SyncMappings",
    metadata,
    integration("FK_SyncMapping_Integration", primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("Mapping", Text, nullable=False),
    Column("ModifiedAt", Utc, nullable=False),
    user("ModifiedBy", constraint="FK_SyncMapping_ModifiedBy"),
    Column("Version", Integer, nullable=False, server_default=text("1")),
)
