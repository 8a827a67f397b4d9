"""Tables of tenants and users."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Table, text

from infra.sql.columns import created_at, metadata
from infra.sql.types import Exact, Guid, Varchar

tenants = Table(
    "Tenants",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("LockVersion", BigInteger, nullable=False, server_default=text("0")),
    created_at(),
    # The two ends of the tenant's audit chain: where retention cut it, and its newest row.
    Column("AuditAnchorSequence", BigInteger, nullable=False, server_default=text("0")),
    Column("AuditAnchorHash", Exact(64), nullable=False, server_default=text("''")),
    Column("AuditSequence", BigInteger, nullable=False, server_default=text("0")),
    Column("AuditHash", Exact(64), nullable=False, server_default=text("''")),
)

users = Table(
    "Users",
    metadata,
    Column("UserId", Guid, primary_key=True),
    Column("TenantId", Guid, ForeignKey("Tenants.TenantId", name="FK_User_Tenant"), nullable=False),
    Column("DisplayName", Varchar(200), nullable=False, server_default=text("''")),
    created_at(),
)
