"""Tables of signals."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, Table, text

from domain.journal.signals import SubjectKind
from infra.sql.columns import BigKey, metadata
from infra.sql.types import Enum, Guid, Text, Utc

_ZERO = text("0")
_COUNTS = ("Total", "Succeeded", "Failed", "FailedForGood", "Volume")


def _columns() -> list[Column[Any]]:
    return [
        Column("TenantId", Guid, nullable=False),
        Column("Kind", Enum(SubjectKind), nullable=False),
        Column("SubjectId", Guid, nullable=False),
        Column("Hour", Utc, nullable=False),
        *(Column(name, BigInteger, nullable=False, server_default=_ZERO) for name in _COUNTS),
        Column("Errors", Text, nullable=False),
        Column("Latency", Text, nullable=False),
    ]


signal_deltas = Table(
    "SignalDeltas",
    metadata,
    Column("Sequence", BigKey, primary_key=True, autoincrement=True),
    *_columns(),
    Index("IX_SignalDelta_Subject", "TenantId", "Kind", "SubjectId"),
)

signal_buckets = Table(
    "SignalBuckets",
    metadata,
    *_columns(),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    PrimaryKeyConstraint("TenantId", "Kind", "Hour", "SubjectId", name="PK_SignalBuckets"),
    Index("IX_SignalBucket_Hour", "Hour"),
)
