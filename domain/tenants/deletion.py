"""Delete a tenant with everything it has: in bounded steps that a crash does not lose, and certified at the end.

What lies outside the database goes first, while the rows that name it are still there; then the rows, those that refer
to others first; then a look whether anything came meanwhile. Messages in queues carry ids only: those that come later
find nothing, and store nothing for a tenant that is gone."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from domain.apikeys.rate_limit import TABLE as KEY_USAGE
from domain.authentication.user_limits import TABLE as USER_QUOTAS
from domain.core.idempotency import TABLE as IDEMPOTENCY
from domain.core.ports import Clock, SecretStore, TableStore, TableWrite
from domain.core.tenants import KnownStandings, TenantStanding
from domain.core.transaction import Transactions
from domain.core.wire import rfc3339
from domain.integrations.health_history import TABLE as HEALTH
from domain.journal.audit import AuditEntry
from domain.oauth.grants import TABLE as GRANTS
from domain.oauth.grants import GrantStore
from domain.privacy.suppression import SuppressionList
from domain.recommendations.wording_ledger import TABLE as WORDING
from domain.tenants.model import DeletionProgress
from domain.tenants.ports import TenantRows, TenantTransaction
from domain.tenants.quotas import EVENTS, REQUESTS, quota_of
from domain.webhooks.throttle import TABLE as PACE

logger = logging.getLogger("hub.tenants")

#: Whatever began before a tenant was suspended has ended this long after its deletion was asked for: posts, batches,
#: requests, and what waited in memory.
SETTLES = timedelta(minutes=15)
#: Rows of one transaction, things of one step outside the database, and entities that are deleted together.
ROWS, THINGS = 500, 50
ENTITIES = 100
_TENANTS = 5
_SECONDS = 20.0

_Ids = Callable[[TenantRows, UUID, UUID | None, int], Sequence[UUID]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Something outside the database that is kept for each of the things that `ids` lists.

    `forget` destroys what is kept for one of them, and returns how much that was by store."""

    ids: _Ids
    forget: Callable[[UUID], Mapping[str, int]]


class Stores(Protocol):
    """What a deletion goes through besides the database."""

    @property
    def tables(self) -> TableStore: ...
    @property
    def secrets(self) -> SecretStore: ...


def _the_tenant(rows: TenantRows, tenant_id: UUID, after: UUID | None, limit: int) -> Sequence[UUID]:
    return [] if after is not None else [tenant_id]


def outside_places(stores: Stores, grants: GrantStore, suppression: SuppressionList) -> Sequence[_Place]:
    """Return what is kept outside the database, in the order in which it is destroyed."""
    tables, secrets = stores.tables, stores.secrets

    def of_integration(integration_id: UUID) -> Mapping[str, int]:
        grant = grants.get(integration_id)
        if grant is not None:
            grants.remove(grant)
        names = [
            name
            for prefix in ("integration", "oauth")
            for name in secrets.names(f"{prefix}-{integration_id.hex}-")
        ]
        return {
            GRANTS: int(grant is not None),
            "Secrets": sum(secrets.delete(name) for name in names) + bool(grant and grant.secret_name),
            HEALTH: _forget(tables, HEALTH, integration_id.hex),
        }

    def of_tenant(tenant_id: UUID) -> Mapping[str, int]:
        return {
            IDEMPOTENCY: _forget(tables, IDEMPOTENCY, str(tenant_id)),
            WORDING: _forget(tables, WORDING, tenant_id.hex),
            USER_QUOTAS: _forget(tables, USER_QUOTAS, tenant_id.hex),
            KEY_USAGE: sum(
                _forget(tables, KEY_USAGE, quota_of(tenant_id, what).hex) for what in (REQUESTS, EVENTS)
            ),
            "Secrets": int(suppression.forget_key(tenant_id)),
        }

    return [
        _Place(lambda rows, *where: rows.integrations(*where), of_integration),
        _Place(
            lambda rows, *where: rows.quotas(*where),
            lambda quota_id: {KEY_USAGE: _forget(tables, KEY_USAGE, quota_id.hex)},
        ),
        _Place(
            lambda rows, *where: rows.webhooks(*where),
            lambda webhook_id: {PACE: _forget(tables, PACE, str(webhook_id))},
        ),
        _Place(_the_tenant, of_tenant),
    ]


def _forget(tables: TableStore, table: str, partition: str) -> int:
    """Delete a partition; return how many entities it had."""
    deleted = 0
    while found := tables.query(table, partition, limit=ENTITIES):
        tables.transact(table, [TableWrite("delete", entity) for entity in found])
        deleted += len(found)
    return deleted


