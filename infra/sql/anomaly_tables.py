"""Tables of anomalies and of what keys showed."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, PrimaryKeyConstraint, Table, text

from domain.anomalies.model import Direction
from domain.anomalies.ports import Trait
from domain.insights.model import SubjectKind
from infra.sql.columns import filtered, metadata
from infra.sql.types import Enum, Exact, Guid, Utc, Varchar

anomalies = Table(
    "Anomalies",
    metadata,
    Column("AnomalyId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("SubjectKind", Enum(SubjectKind), nullable=False),
    Column("SubjectId", Guid, nullable=False),
    Column("Metric", Exact(40), nullable=False),
    Column("Direction", Enum(Direction), nullable=False),
    Column("Detail", Varchar(400), nullable=False),
    Column("Observed", Float),
    Column("Typical", Float),
    Column("Low", Float),
    Column("High", Float),
    Column("Score", Float),
    Column("Hours", Integer, nullable=False, server_default=text("1")),
    Column("StartedAt", Utc, nullable=False),
    Column("LastSeenAt", Utc, nullable=False),
    Column("EndedAt", Utc),
    Column("AcknowledgedAt", Utc),
    Column("AcknowledgedBy", Guid),
    Column("Note", Varchar(400)),
    Column("SnoozedUntil", Utc),
    # one that has not ended, whoever races
    filtered(
        "UX_Anomaly_Active",
        "TenantId",
        "SubjectId",
        "SubjectKind",
        "Metric",
        "Direction",
        where="EndedAt IS NULL",
        unique=True,
    ),
    Index("IX_Anomaly_Started", "TenantId", "StartedAt"),
    filtered("IX_Anomaly_Snoozed", "TenantId", "SnoozedUntil", where="SnoozedUntil IS NOT NULL"),
    filtered("IX_Anomaly_Ended", "EndedAt", where="EndedAt IS NOT NULL"),
)

anomaly_watermarks = Table(
    "AnomalyWatermarks",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("Hour", Utc, nullable=False),
)

key_sightings = Table(
    "KeySightings",
    metadata,
    Column("ApiKeyId", Guid, nullable=False),
    Column("Trait", Enum(Trait), nullable=False),
    Column("Value", Exact(100), nullable=False),
    Column("TenantId", Guid, nullable=False),
    Column("FirstSeenAt", Utc, nullable=False),
    Column("LastSeenAt", Utc, nullable=False),
    PrimaryKeyConstraint("ApiKeyId", "Trait", "Value", name="PK_KeySightings"),
    Index("IX_KeySighting_LastSeen", "LastSeenAt"),
)
