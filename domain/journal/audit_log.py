"""Use cases of the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.core.permissions import AUDIT_READ
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions, UserTransaction, in_steps
from domain.journal.audit import (
    AuditFilter,
    AuditRecord,
    AuditTransaction,
    ChainEnds,
    ChainReport,
    chained_hash,
)
from domain.journal.occurrences import OccurrenceTransaction, occurrence

CHUNK = 1_000


class AuditService:
    def __init__(
        self, transactions: Transactions[AuditLogTransaction], clock: Clock, *, retention: timedelta
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._retention = retention

    def page(self, principal: Principal, filter_: AuditFilter, page: PageRequest) -> Page[AuditRecord]:
        """Return a page of the audit log, newest first. Raises Forbidden."""
        principal.require(AUDIT_READ)
        with self._transactions.read() as tx:
            return tx.audit.page(principal.tenant_id, filter_, page)

    def verify(self, principal: Principal) -> ChainReport:
        """Check the tenant's whole chain; a broken one becomes an alert. Raises Forbidden."""
        principal.require(AUDIT_READ)
        with self._transactions.read() as tx:
            ends = tx.audit.ends(principal.tenant_id)
            report = check_chain(ends, _rows(tx, principal.tenant_id, ends.anchor_sequence))
        now, tenant_id = self._clock.now(), principal.tenant_id
        with self._transactions.write() as tx:
            tx.occurrences.append(occurrence(*_verdict(report), now, tenant_id=tenant_id))
            tx.commit()
        return report

    def forget_old(self, *, transactions: int = 500) -> int:
        """Remove rows past their retention (17.2), a bounded number a run; return how many. The rest still verifies."""
        cutoff = self._clock.now() - self._retention
        with self._transactions.read() as tx:
            tenants = list(tx.users.tenants())

        def forget_of(tenant_id: UUID) -> int:
            def step(tx: AuditLogTransaction) -> int:
                return tx.audit.forget_before(tenant_id, cutoff, CHUNK)

            return in_steps(self._transactions, step, CHUNK, most=transactions)

        return sum(map(forget_of, tenants))


def _verdict(report: ChainReport) -> tuple[str, dict[str, Any]]:
    """Return the occurrence that raises the alert about a broken chain, or ends it."""
    if report.intact:
        detail = f"The whole audit log was verified: {report.rows:,} entries, and the chain is intact."
        return "audit-intact", {"subject": "audit", "detail": detail}
    detail = f"The audit log was tampered with: {report.reason}"
    return "security-violation", {"subject": "audit", "detail": detail, "firstBroken": report.first_broken}


def check_chain(ends: ChainEnds, rows: Iterator[AuditRecord | int]) -> ChainReport:
    """Check that every row follows the one before and hashes to what it says, up to the head that `ends` names."""
    expected, previous, count = ends.anchor_sequence + 1, ends.anchor_hash, 0
    for row in rows:
        sequence = row if isinstance(row, int) else row.sequence
        if sequence != expected:
            return _broken(ends, count, expected, "The row is missing.")
        if isinstance(row, int):
            return _broken(ends, count, sequence, "The row cannot be read.")
        if row.previous_hash != previous:
            return _broken(ends, count, sequence, "The row does not follow the one before it.")
        if chained_hash(row) != row.hash:
            return _broken(ends, count, sequence, "The row was changed.")
        expected, previous, count = expected + 1, row.hash, count + 1
    if ends.head_sequence >= expected:
        return _broken(ends, count, expected, "The row is missing.")
    if (ends.head_sequence, ends.head_hash) != (expected - 1, previous):
        return _broken(ends, count, expected - 1, "The newest row is not the one the tenant's record names.")
    return ChainReport(True, count, None, None, ends.head_sequence, ends.head_hash)


def _broken(ends: ChainEnds, rows: int, sequence: int, reason: str) -> ChainReport:
    return ChainReport(False, rows, sequence, reason, ends.head_sequence, ends.head_hash)


def _rows(tx: AuditLogTransaction, tenant_id: UUID, after: int) -> Iterator[AuditRecord | int]:
    while True:
        rows = tx.audit.chain(tenant_id, after, CHUNK)
        yield from rows
        if len(rows) < CHUNK:
            return
        last = rows[-1]
        after = last if isinstance(last, int) else last.sequence


class AuditLogTransaction(AuditTransaction, OccurrenceTransaction, UserTransaction, Protocol):
    """The transaction of the audit log's use cases: a broken chain is an occurrence, retention goes by tenants."""
