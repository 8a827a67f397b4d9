"""Tenants and users the hub has met."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from domain.core.text_length import cut
from infra.sql.statements import guarded_by_unique_key
from infra.sql.tenants.tables import tenants, users


class SqlUsers:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def see(self, tenant_id: UUID, user_id: UUID, name: str, at: datetime) -> None:
        with guarded_by_unique_key():
            if not self._known(select(tenants.c.TenantId).where(tenants.c.TenantId == tenant_id)):
                self._connection.execute(insert(tenants).values(TenantId=tenant_id, CreatedAt=at))
            if not self._known(select(users.c.UserId).where(users.c.UserId == user_id)):
                user = {
                    "UserId": user_id,
                    "TenantId": tenant_id,
                    "DisplayName": cut(name, 200),
                    "CreatedAt": at,
                }
                self._connection.execute(insert(users).values(user))
            elif name:
                # One who was only named so far, such as the owner of a calendar.
                unnamed = (users.c.UserId == user_id, users.c.DisplayName == "")
                self._connection.execute(update(users).where(*unnamed).values(DisplayName=cut(name, 200)))

    def lock_tenant(self, tenant_id: UUID) -> None:
        lock_tenant(self._connection, tenant_id)

    def tenants(self) -> list[UUID]:
        return list(self._connection.execute(select(tenants.c.TenantId)).scalars())

    def _known(self, statement: object) -> bool:
        return self._connection.execute(statement).first() is not None  # type: ignore[call-overload]


def lock_tenant(connection: Connection, tenant_id: UUID) -> None:
    """Hold the tenant's row until the transaction ends; one never met is added. Raises Unavailable."""
    locked = connection.execute(
        update(tenants).where(tenants.c.TenantId == tenant_id).values(LockVersion=tenants.c.LockVersion + 1)
    )
    if locked.rowcount == 0:
        with guarded_by_unique_key():
            connection.execute(insert(tenants).values(TenantId=tenant_id))
