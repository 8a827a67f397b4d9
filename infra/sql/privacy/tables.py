"""Tables of requests to erase, and of whom synchronisation leaves out."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, text

from infra.sql.columns import filtered, metadata
from infra.sql.types import Exact, Guid, Text, Utc

erasures = Table(
    "Erasures",
    metadata,
    Column("ErasureId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("Status", Integer, nullable=False),
    # Sealed; NULL once it is done: then nothing says any more whom it was about.
    Column("Subject", Text),
    Column("Place", Integer, nullable=False, server_default=text("0")),
    Column("Position", Text),
    Column("Counts", Text, nullable=False),
    Column("CreatedAt", Utc, nullable=False),
    Column("CreatedBy", Guid, nullable=False),
    Column("CompletedAt", Utc),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    Index("IX_Erasure_Tenant", "TenantId", "CreatedAt"),
    filtered("IX_Erasure_Open", "CreatedAt", where="CompletedAt IS NULL"),
)

suppressed_people = Table(
    "SuppressedPeople",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    # keyed BLAKE2b under a key of the secret store
    Column("Digest", Exact(64), primary_key=True),
    Column("SuppressedAt", Utc, nullable=False),
)
