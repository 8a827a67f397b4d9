"""The table of decisions on recommendations."""

from __future__ import annotations

from sqlalchemy import Column, PrimaryKeyConstraint, Table

from domain.recommendations.model import RecommendationStatus
from infra.sql.columns import metadata
from infra.sql.types import Enum, Guid, Text, Utc, Varchar

recommendation_decisions = Table(
    "RecommendationDecisions",
    metadata,
    Column("TenantId", Guid, nullable=False),
    Column("RecommendationId", Guid, nullable=False),
    Column("Status", Enum(RecommendationStatus), nullable=False),
    Column("Reason", Varchar(400)),
    # Of a dismissal; NULL: never.
    Column("EndsAt", Utc),
    Column("DecidedAt", Utc, nullable=False),
    Column("DecidedBy", Guid, nullable=False),
    Column("Snapshot", Text, nullable=False),
    PrimaryKeyConstraint("TenantId", "RecommendationId", name="PK_RecommendationDecisions"),
)
