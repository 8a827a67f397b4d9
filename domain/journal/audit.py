"""The audit log (sections 8.3 and 17): who did what to what, from where, in a chain that shows tampering."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.core.principal import Principal
from domain.core.transaction import Transaction
from domain.core.wire import rfc3339

REDACTED = "********"
_SECRET_WORDS = re.compile("secret|password|token|credential|apikey|keyhash|authorization|signature")
_NO_SECRET = ("id", "at", "prefix", "overlapseconds")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something worth recording, before it has its place in the chain; without a principal the hub itself did it.

    `before` and `after` are what changed, as JSON-able values; secrets in them are blacked out."""

    action: str
    target_type: str
    target_id: UUID | str
    principal: Principal | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A row. `before` and `after` are JSON text; `hash` covers every other field, `previous_hash` included."""

    tenant_id: UUID
    sequence: int
    occurred_at: datetime
    actor_user_id: UUID | None
    actor_key_id: UUID | None
    action: str
    target_type: str
    target_id: str
    before: str | None
    after: str | None
    request_id: str | None
    trace_id: str | None
    ip_address: str | None
    previous_hash: str
    hash: str = ""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """All given conditions hold; moments are inclusive and exclusive. `action` may end in `*`."""

    actor_id: UUID | None = None
    action: str | None = None
    target_type: str | None = None
    target_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChainEnds:
    """The row before a tenant's chain (the last that retention removed), and its newest row."""

    anchor_sequence: int
    anchor_hash: str
    head_sequence: int
    head_hash: str


def canonical(record: AuditRecord) -> bytes:
    """Return the row as canonical JSON, its own hash aside: sorted names, no spaces, moments in microseconds."""
    fields = {
        "tenantId": str(record.tenant_id),
        "sequence": record.sequence,
        "occurredAt": rfc3339(record.occurred_at),
        "actorUserId": _text(record.actor_user_id),
        "actorKeyId": _text(record.actor_key_id),
        "action": record.action,
        "targetType": record.target_type,
        "targetId": record.target_id,
        "before": record.before,
        "after": record.after,
        "requestId": record.request_id,
        "traceId": record.trace_id,
        "ipAddress": record.ip_address,
        "previousHash": record.previous_hash,
    }
    return json.dumps(fields, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


def chained_hash(record: AuditRecord) -> str:
    """Return the SHA-256 of the canonical row, in hexadecimal digits."""
    return hashlib.sha256(canonical(record)).hexdigest()


def redacted(value: Any) -> Any:
    """Return the value with secrets blacked out by name: a second line of defence, as callers leave them out."""
    if isinstance(value, Mapping):
        return {
            name: REDACTED if _is_secret(name) and item is not None else redacted(item)
            for name, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [redacted(item) for item in value]
    return value


def state_text(state: Mapping[str, Any] | None) -> str | None:
    if state is None:
        return None
    return json.dumps(redacted(state), sort_keys=True, default=_plain, separators=(",", ":"))


def _is_secret(name: str) -> bool:
    plain = name.replace("_", "").replace("-", "").lower()
    return plain == "key" or (_SECRET_WORDS.search(plain) is not None and not plain.endswith(_NO_SECRET))


def _plain(value: object) -> str:
    return rfc3339(value) if isinstance(value, datetime) else str(value)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


class Audit(Protocol):
    """One tenant's audit log. No row is ever changed, and only retention removes rows."""

    def append(self, tenant_id: UUID, entry: AuditEntry) -> None:
        """Add to the tenant's chain in this transaction. Holds the tenant's row until the transaction ends."""

    def page(self, tenant_id: UUID, filter_: AuditFilter, page: PageRequest) -> Page[AuditRecord]:
        """Return a page of rows, newest first."""

    def ends(self, tenant_id: UUID) -> ChainEnds: ...

    def chain(self, tenant_id: UUID, after: int, limit: int) -> Sequence[AuditRecord | int]:
        """Return rows by sequence from beyond `after`; one that can no longer be read is just its sequence."""

    def forget_before(self, tenant_id: UUID, cutoff: datetime, *, last: int, limit: int) -> int:
        """Remove up to `limit` of the oldest rows, and move the anchor; return how many.

        They are older than `cutoff`, and their sequence is `last` at most."""


class AuditTransaction(Transaction, Protocol):
    """A transaction that may record in the audit log, and read it."""

    @property
    def audit(self) -> Audit: ...
