"""The timer's work on the audit log: new rows join the tree, and its head is signed and kept elsewhere."""

from __future__ import annotations

import hashlib
import logging
from uuid import UUID

from domain.core.ports import Clock
from domain.core.transaction import Transactions
from domain.journal.audit import AuditRecord, canonical
from domain.journal.audit_heads import Checkpoints, Head, HeadSigner, TreeState, signed_note, stored_edge
from domain.journal.audit_log import AuditLogTransaction
from domain.journal.merkle import Node, leaf_hash
from domain.journal.occurrences import occurrence

logger = logging.getLogger("hub.audit")

_CHUNK = 1_000
_TENANTS = 200


class AuditHeads:
    """Signs what is new. A crash at any point leaves a tree that the next run goes on with."""

    def __init__(
        self,
        transactions: Transactions[AuditLogTransaction],
        clock: Clock,
        *,
        signer: HeadSigner,
        checkpoints: Checkpoints,
        chunk: int = _CHUNK,
        tenants: int = _TENANTS,
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._signer = signer
        self._checkpoints = checkpoints
        self._chunk = chunk
        self._tenants = tenants

    def sign_new(self, *, most: int = 500) -> int:
        """Grow and sign the tree of every tenant with new rows; return how many heads were kept.

        `most` bounds the transactions of a run. Raises Unavailable; what was kept until then stays."""
        kept, last = 0, None
        while most > 0:
            with self._transactions.read() as tx:
                tenants = tx.audit_tree.tenants_to_sign(last, self._tenants)
            for tenant_id in tenants:
                steps = self._grow(tenant_id, most)
                kept += self._keep(tenant_id)
                most -= steps
                if most <= 0:
                    break
            if len(tenants) < self._tenants:
                break
            last = tenants[-1]
        return kept

    def _grow(self, tenant_id: UUID, most: int) -> int:
        """Let rows join the tree; return how many transactions that took."""
        for step in range(1, most + 1):
            with self._transactions.write() as tx:
                found = self._step(tx, tenant_id)
                tx.commit()
            if found < self._chunk:
                return step
        return most

    def _step(self, tx: AuditLogTransaction, tenant_id: UUID) -> int:
        """Add the next rows; return how many were found, and none where one of them does not fit."""
        state = tx.audit_tree.state(tenant_id)
        if state is None:
            first = tx.audit.ends(tenant_id).anchor_sequence + 1
            tx.audit_tree.plant(tenant_id, first)
            state = TreeState(first, 0, 0, None)
        edge = stored_edge(tx.audit_tree, tenant_id, state.size)
        if edge is None:
            self._tell(tx, tenant_id, state.first + state.size)
            return 0
        rows = tx.audit.chain(tenant_id, state.first + state.size - 1, self._chunk)
        nodes: list[Node] = []
        for row in rows:
            sequence = state.first + edge.size
            leaf = _leaf(row, sequence)
            if leaf is None:
                self._tell(tx, tenant_id, sequence)
                rows = []
                break
            nodes += edge.append(leaf)
        return len(rows) if tx.audit_tree.grow(tenant_id, state.size, nodes) else 0

    def _tell(self, tx: AuditLogTransaction, tenant_id: UUID, sequence: int) -> None:
        detail = f"The audit log was tampered with: row {sequence} cannot be signed; verify the log."
        data = {"subject": "audit", "detail": detail, "firstBroken": sequence}
        tx.occurrences.append(occurrence("security-violation", data, self._clock.now(), tenant_id=tenant_id))

    def _keep(self, tenant_id: UUID) -> int:
        """Sign the tree's head and keep it elsewhere; return 1, or 0 where the head is kept already."""
        with self._transactions.read() as tx:
            state = tx.audit_tree.state(tenant_id)
            if state is None or not state.size or state.signed_size == state.size:
                return 0
            edge = stored_edge(tx.audit_tree, tenant_id, state.size)
        if edge is None:
            return 0
        head = Head(tenant_id, state.first, state.size, edge.root(), self._clock.now())
        note = signed_note(head, self._signer)
        self._checkpoints.put(tenant_id, state.size, note)
        # Also in the log, which goes where the database's administrators do not.
        logger.info(
            "audit head signed", extra={"tenantId": str(tenant_id), "auditSequence": head.last, "note": note}
        )
        with self._transactions.write() as tx:
            tx.audit_tree.signed(tenant_id, state.size, note)
            tx.commit()
        return 1


def _leaf(row: AuditRecord | int, expected: int) -> bytes | None:
    """Return the leaf of a row, or None where it is not the expected one as it was written."""
    if isinstance(row, int) or row.sequence != expected:
        return None
    text = canonical(row)
    return leaf_hash(text) if hashlib.sha256(text).hexdigest() == row.hash else None
