"""Requests to erase, and whom synchronisation leaves out."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select, update

from domain.core.paging import Page, PageRequest
from domain.privacy.model import Erasure, ErasureStatus
from domain.privacy.ports import ChangedMeanwhile
from infra.sql.privacy.tables import erasures, suppressed_people
from infra.sql.statements import guarded_by_unique_key, key_lists, page_of, row_of

_e = erasures.c
_s = suppressed_people.c


class SqlErasures:
    """Satisfies `domain.privacy.ports.Erasures`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, tenant_id: UUID, erasure: Erasure) -> None:
        self._connection.execute(
            insert(erasures).values(
                ErasureId=erasure.erasure_id,
                TenantId=tenant_id,
                CreatedAt=erasure.created_at,
                CreatedBy=erasure.created_by,
                **_progress(erasure),
            )
        )

    def get(self, tenant_id: UUID, erasure_id: UUID) -> Erasure:
        statement = select(erasures).where(_e.ErasureId == erasure_id, _e.TenantId == tenant_id)
        return _erasure_of(row_of(self._connection, statement, "erasure"))

    def page(self, tenant_id: UUID, page: PageRequest) -> Page[Erasure]:
        # IX_Erasure_Tenant
        statement = select(erasures).where(_e.TenantId == tenant_id)
        ordered = statement.order_by(_e.CreatedAt.desc(), _e.ErasureId.desc())
        return page_of(self._connection, ordered, page, _erasure_of)

    def open(self, before: datetime, limit: int) -> list[Erasure]:
        # IX_Erasure_Open
        statement = (
            select(erasures)
            .where(_e.CompletedAt.is_(None), _e.CreatedAt <= before)
            .order_by(_e.CreatedAt)
            .limit(limit)
        )
        return [_erasure_of(row) for row in self._connection.execute(statement)]

    def save(self, tenant_id: UUID, erasure: Erasure) -> None:
        changed = self._connection.execute(
            update(erasures)
            .where(
                _e.ErasureId == erasure.erasure_id,
                _e.TenantId == tenant_id,
                _e.Version == erasure.version,
            )
            .values(Version=erasure.version + 1, **_progress(erasure))
        )
        if changed.rowcount != 1:
            raise ChangedMeanwhile("Another process works on this erasure.")

    def suppress(self, tenant_id: UUID, digests: Collection[str], at: datetime) -> int:
        known = self._among(tenant_id, digests)
        new = [
            {"TenantId": tenant_id, "Digest": digest, "SuppressedAt": at}
            for digest in sorted(set(digests) - known)
        ]
        if new:
            with guarded_by_unique_key():
                self._connection.execute(insert(suppressed_people), new)
        return len(new)

    def allow(self, tenant_id: UUID, digests: Collection[str]) -> int:
        return sum(
            self._connection.execute(
                delete(suppressed_people).where(_s.TenantId == tenant_id, _s.Digest.in_(some))
            ).rowcount
            for some in key_lists(digests)
        )

    def suppressed(self, tenant_id: UUID) -> frozenset[str]:
        # the primary key
        return frozenset(
            self._connection.execute(select(_s.Digest).where(_s.TenantId == tenant_id)).scalars()
        )

    def _among(self, tenant_id: UUID, digests: Collection[str]) -> set[str]:
        found: set[str] = set()
        for some in key_lists(digests):
            statement = select(_s.Digest).where(_s.TenantId == tenant_id, _s.Digest.in_(some))
            found.update(self._connection.execute(statement).scalars())
        return found


def _progress(erasure: Erasure) -> dict[str, Any]:
    return {
        "Status": int(erasure.status),
        "Subject": erasure.sealed,
        "Place": erasure.place,
        "Position": erasure.position,
        "Counts": json.dumps(dict(erasure.counts)),
        "CompletedAt": erasure.completed_at,
    }


def _erasure_of(row: Any) -> Erasure:
    return Erasure(
        erasure_id=row.ErasureId,
        tenant_id=row.TenantId,
        created_at=row.CreatedAt,
        created_by=row.CreatedBy,
        sealed=row.Subject,
        status=ErasureStatus(row.Status),
        place=row.Place,
        position=row.Position,
        counts=json.loads(row.Counts),
        completed_at=row.CompletedAt,
        version=row.Version,
    )
