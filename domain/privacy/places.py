"""The places where the hub may hold a person's data: how each is read, recognised and erased."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from domain.core.ports import Cipher
from domain.incoming.model import body_context
from domain.incoming.rules import read_request
from domain.privacy.model import Holding
from domain.privacy.ports import PrivacyTransaction
from domain.privacy.rules import ERASED, Found, IdentifiedPerson, occurs_in, record_name, without_person
from domain.sync.model import SyncedRecord

Position = Sequence[str]

#: Payloads held at a time: 200 events of a mebibyte are more than a small instance has memory for.
_EVENT_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ErasureScope:
    """What an erasure knows: whom, and now."""

    tenant_id: UUID
    person: IdentifiedPerson
    now: datetime


class Place(Protocol):
    """`name` counts in an erasure's answer; `batch` is how many rows are read at a time."""

    name: str
    kind: str
    batch: int

    def key(self, position: Position) -> Any:
        """A holding's position as a key of the place. Raises ValueError, IndexError or OverflowError for what is
        none."""

    def read(
        self, tx: PrivacyTransaction, tenant_id: UUID, after: Position | None, limit: int
    ) -> list[Holding]:
        """Some of what comes beyond `after`; none is the end."""

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool: ...

    def shown(self, holding: Holding) -> Any:
        """What an export says of it, JSON-able."""

    def erase(self, tx: PrivacyTransaction, holding: Holding, erasing: ErasureScope) -> Sequence[str]:
        """Raises ChangedMeanwhile. Returns names that synchronisation must leave out from now on."""


class RecordPlace:
    """Synchronised records. One that is about the person becomes a tombstone, one that mentions them goes on
    without; one whose very id names them is removed."""

    name, kind, batch = "records", "Record", 500

    def key(self, position: Position) -> tuple[UUID, str, str]:
        return UUID(position[0]), position[1], position[2]

    def read(
        self, tx: PrivacyTransaction, tenant_id: UUID, after: Position | None, limit: int
    ) -> list[Holding]:
        key = self.key(after) if after else None
        return [record_holding(record) for record in tx.personal_data.records(tenant_id, key, limit)]

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        record: SyncedRecord = holding.row
        if person.is_named(record.external_id) or person.is_named(record.local_id or ""):
            return True
        return without_person(record.data or "null", person)[1] != Found.Nothing

    def shown(self, holding: Holding) -> Any:
        return _json(holding.text)

    def erase(self, tx: PrivacyTransaction, holding: Holding, erasing: ErasureScope) -> Sequence[str]:
        record: SyncedRecord = holding.row
        text, found = without_person(record.data or "null", erasing.person)
        if _is_named(record, erasing.person):
            tx.personal_data.remove_record(erasing.tenant_id, record)
        elif found == Found.About:
            tx.personal_data.bury_record(erasing.tenant_id, record, erasing.now)
        else:
            tx.personal_data.rewrite_record(erasing.tenant_id, record, text, erasing.now)
            return ()
        return (record_name(record.integration_id, record.stream, record.external_id),)


class EventPlace:
    """Payloads of domain events, which deliveries send; what receivers answered to them goes too."""

    name, kind, batch = "events", "Event", 200

    def key(self, position: Position) -> str:
        return position[0]

    def read(
        self, tx: PrivacyTransaction, tenant_id: UUID, after: Position | None, limit: int
    ) -> list[Holding]:
        events = tx.personal_data.events(
            tenant_id, self.key(after) if after else None, limit, most_bytes=_EVENT_BYTES
        )
        return [
            Holding(
                (event.event_id,),
                {"eventId": event.event_id, "type": event.type},
                event.occurred_at,
                event.data,
                event,
            )
            for event in events
        ]

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        subject = holding.row.subject or ""
        if person.is_named(subject) or person.without(subject) != subject:
            return True
        return without_person(holding.row.data, person)[1] != Found.Nothing

    def shown(self, holding: Holding) -> Any:
        return {"subject": holding.row.subject, "data": _json(holding.text)}

    def erase(self, tx: PrivacyTransaction, holding: Holding, erasing: ErasureScope) -> Sequence[str]:
        payload, _ = without_person(holding.row.data, erasing.person)
        subject = holding.row.subject
        if subject is not None:
            subject = ERASED if erasing.person.is_named(subject) else erasing.person.without(subject)
        tx.personal_data.rewrite_event(erasing.tenant_id, holding.row.event_id, subject, payload)
        return ()


