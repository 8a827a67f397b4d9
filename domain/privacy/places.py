"""The places where the hub may hold a person's data: how each is read, recognised, shown and erased."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from domain.core.errors import ValidationFailed
from domain.core.json_text import JsonText, MalformedJson, check_json
from domain.core.ports import Cipher
from domain.incoming.model import body_context
from domain.incoming.rules import read_request
from domain.integrations.model import IntegrationLog
from domain.journal.events import DomainEvent
from domain.privacy.model import Holding
from domain.privacy.ports import IncomingRow, PrivacyTransaction
from domain.privacy.rules import ERASED, Found, IdentifiedPerson, occurs_in, record_name, without_person
from domain.providers.charset import with_whole_characters
from domain.sync.model import RecordError, SyncedRecord


@dataclass(frozen=True, slots=True)
class ErasureScope:
    tenant_id: UUID
    person: IdentifiedPerson
    now: datetime


class Place(Protocol):
    """One kind of row that may contain personal data.

    - `name` counts in the result of an erasure; `kind` names an item of an export.
    - `batch` is the number of rows that are read at a time."""

    name: str
    kind: str
    batch: int

    def key(self, position: Sequence[str]) -> Any:
        """Return the key of a row at this position. Raises ValueError, IndexError or OverflowError."""

    def rows(self, tx: PrivacyTransaction, tenant_id: UUID, after: Any, limit: int) -> Sequence[Any]: ...

    def holding(self, row: Any) -> Holding: ...

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool: ...

    def shown(self, holding: Holding) -> Any: ...

    def erase(self, tx: PrivacyTransaction, holding: Holding, scope: ErasureScope) -> Sequence[str]:
        """Take the person out; return names that sync must leave out from now on. Raises ChangedMeanwhile."""


def read_batch(
    tx: PrivacyTransaction, place: Place, tenant_id: UUID, after: Sequence[str] | None
) -> list[Holding]:
    rows = place.rows(tx, tenant_id, place.key(after) if after else None, place.batch)
    return [place.holding(row) for row in rows]


class RecordPlace:
    """Synchronised records.

    - A record about the person becomes a tombstone.
    - A record that mentions the person is kept without the mention.
    - A record whose id names the person is removed."""

    name, kind, batch = "records", "Record", 500

    def key(self, position: Sequence[str]) -> tuple[UUID, str, str]:
        return UUID(position[0]), position[1], position[2]

    def rows(self, tx: PrivacyTransaction, tenant_id: UUID, after: Any, limit: int) -> Sequence[SyncedRecord]:
        return tx.personal_data.records(tenant_id, after, limit)

    def holding(self, row: SyncedRecord) -> Holding:
        ids = {
            "integrationId": str(row.integration_id),
            "stream": row.stream,
            "externalId": row.external_id,
            "recordType": row.record_type,
        }
        position = (str(row.integration_id), row.stream, row.external_id)
        return Holding(position, ids, row.synced_at, row)

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        record: SyncedRecord = holding.row
        if person.is_named(record.external_id) or person.is_named(record.local_id or ""):
            return True
        texts = (record.data, record.local_fields)
        return any(without_person(text or "null", person)[1] != Found.Nothing for text in texts)

    def shown(self, holding: Holding) -> Any:
        return _json(holding.row.data)

    def erase(self, tx: PrivacyTransaction, holding: Holding, scope: ErasureScope) -> Sequence[str]:
        record: SyncedRecord = holding.row
        text, found = without_person(record.data or "null", scope.person)
        if _is_named(record, scope.person):
            tx.personal_data.remove_record(scope.tenant_id, record)
        elif found == Found.About:
            tx.personal_data.bury_record(scope.tenant_id, record, scope.now)
        else:
            tx.personal_data.rewrite_record(scope.tenant_id, record, text, scope.now)
            return ()
        return (record_name(record.integration_id, record.stream, record.external_id),)


class EventPlace:
    """Payloads of domain events, and what receivers answered to them."""

    name, kind, batch = "events", "Event", 200
    #: Bytes of payloads read at a time: 200 events of 1 MiB are more than the memory of a small instance.
    most_bytes = 32 * 1024 * 1024

    def key(self, position: Sequence[str]) -> str:
        return position[0]

    def rows(self, tx: PrivacyTransaction, tenant_id: UUID, after: Any, limit: int) -> Sequence[DomainEvent]:
        return tx.personal_data.events(tenant_id, after, limit, most_bytes=self.most_bytes)

    def holding(self, row: DomainEvent) -> Holding:
        return Holding((row.event_id,), {"eventId": row.event_id, "type": row.type}, row.occurred_at, row)

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        subject = holding.row.subject or ""
        if person.is_named(subject) or person.without(subject) != subject:
            return True
        return without_person(holding.row.data, person)[1] != Found.Nothing

    def shown(self, holding: Holding) -> Any:
        return {"subject": holding.row.subject, "data": JsonText(holding.row.data)}

    def erase(self, tx: PrivacyTransaction, holding: Holding, scope: ErasureScope) -> Sequence[str]:
        payload, _ = without_person(holding.row.data, scope.person)
        subject = holding.row.subject
        if subject is not None:
            subject = ERASED if scope.person.is_named(subject) else scope.person.without(subject)
        tx.personal_data.rewrite_event(scope.tenant_id, holding.row.event_id, subject, payload)
        return ()


class IncomingRequestPlace:
    """Requests of providers as they were received; they are signed as a whole, so they are removed as a whole."""

    name, kind, batch = "incomingWebhooks", "IncomingWebhook", 50

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def key(self, position: Sequence[str]) -> tuple[UUID, datetime, UUID]:
        return UUID(position[0]), datetime.fromisoformat(position[1]).astimezone(UTC), UUID(position[2])

    def rows(self, tx: PrivacyTransaction, tenant_id: UUID, after: Any, limit: int) -> Sequence[IncomingRow]:
        return tx.personal_data.incoming(tenant_id, after, limit)

    def holding(self, row: IncomingRow) -> Holding:
        integration_id, received_at, webhook_id, body = row
        position = (str(integration_id), received_at.isoformat(), str(webhook_id))
        ids = {"integrationId": str(integration_id), "incomingWebhookId": str(webhook_id)}
        return Holding(position, ids, received_at, body)

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        try:
            return occurs_in(self._text(holding), person)
        except ValueError:
            return False  # its data key was removed, so nobody can read it any more

    def shown(self, holding: Holding) -> Any:
        text = self._text(holding)
        try:
            check_json(text.encode())
        except (MalformedJson, ValidationFailed):
            return {"body": text}
        return {"body": JsonText(text)}

    def erase(self, tx: PrivacyTransaction, holding: Holding, scope: ErasureScope) -> Sequence[str]:
        tx.personal_data.remove_bodies(scope.tenant_id, [holding.row.incoming_body_id])
        return ()

    def _text(self, holding: Holding) -> str:
        body = holding.row
        opened = self._cipher.open(body.sealed, context=body_context(body.incoming_body_id))
        return read_request(opened, body.received_at).body.decode(errors="replace")


class LogPlace:
    name, kind, batch = "integrationLogs", "IntegrationLog", 500

    def key(self, position: Sequence[str]) -> tuple[UUID, UUID]:
        return UUID(position[0]), UUID(position[1])

    def rows(
        self, tx: PrivacyTransaction, tenant_id: UUID, after: Any, limit: int
    ) -> Sequence[IntegrationLog]:
        return tx.personal_data.logs(tenant_id, after, limit)

    def holding(self, row: IntegrationLog) -> Holding:
        integration_id, log_id = str(row.integration_id), str(row.integration_log_id)
        ids = {"integrationId": integration_id, "integrationLogId": log_id}
        return Holding((integration_id, log_id), ids, row.created_at, row)

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        return any(text and without_person(text, person)[1] != Found.Nothing for text in _texts(holding.row))

    def shown(self, holding: Holding) -> Any:
        message, details, exception = _texts(holding.row)
        return {"message": message, "details": _json(details), "exception": exception}

    def erase(self, tx: PrivacyTransaction, holding: Holding, scope: ErasureScope) -> Sequence[str]:
        plain = [text and without_person(text, scope.person)[0] for text in _texts(holding.row)]
        texts = dict(zip(("Message", "Details", "Exception"), plain, strict=True))
        tx.personal_data.rewrite_log(scope.tenant_id, holding.row.integration_log_id, texts)
        return ()


class RecordErrorPlace:
    """The log of records that a sync refused; it contains the ids of the records, but no values."""

    name, kind, batch = "recordErrors", "RecordError", 500

    def key(self, position: Sequence[str]) -> tuple[UUID, UUID]:
        return UUID(position[0]), UUID(position[1])

    def rows(self, tx: PrivacyTransaction, tenant_id: UUID, after: Any, limit: int) -> Sequence[RecordError]:
        return tx.personal_data.record_errors(tenant_id, after, limit)

    def holding(self, row: RecordError) -> Holding:
        job_id = str(row.data_sync_job_id)
        ids = {"dataSyncJobId": job_id, "stream": row.stream, "externalId": row.external_id}
        return Holding((job_id, str(row.error_id)), ids, row.created_at, row)

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        external_id = holding.row.external_id
        return person.is_named(external_id) or person.without(external_id) != external_id

    def shown(self, holding: Holding) -> Any:
        return {"pointer": holding.row.pointer, "reason": holding.row.reason}

    def erase(self, tx: PrivacyTransaction, holding: Holding, scope: ErasureScope) -> Sequence[str]:
        tx.personal_data.rewrite_record_error(scope.tenant_id, holding.row.error_id, ERASED)
        return ()


def places(cipher: Cipher) -> Sequence[Place]:
    return (RecordPlace(), EventPlace(), IncomingRequestPlace(cipher), LogPlace(), RecordErrorPlace())


def _is_named(record: SyncedRecord, person: IdentifiedPerson) -> bool:
    ids = (record.external_id, (record.local_id or ""), record.external_id.removeprefix("local:"))
    return any(person.is_named(id_) or person.without(id_) != id_ for id_ in ids)


def _texts(log: IntegrationLog) -> tuple[str, str | None, str | None]:
    return log.message, log.details, log.exception


def _json(text: str | None) -> Any:
    try:
        return None if text is None else with_whole_characters(json.loads(text))
    except (ValueError, RecursionError):
        return text
