"""The trees over the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from domain.journal.audit_heads import TreeState
from domain.journal.merkle import Node
from infra.sql.journal.tables import audit_nodes, audit_trees
from infra.sql.statements import guarded_by_unique_key
from infra.sql.tenants.tables import tenants

_t = audit_trees.c
_n = audit_nodes.c


class SqlAuditTree:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tenants_to_sign(self, after: UUID | None, limit: int) -> Sequence[UUID]:
        signed = func.coalesce(_t.FirstSequence + _t.SignedSize - 1, 0)
        found = (
            select(tenants.c.TenantId)
            .join_from(tenants, audit_trees, _t.TenantId == tenants.c.TenantId, isouter=True)
            .where(tenants.c.AuditSequence > signed)
            .order_by(tenants.c.TenantId)
            .limit(limit)
        )
        if after is not None:
            found = found.where(tenants.c.TenantId > after)
        return list(self._connection.execute(found).scalars())

    def state(self, tenant_id: UUID) -> TreeState | None:
        found = select(_t.FirstSequence, _t.Size, _t.SignedSize, _t.Note).where(_t.TenantId == tenant_id)
        row = self._connection.execute(found).one_or_none()
        return None if row is None else TreeState(*row)

    def plant(self, tenant_id: UUID, first: int) -> None:
        values = {"TenantId": tenant_id, "FirstSequence": first, "Size": 0, "SignedSize": 0}
        with guarded_by_unique_key():
            self._connection.execute(insert(audit_trees).values(values))

    def grow(self, tenant_id: UUID, size: int, nodes: Iterable[Node]) -> bool:
        rows = [
            {"TenantId": tenant_id, "Level": node.level, "Position": node.position, "Hash": node.hash.hex()}
            for node in nodes
        ]
        leaves = sum(row["Level"] == 0 for row in rows)
        grown = self._connection.execute(
            update(audit_trees)
            .where(_t.TenantId == tenant_id, _t.Size == size)
            .values(Size=audit_trees.c.Size + leaves)
        )
        if grown.rowcount and rows:
            self._connection.execute(insert(audit_nodes), rows)
        return bool(grown.rowcount)

    def nodes(self, tenant_id: UUID, places: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        if not places:
            return {}
        wanted = or_(*(and_(_n.Level == level, _n.Position == position) for level, position in places))
        found = select(_n.Level, _n.Position, _n.Hash).where(_n.TenantId == tenant_id, wanted)
        return {
            (level, position): _hash(text) for level, position, text in self._connection.execute(found).all()
        }

    def leaves(self, tenant_id: UUID, start: int, limit: int) -> Sequence[bytes]:
        found = (
            select(_n.Hash)
            .where(_n.TenantId == tenant_id, _n.Level == 0, _n.Position >= start, _n.Position < start + limit)
            .order_by(_n.Position)
        )
        return [_hash(text) for text in self._connection.execute(found).scalars()]

    def signed(self, tenant_id: UUID, size: int, note: str) -> None:
        self._connection.execute(
            update(audit_trees)
            .where(_t.TenantId == tenant_id, _t.SignedSize < size)
            .values(SignedSize=size, Note=note)
        )


def _hash(text: str) -> bytes:
    """Read a stored hash; what tampering left is some other hash, not an error."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
