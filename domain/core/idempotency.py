"""`Idempotency-Key`: a repeated POST gets the first answer instead of happening twice."""

from __future__ import annotations

import hashlib
import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.core.errors import Conflict, ValidationFailed
from domain.core.ports import Cipher, Clock, EntityExists, EtagMismatch, TableEntity, TableStore, TableValue

TABLE = "IdempotencyKeys"
_RUNNING_AT_MOST = timedelta(minutes=5)
_PIECE = 30_000
_ROW = 15 * _PIECE  # characters; an entity holds 1 MiB, a property 64 KiB, in UTF-16
SCAN = 1_000


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Idempotency:
    """Answers are sealed at rest, because some hold a secret that is shown once."""

    def __init__(self, tables: TableStore, cipher: Cipher, clock: Clock, *, kept: timedelta) -> None:
        self._tables = tables
        self._cipher = cipher
        self._clock = clock
        self._kept = kept

    def begin(self, tenant_id: UUID, key: str, fingerprint: str) -> StoredAnswer | None:
        """Reserve the key for a request; return the stored answer when the request was made before.

        - None: go ahead, and call `finish` or `abandon`.
        - Raises Conflict while the first request still runs, and when it left no answer within five minutes: it may
          have been done, so nothing is done again under its key.
        - Raises ValidationFailed when `fingerprint`, which tells method, path, caller and body apart, differs from
          the first one's."""
        now = self._clock.now()
        properties: dict[str, TableValue] = {"fingerprint": fingerprint, "startedAt": now, "answer": 0}
        fresh = TableEntity(str(tenant_id), _row(key), properties)
        try:
            self._tables.insert(TABLE, fresh)
        except EntityExists:
            return self._repeat(fresh, fingerprint, now)
        return None

    def finish(self, tenant_id: UUID, key: str, fingerprint: str, answer: StoredAnswer) -> None:
        body = b64encode(zlib.compress(answer.body)).decode()
        text = json.dumps({"status": answer.status, "headers": dict(answer.headers), "body": body})
        sealed = self._cipher.seal(text, context=_context(str(tenant_id), _row(key)))
        now = self._clock.now()
        rows = [sealed[start : start + _ROW] for start in range(0, len(sealed), _ROW)]
        for index, text in reversed(list(enumerate(rows))):
            properties: dict[str, TableValue] = {"startedAt": now, **_pieces(text)}
            if index == 0:  # written last: from then on the answer is there
                properties |= {"fingerprint": fingerprint, "answer": len(rows)}
            row_key = _row(key) + (f"p{index}" if index else "")
            self._tables.upsert(TABLE, TableEntity(str(tenant_id), row_key, properties))

    def abandon(self, tenant_id: UUID, key: str) -> None:
        """Free the key: the request changed nothing, and may be repeated under it."""
        self._tables.delete(TABLE, str(tenant_id), _row(key))

    def forget_old(self, tenants: Iterable[UUID]) -> int:
        """Delete the answers past their time; return how many."""
        deleted = 0
        cutoff = self._clock.now() - self._kept
        for tenant in tenants:
            after = ""
            while entities := self._tables.query(TABLE, str(tenant), row_key_from=after, limit=SCAN):
                for entity in entities:
                    if _started(entity) < cutoff:
                        deleted += self._forget(entity)
                after = entities[-1].row_key + "0"
        return deleted

    def _forget(self, entity: TableEntity) -> bool:
        try:
            return self._tables.delete(TABLE, entity.partition_key, entity.row_key, etag=entity.etag)
        except EtagMismatch:
            return False  # taken again since it was read

    def _repeat(self, fresh: TableEntity, fingerprint: str, now: datetime) -> StoredAnswer | None:
        known = self._tables.get(TABLE, fresh.partition_key, fresh.row_key)
        if known is None:
            raise Conflict("The first request with this Idempotency-Key just ended; try again.")
        rows = int(known.properties["answer"])  # type: ignore[arg-type]
        age = now - _started(known)
        if age > self._kept:
            try:
                self._tables.replace(TABLE, fresh, etag=known.etag)
            except EtagMismatch:
                raise Conflict("Another request with this Idempotency-Key is running; try again.") from None
            return None
        if known.properties["fingerprint"] != fingerprint:
            raise ValidationFailed(
                "This Idempotency-Key was used for a different request.", code="idempotency-key-reused"
            )
        if not rows and age > _RUNNING_AT_MOST:
            detail = "The first request with this Idempotency-Key left no answer; whether it was done is not known."
            raise Conflict(detail, code="idempotency-outcome-unknown")
        if not rows:
            detail = "The first request with this Idempotency-Key is still running; try again."
            raise Conflict(detail, code="idempotency-key-running")
        names = [f"{known.row_key}p{index}" for index in range(1, rows)]
        others = [self._tables.get(TABLE, known.partition_key, name) for name in names]
        sealed = "".join(_text(entity) for entity in (known, *others) if entity is not None)
        fields = json.loads(self._cipher.open(sealed, context=_context(known.partition_key, known.row_key)))
        return StoredAnswer(fields["status"], fields["headers"], zlib.decompress(b64decode(fields["body"])))


def _row(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _context(partition_key: str, row_key: str) -> str:
    return f"idempotency:{partition_key}:{row_key}"


def _started(entity: TableEntity) -> datetime:
    started = entity.properties["startedAt"]
    assert isinstance(started, datetime)
    return started


def _pieces(text: str) -> dict[str, TableValue]:
    starts = range(0, len(text), _PIECE)
    return {f"piece{index}": text[start : start + _PIECE] for index, start in enumerate(starts)}


def _text(entity: TableEntity) -> str:
    count = sum(name.startswith("piece") for name in entity.properties)
    return "".join(str(entity.properties[f"piece{index}"]) for index in range(count))
