"""One tenant's rows that may be about a person, read from end to end and taken out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, Connection, Select, and_, bindparam, delete, or_, select, update

from domain.incoming.model import IncomingBody
from domain.integrations.model import IntegrationLog
from domain.journal.events import DomainEvent
from domain.privacy.ports import ChangedMeanwhile, IncomingRow
from domain.sync.model import LogKind, RecordError, SyncedRecord
from infra.sql.incoming.tables import incoming_bodies, incoming_webhooks
from infra.sql.integrations.logs import log_of
from infra.sql.integrations.tables import integration_logs, integrations
from infra.sql.journal.outbox import EVENT_COLUMNS, event_of_row, up_to_bytes
from infra.sql.journal.tables import domain_events
from infra.sql.statements import key_lists
from infra.sql.sync.records import COLUMNS, record_of
from infra.sql.sync.tables import data_sync_jobs, sync_record_errors, synced_records
from infra.sql.webhooks.tables import webhook_deliveries, webhook_delivery_attempts

R = TypeVar("R")
_r = synced_records.c
_ev = domain_events.c
_d = webhook_deliveries.c
_at = webhook_delivery_attempts.c
_w = incoming_webhooks.c
_b = incoming_bodies.c
_l = integration_logs.c
_x = sync_record_errors.c
#: What a tombstone has, and what must not be pushed to the provider.
_UNEXPORTED = {"IsLocal": False, "ExportPending": False, "LocalFields": None}
OWNERS = 50


class SqlPersonalData:
    """Satisfies `domain.privacy.ports.PersonalData`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # -- synchronised records -----------------------------------------------------------------------------

    def records(self, tenant_id: UUID, after: tuple[UUID, str, str] | None, limit: int) -> list[SyncedRecord]:
        def of_one(owner: UUID, beyond: tuple[Any, ...], room: int) -> list[SyncedRecord]:
            # the primary key, in its order
            statement = select(*COLUMNS).where(
                _r.TenantId == tenant_id, _r.IntegrationId == owner, _r.Data.is_not(None)
            )
            if beyond:
                stream, key = beyond
                later = or_(_r.Stream > stream, and_(_r.Stream == stream, _r.ExternalId > key))
                statement = statement.where(_r.Stream >= stream, later)
            ordered = statement.order_by(_r.Stream, _r.ExternalId).limit(room)
            return [record_of(row) for row in self._connection.execute(ordered)]

        return self._owned(
            _integrations(tenant_id), integrations.c.IntegrationId, after, limit=limit, of_one=of_one
        )

    def record(
        self, tenant_id: UUID, integration_id: UUID, stream: str, external_id: str
    ) -> SyncedRecord | None:
        row = self._connection.execute(
            select(*COLUMNS).where(
                _r.TenantId == tenant_id,
                _r.IntegrationId == integration_id,
                _r.Stream == stream,
                _r.ExternalId == external_id,
            )
        ).first()
        return None if row is None else record_of(row)

    def bury_record(self, tenant_id: UUID, record: SyncedRecord, now: datetime) -> None:
        gone = {"Data": None, "SourceHash": None, "ExportedHash": None, "LocalId": None}
        self._change(tenant_id, record, {**gone, "DeletedAt": now, "SyncedAt": now})

    def remove_record(self, tenant_id: UUID, record: SyncedRecord) -> None:
        removed = self._connection.execute(delete(synced_records).where(_as_read(tenant_id, record)))
        _check(removed.rowcount)

    def rewrite_record(self, tenant_id: UUID, record: SyncedRecord, data: str, now: datetime) -> None:
        self._change(tenant_id, record, {"Data": data, "SyncedAt": now})

    def _change(self, tenant_id: UUID, record: SyncedRecord, values: Mapping[str, Any]) -> None:
        statement = update(synced_records).where(_as_read(tenant_id, record)).values(**values, **_UNEXPORTED)
        _check(self._connection.execute(statement).rowcount)

    # -- events -------------------------------------------------------------------------------------------

    def events(
        self, tenant_id: UUID, after: str | None, limit: int, *, most_bytes: int | None = None
    ) -> list[DomainEvent]:
        # UQ_DomainEvent_Id
        statement = select(*EVENT_COLUMNS).where(_ev.TenantId == tenant_id, _ev.EventId > (after or ""))
        with closing(self._connection.execute(statement.order_by(_ev.EventId).limit(limit))) as rows:
            return up_to_bytes(map(event_of_row, rows), most_bytes)

    def rewrite_event(self, tenant_id: UUID, event_id: str, subject: str | None, payload: str) -> None:
        self._connection.execute(
            update(domain_events)
            .where(_ev.TenantId == tenant_id, _ev.EventId == event_id)
            .values(Payload=payload, Subject=subject)
        )
        # UQ_WebhookDelivery_Event
        ids = list(
            self._connection.execute(
                select(_d.WebhookDeliveryId).where(_d.EventId == event_id, _d.TenantId == tenant_id)
            ).scalars()
        )
        for some in key_lists(ids):
            self._connection.execute(
                update(webhook_deliveries)
                .where(_d.WebhookDeliveryId.in_(some), _d.TenantId == tenant_id)
                .values(ResponseBody=None)
            )
            self._connection.execute(
                update(webhook_deliveries)
                .where(_d.WebhookDeliveryId.in_(some), _d.TenantId == tenant_id, _d.Payload.is_not(None))
                .values(Payload=payload)
            )
            self._connection.execute(
                update(webhook_delivery_attempts)
                .where(_at.WebhookDeliveryId.in_(some))
                .values(ResponseBody=None, RequestHeaders=None, ResponseHeaders=None)
            )

    # -- incoming webhooks --------------------------------------------------------------------------------

    def incoming(
        self, tenant_id: UUID, after: tuple[UUID, datetime, UUID] | None, limit: int
    ) -> list[IncomingRow]:
        def of_one(owner: UUID, beyond: tuple[Any, ...], room: int) -> list[Any]:
            # IX_IncomingWebhook_Integration, then the primary key of the bodies
            statement = (
                select(_w.IntegrationId, _w.ReceivedAt, _w.IncomingWebhookId, _w.IncomingBodyId, _b.Request)
                .join(incoming_bodies, _b.IncomingBodyId == _w.IncomingBodyId)
                .where(_w.TenantId == tenant_id, _w.IntegrationId == owner)
            )
            if beyond:
                at, key = beyond
                later = or_(_w.ReceivedAt > at, and_(_w.ReceivedAt == at, _w.IncomingWebhookId > key))
                statement = statement.where(_w.ReceivedAt >= at, later)
            ordered = statement.order_by(_w.ReceivedAt, _w.IncomingWebhookId).limit(room)
            return list(self._connection.execute(ordered))

        rows = self._owned(
            _integrations(tenant_id), integrations.c.IntegrationId, after, limit=limit, of_one=of_one
        )
        return [
            (owner, at, webhook_id, IncomingBody(body_id, tenant_id, owner, sealed, at))
            for owner, at, webhook_id, body_id, sealed in rows
        ]

    def remove_bodies(self, tenant_id: UUID, body_ids: Collection[UUID]) -> int:
        return sum(
            self._connection.execute(
                delete(incoming_bodies).where(_b.IncomingBodyId.in_(some), _b.TenantId == tenant_id)
            ).rowcount
            for some in key_lists(body_ids)
        )

    # -- logs ---------------------------------------------------------------------------------------------

    def logs(self, tenant_id: UUID, after: tuple[UUID, UUID] | None, limit: int) -> list[IntegrationLog]:
        def of_one(owner: UUID, beyond: tuple[Any, ...], room: int) -> list[IntegrationLog]:
            # IX_IntegrationLog_Integration
            statement = select(integration_logs).where(_l.IntegrationId == owner)
            if beyond:
                statement = statement.where(_l.IntegrationLogId > beyond[0])
            ordered = statement.order_by(_l.IntegrationLogId).limit(room)
            return [log_of(row) for row in self._connection.execute(ordered)]

        return self._owned(
            _integrations(tenant_id), integrations.c.IntegrationId, after, limit=limit, of_one=of_one
        )

    def rewrite_log(self, tenant_id: UUID, log_id: UUID, texts: Mapping[str, str | None]) -> None:
        ours = select(integrations.c.IntegrationId).where(integrations.c.TenantId == tenant_id)
        self._connection.execute(
            update(integration_logs)
            .where(_l.IntegrationLogId == log_id, _l.IntegrationId.in_(ours))
            .values(**texts)
        )

    def record_errors(
        self, tenant_id: UUID, after: tuple[UUID, UUID] | None, limit: int
    ) -> list[RecordError]:
        job_id = data_sync_jobs.c.DataSyncJobId

        def of_one(owner: UUID, beyond: tuple[Any, ...], room: int) -> list[RecordError]:
            # IX_SyncRecordError_Job
            statement = select(
                _x.SyncRecordErrorId,
                _x.DataSyncJobId,
                _x.Stream,
                _x.ExternalId,
                _x.Pointer,
                _x.Reason,
                _x.CreatedAt,
            ).where(_x.DataSyncJobId == owner, _x.TenantId == tenant_id, _x.Kind == LogKind.Record.value)
            if beyond:
                statement = statement.where(_x.SyncRecordErrorId > beyond[0])
            ordered = statement.order_by(_x.SyncRecordErrorId).limit(room)
            return [RecordError(*row) for row in self._connection.execute(ordered)]

        failed = select(job_id).where(
            data_sync_jobs.c.TenantId == tenant_id, data_sync_jobs.c.RecordsFailed > 0
        )
        return self._owned(failed, job_id, after, limit=limit, of_one=of_one)

    def rewrite_record_error(self, tenant_id: UUID, error_id: UUID, external_id: str) -> None:
        self._connection.execute(
            update(sync_record_errors)
            .where(_x.SyncRecordErrorId == error_id, _x.TenantId == tenant_id)
            .values(ExternalId=external_id)
        )

    # -- rows by their owner ------------------------------------------------------------------------------

    def _owned(
        self,
        owners: Select[Any],
        key: Column[UUID],
        after: tuple[Any, ...] | None,
        *,
        limit: int,
        of_one: Callable[[UUID, tuple[Any, ...], int], list[R]],
    ) -> list[R]:
        """Read rows of one owner after the other, in the order of the owners' ids, so that each is read by an index."""
        found: list[R] = []
        ordered = owners.order_by(key).limit(OWNERS)
        last: UUID | None = None
        within: tuple[Any, ...] = ()
        if after is not None:
            last, within = after[0], after[1:]
        while True:
            if within and last is not None:
                batch = [last]
            else:
                further = ordered if last is None else ordered.where(key > bindparam("last", last))
                batch = list(self._connection.execute(further).scalars())
            for owner in batch:
                found += of_one(owner, within, limit - len(found))
                last, within = owner, ()
                if len(found) >= limit:
                    return found
            if not batch:
                return found


def _integrations(tenant_id: UUID) -> Select[Any]:
    return select(integrations.c.IntegrationId).where(integrations.c.TenantId == tenant_id)


def _as_read(tenant_id: UUID, record: SyncedRecord) -> Any:
    return and_(
        _r.TenantId == tenant_id,
        _r.IntegrationId == record.integration_id,
        _r.Stream == record.stream,
        _r.ExternalId == record.external_id,
        _r.SyncedAt == record.synced_at,
    )


def _check(changed: int) -> None:
    if changed != 1:
        raise ChangedMeanwhile("The record was changed meanwhile.")
