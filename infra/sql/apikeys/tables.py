"""The table of API keys."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, text

from infra.sql.columns import created_at, filtered, metadata, user
from infra.sql.types import Exact, Flag, Guid, Text, Utc, Varchar

api_keys = Table(
    "APIKeys",
    metadata,
    Column("APIKeyId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("KeyName", Varchar(100), nullable=False),
    Column("KeyHash", Exact(64), nullable=False),
    Column("KeyPrefix", Exact(8), nullable=False),
    Column("Scopes", Text, nullable=False),
    Column("ExpiresAt", Utc),
    Column("IsActive", Flag, nullable=False, server_default=text("1")),
    Column("LastUsedAt", Utc),
    Column("UsageCount", BigInteger, nullable=False, server_default=text("0")),
    Column("RateLimitPerHour", Integer, nullable=False, server_default=text("1000")),
    created_at(),
    user("CreatedBy", constraint="FK_APIKey_CreatedBy"),
    Column("RevokedAt", Utc),
    user("RevokedBy", constraint="FK_APIKey_RevokedBy", nullable=True),
    Index("IX_APIKey_Hash", "KeyHash", unique=True),
    Index("IX_APIKey_Prefix", "KeyPrefix"),
    filtered("IX_APIKey_Active", "IsActive", where="IsActive = 1"),
    Index("IX_APIKey_Tenant", "TenantId"),
    Column("NotBefore", Utc),
    Column("AllowedIps", Text),
    Column("Description", Varchar(500)),
    Column("QuotaId", Guid),
    Column("RotatesFrom", Guid),
    Column("RotatedTo", Guid),
    Column("RevokeReason", Varchar(400)),
    Column("ModifiedAt", Utc),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    # Requests refused since the key was made: by its quota, and for another reason.
    Column("LimitedCount", BigInteger, nullable=False, server_default=text("0")),
    Column("RefusedCount", BigInteger, nullable=False, server_default=text("0")),
    # Of a key that a key made: its maker, the quota of the key it descends from, and the limit it was made with.
    Column("MadeByKey", Guid),
    Column("RootQuota", Guid),
    Column("GivenPerHour", Integer),
    # The hourly expiry (BR-AK-04).
    filtered("IX_APIKey_Expires", "ExpiresAt", where="IsActive = 1"),
    # When the realtime connections that a revoked key opened were known to be closed, and those it is not known of.
    Column("ConnectionsClosedAt", Utc),
    filtered("IX_APIKey_Unclosed", "RevokedAt", where="IsActive = 0 AND ConnectionsClosedAt IS NULL"),
)