class IncomingRequestPlace:
    """Requests of providers as they came in. They are signed as a whole, so they go as a whole."""

    name, kind, batch = "incomingWebhooks", "IncomingWebhook", 50

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def key(self, position: Position) -> tuple[UUID, datetime, UUID]:
        return UUID(position[0]), datetime.fromisoformat(position[1]).astimezone(UTC), UUID(position[2])

    def read(
        self, tx: PrivacyTransaction, tenant_id: UUID, after: Position | None, limit: int
    ) -> list[Holding]:
        key = self.key(after) if after else None
        return [
            Holding(
                (str(integration_id), received_at.isoformat(), str(webhook_id)),
                {"integrationId": str(integration_id), "incomingWebhookId": str(webhook_id)},
                received_at,
                None,
                body,
            )
            for integration_id, received_at, webhook_id, body in tx.personal_data.incoming(
                tenant_id, key, limit
            )
        ]

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        try:
            return occurs_in(self._text(holding), person)
        except ValueError:
            return False  # its data key is gone: nobody can read it any more

    def shown(self, holding: Holding) -> Any:
        text = self._text(holding)
        parsed = _json(text)
        return {"body": text if parsed is None else parsed}

    def erase(self, tx: PrivacyTransaction, holding: Holding, erasing: ErasureScope) -> Sequence[str]:
        tx.personal_data.remove_bodies(erasing.tenant_id, [holding.row.incoming_body_id])
        return ()

    def _text(self, holding: Holding) -> str:
        sealed = holding.row
        opened = self._cipher.open(sealed.sealed, context=body_context(sealed.incoming_body_id))
        return read_request(opened, sealed.received_at).body.decode(errors="replace")


class LogPlace:
    """Logs of integrations, which may quote what a provider said."""

    name, kind, batch = "integrationLogs", "IntegrationLog", 500

    def key(self, position: Position) -> tuple[UUID, UUID]:
        return UUID(position[0]), UUID(position[1])

    def read(
        self, tx: PrivacyTransaction, tenant_id: UUID, after: Position | None, limit: int
    ) -> list[Holding]:
        key = self.key(after) if after else None
        return [
            Holding(
                (str(log.integration_id), str(log.integration_log_id)),
                {
                    "integrationId": str(log.integration_id),
                    "integrationLogId": str(log.integration_log_id),
                },
                log.created_at,
                None,
                log,
            )
            for log in tx.personal_data.logs(tenant_id, key, limit)
        ]

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        return any(text and without_person(text, person)[1] != Found.Nothing for text in _texts(holding))

    def shown(self, holding: Holding) -> Any:
        message, details, exception = _texts(holding)
        return {"message": message, "details": _json(details), "exception": exception}

    def erase(self, tx: PrivacyTransaction, holding: Holding, erasing: ErasureScope) -> Sequence[str]:
        plain = [text and without_person(text, erasing.person)[0] for text in _texts(holding)]
        texts = dict(zip(("Message", "Details", "Exception"), plain, strict=True))
        tx.personal_data.rewrite_log(erasing.tenant_id, holding.row.integration_log_id, texts)
        return ()


class RecordErrorPlace:
    """The log of records that a sync refused: without values, but with the record's id."""

    name, kind, batch = "recordErrors", "RecordError", 500

    def key(self, position: Position) -> tuple[UUID, UUID]:
        return UUID(position[0]), UUID(position[1])

    def read(
        self, tx: PrivacyTransaction, tenant_id: UUID, after: Position | None, limit: int
    ) -> list[Holding]:
        key = self.key(after) if after else None
        return [
            Holding(
                (str(record_error.data_sync_job_id), str(record_error.error_id)),
                {
                    "dataSyncJobId": str(record_error.data_sync_job_id),
                    "stream": record_error.stream,
                    "externalId": record_error.external_id,
                },
                record_error.created_at,
                None,
                record_error,
            )
            for record_error in tx.personal_data.record_errors(tenant_id, key, limit)
        ]

    def holds(self, holding: Holding, person: IdentifiedPerson) -> bool:
        key = holding.row.external_id
        return person.is_named(key) or person.without(key) != key

    def shown(self, holding: Holding) -> Any:
        return {"pointer": holding.row.pointer, "reason": holding.row.reason}

    def erase(self, tx: PrivacyTransaction, holding: Holding, erasing: ErasureScope) -> Sequence[str]:
        tx.personal_data.rewrite_record_error(erasing.tenant_id, holding.row.error_id, ERASED)
        return ()


def places(cipher: Cipher) -> Sequence[Place]:
    """All of them, in the order in which they are read."""
    return (RecordPlace(), EventPlace(), IncomingRequestPlace(cipher), LogPlace(), RecordErrorPlace())


def record_holding(record: SyncedRecord) -> Holding:
    """A synchronised record as something that is held."""
    ids = {
        "integrationId": str(record.integration_id),
        "stream": record.stream,
        "externalId": record.external_id,
        "recordType": record.record_type,
    }
    key = (str(record.integration_id), record.stream, record.external_id)
    return Holding(key, ids, record.synced_at, record.data, record)


def _is_named(record: SyncedRecord, person: IdentifiedPerson) -> bool:
    ids = (record.external_id, (record.local_id or ""), record.external_id.removeprefix("local:"))
    return any(person.is_named(id_) or person.without(id_) != id_ for id_ in ids)


def _texts(holding: Holding) -> tuple[str, str | None, str | None]:
    return holding.row.message, holding.row.details, holding.row.exception


def _json(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text
