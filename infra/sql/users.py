"""Tenants and users the hub has met."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, insert, select

from infra.sql.tables import tenants, users


class SqlUsers:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def see(self, tenant_id: UUID, user_id: UUID, name: str, at: datetime) -> None:
        if not self._known(select(tenants.c.TenantId).where(tenants.c.TenantId == tenant_id)):
            self._connection.execute(insert(tenants).values(TenantId=tenant_id, CreatedAt=at))
        if not self._known(select(users.c.UserId).where(users.c.UserId == user_id)):
            self._connection.execute(
                insert(users).values(UserId=user_id, TenantId=tenant_id, DisplayName=name[:200], CreatedAt=at)
            )

    def tenants(self) -> list[UUID]:
        return list(self._connection.execute(select(tenants.c.TenantId)).scalars())

    def _known(self, statement: object) -> bool:
        return self._connection.execute(statement).first() is not None  # type: ignore[call-overload]