class TenantDeleter:
    """Carries out what `TenantService.delete` asked for; certified in the audit log of `platform_tenant`."""

    def __init__(
        self,
        transactions: Transactions[TenantTransaction],
        standings: KnownStandings,
        places: Sequence[_Place],
        clock: Clock,
        *,
        platform_tenant: UUID | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transactions = transactions
        self._standings = standings
        self._places = places
        self._clock = clock
        self._platform_tenant = platform_tenant
        self._monotonic = monotonic

    def delete_requested(self) -> int:
        """Go on with deletions for about 20 seconds; return how many were completed. Raises Unavailable."""
        until = self._monotonic() + _SECONDS
        with self._transactions.read() as tx:
            tenants = tx.tenant_rows.to_delete(self._clock.now() - SETTLES, _TENANTS)
        completed = 0
        for tenant_id in tenants:
            while self._monotonic() < until:
                if self._step(tenant_id):
                    completed += 1
                    break
        return completed

    def _step(self, tenant_id: UUID) -> bool:
        """Delete some more, and note it; return whether nothing is left."""
        with self._transactions.read() as tx:
            progress, tables = tx.tenant_rows.progress(tenant_id), tx.tenant_rows.tables()
        if progress.place < len(self._places):
            self._step_outside(tenant_id, progress)
        elif progress.place < len(self._places) + len(tables):
            self._step_inside(tenant_id, progress, tables[progress.place - len(self._places)])
        else:
            return self._finish(tenant_id, progress, tables)
        return False

    def _step_outside(self, tenant_id: UUID, progress: DeletionProgress) -> None:
        """Destroy what is kept for some things. After a crash in here they are gone through again."""
        place = self._places[progress.place]
        with self._transactions.read() as tx:
            ids = place.ids(tx.tenant_rows, tenant_id, progress.position, THINGS)
        counts = Counter(progress.counts)
        for id_ in ids:
            counts.update(place.forget(id_))
        if len(ids) < THINGS:
            further = DeletionProgress(progress.place + 1, None, dict(counts))
        else:
            further = DeletionProgress(progress.place, ids[-1], dict(counts))
        with self._transactions.write() as tx:
            tx.tenant_rows.advance(tenant_id, further)
            tx.commit()

    def _step_inside(self, tenant_id: UUID, progress: DeletionProgress, table: str) -> None:
        with self._transactions.write() as tx:
            deleted = tx.tenant_rows.delete(tenant_id, table, ROWS)
            counts = Counter(progress.counts) + Counter({table: deleted})
            place = progress.place + (deleted < ROWS)
            tx.tenant_rows.advance(tenant_id, DeletionProgress(place, None, dict(counts)))
            tx.commit()

    def _finish(self, tenant_id: UUID, progress: DeletionProgress, tables: Sequence[str]) -> bool:
        """Certify that nothing is left; go through the tables again where something came meanwhile."""
        platform = self._platform_tenant
        if platform is None:
            logger.error(
                "deletion cannot be certified: HUB_PLATFORM_TENANT is unset", extra={"tenant": str(tenant_id)}
            )
            return True
        with self._transactions.write() as tx:
            came = {table: tx.tenant_rows.delete(tenant_id, table, ROWS) for table in tables}
            counts = Counter(progress.counts) + Counter(came)
            if any(came.values()):
                again = DeletionProgress(len(self._places), None, dict(counts))
                tx.tenant_rows.advance(tenant_id, again)
                tx.commit()
                return False
            standing = tx.standings.of(tenant_id)
            now = self._clock.now()
            tx.standings.save(replace(standing, deleted_at=now, reason=None))
            tx.audit.append(platform, _certificate(standing, counts))
            tx.commit()
        self._standings.forget()
        logger.warning("tenant deleted", extra={"tenantId": str(tenant_id), "rows": sum(counts.values())})
        return True


def _certificate(standing: TenantStanding, counts: Mapping[str, int]) -> AuditEntry:
    """Return the entry that says what was deleted, by table or store, those without anything included."""
    deleted = [{"from": name, "count": count} for name, count in sorted(counts.items())]
    requested_at = standing.deletion_requested_at
    after = {
        "requestedAt": rfc3339(requested_at) if requested_at else None,
        "requestedBy": str(standing.deletion_requested_by),
        "deleted": deleted,
        "total": sum(counts.values()),
        "kept": [
            "that the tenant was deleted, in TenantStandings and in this log",
            "signed heads of its audit log, which hold no content, until their immutability policy ends",
            "lines of logs and backups, until their own retention ends",
        ],
    }
    return AuditEntry("tenant.deleted", "tenant", standing.tenant_id, after=after)
