"""Use cases of the audit log."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from domain.core.errors import Conflict, NotFound, ValidationFailed
from domain.core.paging import Page, PageRequest
from domain.core.permissions import AUDIT_READ
from domain.core.ports import Cipher, Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions, UserTransaction, in_steps
from domain.journal.audit import AuditFilter, AuditRecord, canonical
from domain.journal.audit_check import ChainCheck, ChainReport
from domain.journal.audit_heads import (
    AuditTreeTransaction,
    Checkpoints,
    Head,
    HeadSigner,
    TreeState,
    VerifySignature,
    read_note,
    stored_edge,
)
from domain.journal.merkle import ReadNode, inclusion_path
from domain.journal.occurrences import OccurrenceTransaction, occurrence

CHUNK = 1_000
#: Rows that one call checks: some two seconds.
VERIFIED_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That a row is leaf `index` of the tree whose head `note` signs (RFC 9162 section 2.1.3); hashes are 32 bytes.

    `row` is the canonical row, from which the leaf's hash is computed; None once retention has removed it."""

    sequence: int
    row: str | None
    leaf: bytes
    index: int
    path: tuple[bytes, ...]
    head: Head
    note: str


class AuditService:
    def __init__(
        self,
        transactions: Transactions[AuditLogTransaction],
        clock: Clock,
        *,
        cipher: Cipher,
        signer: HeadSigner,
        checkpoints: Checkpoints,
        verify_signature: VerifySignature,
        retention: timedelta,
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._cipher = cipher
        self._signer = signer
        self._checkpoints = checkpoints
        self._verify_signature = verify_signature
        self._retention = retention

    def page(self, principal: Principal, filter_: AuditFilter, page: PageRequest) -> Page[AuditRecord]:
        """Return a page of the audit log, newest first. Raises Forbidden."""
        principal.require(AUDIT_READ)
        with self._transactions.read() as tx:
            return tx.audit.page(principal.tenant_id, filter_, page)

    def verify(
        self, principal: Principal, *, cursor: str | None = None, most: int = VERIFIED_ROWS
    ) -> ChainReport:
        """Check the tenant's chain against the newest head kept elsewhere; a broken one becomes an alert.

        About `most` rows are checked; the report's `cursor` goes on. Raises Forbidden, ValidationFailed for a cursor
        that no report had, Unavailable."""
        principal.require(AUDIT_READ)
        tenant_id = principal.tenant_id
        context = f"audit-check/{tenant_id}"
        try:
            state = None if cursor is None else self._cipher.open(cursor, context=context)
        except ValueError:
            raise ValidationFailed("The cursor is none of an earlier answer.") from None
        # Read before the rows: a head that is kept meanwhile would cover rows that the snapshot lacks.
        note = self._checkpoints.latest(tenant_id)
        report = self._checked(tenant_id, note, state, most)
        if report.cursor is None:
            with self._transactions.write() as tx:
                tx.occurrences.append(occurrence(*_verdict(report), self._clock.now(), tenant_id=tenant_id))
                tx.commit()
            return report
        return replace(report, cursor=self._cipher.seal(report.cursor, context=context))

    def _checked(self, tenant_id: UUID, note: str | None, state: str | None, most: int) -> ChainReport:
        with self._transactions.read() as tx:
            try:
                head = None if note is None else self._head(tenant_id, note)
            except ValueError as reason:
                ends = tx.audit.ends(tenant_id)
                detail = f"The newest kept head does not hold. {reason}"
                return ChainReport(False, 0, None, detail, ends.head_sequence, ends.head_hash)
            return ChainCheck(tx, tenant_id, head, state).walk(most)

    def prove(self, principal: Principal, sequence: int) -> InclusionProof:
        """Prove that a row is in the log, by a path to the newest signed head.

        Raises Forbidden, NotFound, Conflict for a row that no head covers yet, Unavailable."""
        principal.require(AUDIT_READ)
        tenant_id = principal.tenant_id
        with self._transactions.read() as tx:
            ends, state = tx.audit.ends(tenant_id), tx.audit_tree.state(tenant_id)
            first = state.first if state else ends.anchor_sequence + 1
            if not first <= sequence <= ends.head_sequence:
                raise NotFound("The audit log has no such row.")
            note = state.note if state else None
            head = None if note is None else self._head(tenant_id, note)
            if note is None or head is None or sequence > head.last:
                detail = "No head that covers the row was signed yet; one is every 15 minutes."
                raise Conflict(detail, code="not-signed-yet")
            index = sequence - head.first
            path = inclusion_path(index, head.size, self._reader(tx, tenant_id))
            [leaf] = tx.audit_tree.leaves(tenant_id, index, 1)
            rows = tx.audit.chain(tenant_id, sequence - 1, 1) if sequence > ends.anchor_sequence else []
        row = next((row for row in rows if isinstance(row, AuditRecord)), None)
        text = None if row is None else canonical(row).decode()
        return InclusionProof(sequence, text, leaf, index, tuple(path), head, note)

    def export(self, principal: Principal, after: int, limit: int) -> tuple[str, int | None]:
        """Return rows beyond sequence `after` as JSON lines, and after which row the next part begins.

        The parts after one another are what `python -m infra.audit_verify` checks without the hub. Each begins with a
        line of its own: the tree below its first row, and the newest signed head. Raises Forbidden, Unavailable."""
        principal.require(AUDIT_READ)
        tenant_id = principal.tenant_id
        with self._transactions.read() as tx:
            ends, state = tx.audit.ends(tenant_id), tx.audit_tree.state(tenant_id)
            after = max(after, ends.anchor_sequence)
            rows = [row for row in tx.audit.chain(tenant_id, after, limit) if isinstance(row, AuditRecord)]
            lines = [json.dumps(self._part(tx, tenant_id, state, after))]
        lines += [canonical(row).decode() for row in rows]
        following = rows[-1].sequence if len(rows) == limit else None
        return "\n".join(lines) + "\n", following

    def _part(
        self, tx: AuditLogTransaction, tenant_id: UUID, state: TreeState | None, after: int
    ) -> dict[str, object]:
        below: list[str] = []
        if state is not None and after >= state.first:
            size = min(after - state.first + 1, state.size)
            edge = stored_edge(tx.audit_tree, tenant_id, size)
            if edge is None:
                raise _gaps()
            below = [hash_.hex() for hash_ in edge.hashes]
        return {
            "tenantId": str(tenant_id),
            "after": after,
            "first": state.first if state else after + 1,
            "below": below,
            "head": state.note if state else None,
        }

    def public_keys(self, principal: Principal) -> list[bytes]:
        """Return the keys that sign heads, the newest first. Raises Forbidden, Unavailable."""
        principal.require(AUDIT_READ)
        return list(self._signer.public_keys())

    def forget_old(self, *, transactions: int = 500) -> int:
        """Remove rows past their retention (17.2), a bounded number a run; return how many. The rest still verifies.

        A row stays until a head that covers it is kept: its leaf must outlive it."""
        cutoff = self._clock.now() - self._retention
        with self._transactions.read() as tx:
            tenants = list(tx.users.tenants())

        def forget_of(tenant_id: UUID) -> int:
            def step(tx: AuditLogTransaction) -> int:
                state = tx.audit_tree.state(tenant_id)
                if state is None or state.note is None:
                    return 0
                last = self._head(tenant_id, state.note).last
                return tx.audit.forget_before(tenant_id, cutoff, last=last, limit=CHUNK)

            return in_steps(self._transactions, step, CHUNK, most=transactions)

        return sum(map(forget_of, tenants))

    def _head(self, tenant_id: UUID, note: str) -> Head:
        """Read a note. Raises ValueError when it is not the hub's, or another tenant's."""
        head = read_note(note, self._signer.public_keys(), self._verify_signature)
        if head.tenant_id != tenant_id:
            raise ValueError("It is another tenant's.")
        return head

    @staticmethod
    def _reader(tx: AuditTreeTransaction, tenant_id: UUID) -> ReadNode:
        def read(level: int, position: int) -> bytes:
            found = tx.audit_tree.nodes(tenant_id, [(level, position)])
            if not found:
                raise _gaps()
            return found[level, position]

        return read


def _gaps() -> Conflict:
    return Conflict("The stored tree has gaps; verify the audit log.", code="audit-broken")


def _verdict(report: ChainReport) -> tuple[str, dict[str, Any]]:
    """Return the occurrence that raises the alert about a broken chain, or ends it."""
    if report.intact:
        detail = f"The whole audit log was verified: {report.rows:,} entries, and the chain is intact."
        return "audit-intact", {"subject": "audit", "detail": detail}
    detail = f"The audit log was tampered with: {report.reason}"
    return "security-violation", {"subject": "audit", "detail": detail, "firstBroken": report.first_broken}


class AuditLogTransaction(AuditTreeTransaction, OccurrenceTransaction, UserTransaction, Protocol):
    """The transaction of the audit log's use cases: a broken chain is an occurrence, retention goes by tenants."""
