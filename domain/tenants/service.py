"""Use cases of the platform's administrators: list tenants, limit them, suspend them, and have them deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.core.errors import Conflict, NotFound, check_version
from domain.core.paging import Page, PageRequest
from domain.core.permissions import PLATFORM_ADMIN
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.tenants import KnownStandings, TenantStanding, TenantState
from domain.core.transaction import Transactions, in_steps, repeated
from domain.journal.audit import AuditEntry
from domain.journal.occurrences import PLATFORM
from domain.journal.usage import UsagePeriod, start_of_period
from domain.tenants.model import (
    NOTHING_USED,
    DeletionProgress,
    SetTenantLimits,
    SuspendTenant,
    Tenant,
    TenantFilter,
)
from domain.tenants.ports import TenantTransaction

#: Deliveries that get their time back in one transaction.
PER_TRANSACTION = 500
_TRANSACTIONS = 40
_PER_RUN = 20


class TenantService:
    """`expiry` is how long a delivery lasts, which a suspension takes nothing of."""

    def __init__(
        self,
        transactions: Transactions[TenantTransaction],
        standings: KnownStandings,
        clock: Clock,
        *,
        expiry: timedelta,
    ) -> None:
        self._transactions = transactions
        self._standings = standings
        self._clock = clock
        self._expiry = expiry

    def page(self, principal: Principal, filter_: TenantFilter, page: PageRequest) -> Page[Tenant]:
        principal.require_of_person(PLATFORM_ADMIN)
        with self._transactions.read() as tx:
            found = tx.tenants.page(filter_, page)
            return replace(found, items=self._with_usage(tx, found.items))

    def get(self, principal: Principal, tenant_id: UUID) -> Tenant:
        """Return one tenant. Raises Forbidden, NotFound."""
        principal.require_of_person(PLATFORM_ADMIN)
        with self._transactions.read() as tx:
            return self._with_usage(tx, [tx.tenants.get(tenant_id)])[0]

    @repeated
    def set_limits(
        self, principal: Principal, tenant_id: UUID, command: SetTenantLimits, if_match: int | None
    ) -> Tenant:
        """Replace the limits. What the tenant has beyond them stays. Raises NotFound, PreconditionFailed."""
        principal.require_of_person(PLATFORM_ADMIN)
        with self._transactions.write() as tx:
            before = _standing(tx, tenant_id)
            check_version("tenant", if_match, before.version)
            after = replace(before, limits=command.limits())
            decided = _decide(tx, principal, "tenant.limited", before=before, after=after)
            tx.commit()
        self._standings.forget()
        return decided

    @repeated
    def suspend(
        self, principal: Principal, tenant_id: UUID, command: SuspendTenant, if_match: int | None
    ) -> Tenant:
        """Refuse the tenant's calls, hold its deliveries and pause its syncs until it is resumed.

        One that is suspended already stays as it is. Raises NotFound, Conflict, PreconditionFailed."""
        principal.require_of_person(PLATFORM_ADMIN)
        _check_other(principal, tenant_id)
        with self._transactions.write() as tx:
            before = _standing(tx, tenant_id)
            check_version("tenant", if_match, before.version)
            if before.is_suspended:
                return tx.tenants.get(tenant_id)
            # A suspension so soon after another one covers the time of both.
            since = before.restoring_since or self._clock.now()
            after = replace(before, suspended_at=since, reason=command.reason, restoring_since=None)
            decided = _decide(tx, principal, "tenant.suspended", before=before, after=after)
            tx.commit()
        self._standings.forget()
        return decided

    def resume(self, principal: Principal, tenant_id: UUID, if_match: int | None) -> Tenant:
        """End a suspension: what waited goes on, with the time that the suspension took.

        Of a tenant that was deleted nothing comes back, but it may use the hub again. Raises NotFound, Conflict,
        PreconditionFailed."""
        principal.require_of_person(PLATFORM_ADMIN)
        resumed = self._resume(principal, tenant_id, if_match)
        if resumed.standing.restoring_since is not None:
            self._restore(tenant_id)
        with self._transactions.read() as tx:
            return tx.tenants.get(tenant_id)

    @repeated
    def delete(self, principal: Principal, tenant_id: UUID, if_match: int | None) -> Tenant:
        """Have everything deleted that a suspended tenant has; a timer does it. Cannot be undone.

        Raises NotFound, PreconditionFailed, and Conflict unless it is suspended."""
        principal.require_of_person(PLATFORM_ADMIN)
        _check_other(principal, tenant_id)
        with self._transactions.write() as tx:
            before = _standing(tx, tenant_id)
            check_version("tenant", if_match, before.version)
            if before.deletion_requested_at is not None:
                return tx.tenants.get(tenant_id)
            if not before.is_suspended:
                detail = "Only a suspended tenant can be deleted: suspend it first."
                raise Conflict(detail, code="tenant-not-suspended")
            after = replace(
                before,
                deletion_requested_at=self._clock.now(),
                deletion_requested_by=principal.user_id,
            )
            # One of a tenant that came back goes through everything again.
            tx.tenant_rows.advance(tenant_id, DeletionProgress())
            decided = _decide(tx, principal, "tenant.deletion-requested", before=before, after=after)
            tx.commit()
        self._standings.forget()
        return decided

    def restore(self) -> int:
        """Give deliveries of resumed tenants their time back, where that is not done yet; return how many."""
        with self._transactions.read() as tx:
            tenants = tx.tenants.restoring(_PER_RUN)
        return sum(self._restore(tenant_id) for tenant_id in tenants)

    @repeated
    def _resume(self, principal: Principal, tenant_id: UUID, if_match: int | None) -> Tenant:
        with self._transactions.write() as tx:
            before = _standing(tx, tenant_id)
            check_version("tenant", if_match, before.version)
            match before.state:
                case TenantState.Active:
                    return tx.tenants.get(tenant_id)
                case TenantState.Deleting:
                    raise Conflict("The tenant is being deleted.", code="tenant-deleting")
                case TenantState.Deleted:
                    after = TenantStanding(tenant_id, version=before.version)
                case TenantState.Suspended:
                    since = before.suspended_at
                    after = replace(
                        before,
                        suspended_at=None,
                        reason=None,
                        restoring_since=since,
                        resumed_at=self._clock.now(),
                    )
            decided = _decide(tx, principal, "tenant.resumed", before=before, after=after)
            tx.commit()
        self._standings.forget()
        return decided

    def _with_usage(self, tx: TenantTransaction, tenants: Sequence[Tenant]) -> list[Tenant]:
        """Return the tenants with what they used in this month."""
        now = self._clock.now()
        since = start_of_period(now, UsagePeriod.Month)
        ids = [tenant.standing.tenant_id for tenant in tenants]
        totals = tx.usage.totals(ids, UsagePeriod.Month, since=since, until=now + timedelta(seconds=1))
        return [
            replace(tenant, this_month=totals.get(tenant.standing.tenant_id, NOTHING_USED))
            for tenant in tenants
        ]

    def _restore(self, tenant_id: UUID) -> int:
        """Give deliveries their time back, a bounded number, and note when all have it."""
        with self._transactions.read() as tx:
            standing = tx.standings.of(tenant_id)
        since, resumed_at = standing.restoring_since, standing.resumed_at
        if since is None or resumed_at is None:
            return 0

        def step(tx: TenantTransaction) -> int:
            return tx.tenants.restore_deliveries(
                tenant_id,
                scheduled_since=since - self._expiry,
                expires_at=resumed_at + self._expiry,
                now=self._clock.now(),
                limit=PER_TRANSACTION,
            )

        restored = in_steps(self._transactions, step, PER_TRANSACTION, most=_TRANSACTIONS)
        if restored < PER_TRANSACTION * _TRANSACTIONS:
            with self._transactions.write() as tx:
                standing = tx.standings.of(tenant_id)
                if standing.restoring_since == since:
                    tx.standings.save(replace(standing, restoring_since=None))
                    tx.commit()
        return restored


def _decide(
    tx: TenantTransaction, principal: Principal, action: str, *, before: TenantStanding, after: TenantStanding
) -> Tenant:
    """Store a decision, with an audit entry of the platform's tenant and one of the tenant it is about."""
    tenant_id, old, new = after.tenant_id, _state(before), _state(after)
    tx.standings.save(after)
    tx.audit.append(principal.tenant_id, AuditEntry(action, "tenant", tenant_id, principal, old, new))
    if tenant_id != principal.tenant_id and before.state != TenantState.Deleted:
        # Who it was, and from where, is the platform's own matter.
        tx.audit.append(tenant_id, AuditEntry(action, "tenant", tenant_id, None, old, new))
    return tx.tenants.get(tenant_id)


def _check_other(principal: Principal, tenant_id: UUID) -> None:
    """Nobody shuts out the tenant from which tenants are let in again."""
    if tenant_id == principal.tenant_id:
        detail = "The platform's own tenant cannot be suspended or deleted."
        raise Conflict(detail, code="platform-tenant")


def _standing(tx: TenantTransaction, tenant_id: UUID) -> TenantStanding:
    """Return the standing of a tenant that exists. Raises NotFound."""
    if tenant_id == PLATFORM:
        raise NotFound("There is no such tenant.")
    return tx.tenants.get(tenant_id).standing


def _state(standing: TenantStanding) -> Mapping[str, Any]:
    """Return what the audit logs show of a standing."""
    return {
        "state": standing.state.value,
        "reason": standing.reason,
        "limits": {name: limit for name, limit in asdict(standing.limits).items() if limit is not None},
    }
