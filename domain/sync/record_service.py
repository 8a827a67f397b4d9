"""Use cases of records: read and change them, set and preview their mapping, delete what is too old."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from domain.core.errors import (
    Conflict,
    FieldError,
    ProviderUnavailable,
    Unavailable,
    ValidationFailed,
    check_version,
    json_pointer,
)
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.slots import TenantTurns
from domain.core.text_length import TextConstraints
from domain.core.transaction import Transactions, in_steps, repeated
from domain.core.wire import Command, UtcMoment
from domain.integrations.access import reached
from domain.journal.audit import AuditEntry
from domain.providers.analytics import EVENTS
from domain.providers.contract import EventSink, ProviderFailure
from domain.providers.records import ListingRequest, RecordType, SourceRecord, StateExpired, StreamProfile
from domain.providers.untrusted import WorkStopped
from domain.sync.effort import EXPLANATION, for_each
from domain.sync.event_mapping import EventMapper
from domain.sync.mapping import FieldMapping, RecordTypeName, StreamName, compile_mapping
from domain.sync.model import SyncedRecord
from domain.sync.ports import LocalChange, LocalChanges, RecordFilter, StoredMapping, SyncTransaction
from domain.sync.records import MODELS
from domain.sync.rules import check_integration, stored_id
from domain.sync.sources import NotSynchronisable, Source, Sources
from domain.sync.transforming import NotStorable, Transformer, stored_text, validate

CHUNK, _ROUNDS = 1_000, 500
#: Sources that are opened for previews at a time; a tenant alone gets half.
_PREVIEWED_AT_A_TIME = 6
ExternalIdentifier = Annotated[str, TextConstraints(min_length=1, max_length=300, pattern=r"^[^\x00]+$")]
LocalIdentifier = Annotated[str, TextConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]+$")]


class PreviewMapping(Command):
    """Body of `POST /api/integrations/{id}/mapping/preview`.

    Tries a mapping on the provider's first records, or on `sample`, without storing anything."""

    stream: StreamName | None = Field(None, description="The first stream when absent")
    mapping: FieldMapping | None = Field(None, description="The stored mapping when absent")
    sample: Annotated[list[dict[str, Any]], Field(max_length=20)] | None = Field(
        None, description="Records as the provider sends them; fetched from it when absent"
    )
    limit: int = Field(5, ge=1, le=20, description="Records to fetch")


class LocalRecord(Command):
    """One change that the tenant made to a record."""

    stream: StreamName | None = Field(None, description="The first exportable stream when absent")
    local_id: LocalIdentifier | None = Field(
        None, description="The tenant's own id of a record; new or known"
    )
    external_id: ExternalIdentifier | None = Field(None, description="The provider's id, for a record it has")
    record_type: RecordTypeName | None = Field(None, description="The stream's when absent")
    data: dict[str, Any] | None = Field(None, description="The internal record; null deletes it")
    modified_at: UtcMoment | None = Field(None, strict=False, description="Now when absent (BR-DS-07)")


class PutRecords(Command):
    """Body of `PUT /api/integrations/{id}/records`."""

    records: Annotated[list[LocalRecord], Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, slots=True)
class MappingPreview:
    """One record before and after its transformation; `record` is None when there are errors."""

    external_id: str
    source: Any
    record_type: str | None
    record: Any
    errors: Sequence[FieldError]


class RecordService:
    """Jobs and their logs are kept for `retention` (17.2)."""

    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        sources: Sources,
        clock: Clock,
        *,
        retention: timedelta,
    ) -> None:
        self._transactions = transactions
        self._sources = sources
        self._clock = clock
        self._retention = retention
        self._turns = TenantTurns(_PREVIEWED_AT_A_TIME)

    def page(self, principal: Principal, integration_id: UUID, filter_: RecordFilter) -> list[SyncedRecord]:
        with self._transactions.read() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
            reached(principal, INTEGRATION_MANAGE, found)
            return tx.sync_records.page(principal.tenant_id, integration_id, filter_)

    @repeated
    def change(self, principal: Principal, integration_id: UUID, command: PutRecords) -> LocalChanges:
        """Store changes for the next export; tell how many were newer than what is stored.

        Raises NotFound, ValidationFailed, Conflict."""
        principal.require(INTEGRATION_MANAGE)
        source = self._source(principal, integration_id)
        now = self._clock.now()
        changes = [
            _local_change(record, f"/records/{index}", source.streams, now)
            for index, record in enumerate(command.records)
        ]
        with self._transactions.write() as tx:
            changed = tx.sync_records.change(principal.tenant_id, integration_id, changes, now)
            counts = {"records": len(changes), "changed": changed.stored}
            action = "datasync.records-changed"
            entry = AuditEntry(action, "integration", integration_id, principal, after=counts)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return changed

    def mapping(self, principal: Principal, integration_id: UUID) -> StoredMapping:
        with self._transactions.read() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
            reached(principal, INTEGRATION_MANAGE, found)
            return tx.sync_settings.mapping(principal.tenant_id, integration_id)

    @repeated
    def set_mapping(
        self, principal: Principal, integration_id: UUID, mapping: FieldMapping, if_match: int | None
    ) -> StoredMapping:
        """Replace the mapping, from the next batch on. Raises NotFound, ValidationFailed, PreconditionFailed."""
        principal.require(INTEGRATION_MANAGE)
        compile_mapping(mapping)
        EventMapper(mapping.events)
        with self._transactions.read() as tx:
            integration = tx.integrations.get(principal.tenant_id, integration_id)
        try:
            _check_mapping(mapping, self._sources.streams_of(integration))
            _check_events(mapping, self._sources.sink_of(integration))
        except ProviderFailure as failure:
            raise _refusal(failure) from None
        text = mapping.model_dump_json(by_alias=True)
        with self._transactions.write() as tx:
            tx.integrations.get(principal.tenant_id, integration_id)
            old = tx.sync_settings.mapping(principal.tenant_id, integration_id)
            check_version("mapping", if_match, old.version)
            new, now = StoredMapping(text, old.version), self._clock.now()
            tx.sync_settings.set_mapping(
                principal.tenant_id, integration_id, new, by=principal.user_id, now=now
            )
            action, before, after = "integration.mapping-changed", json.loads(old.mapping), json.loads(text)
            entry = AuditEntry(action, "integration", integration_id, principal, before, after)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return StoredMapping(text, old.version + 1)

    async def preview(
        self, principal: Principal, integration_id: UUID, command: PreviewMapping
    ) -> list[MappingPreview]:
        """Transform some records without storing them.

        Raises NotFound, ValidationFailed, Conflict, ProviderUnavailable, Unavailable."""
        principal.require(INTEGRATION_MANAGE)
        # Opening a source may wait for a token: one tenant's previews are not to take all threads.
        async with self._turns.turn(principal.tenant_id):
            source = await asyncio.to_thread(self._source, principal, integration_id)
        profile = _chosen(source.streams, command.stream, "/stream")
        mapping = command.mapping
        if mapping is not None:
            _check_mapping(mapping, source.streams, "/mapping")
        else:
            stored = await asyncio.to_thread(self.mapping, principal, integration_id)
            mapping = FieldMapping.model_validate_json(stored.mapping)
        compiled = await asyncio.to_thread(compile_mapping, mapping)
        transformer = Transformer(source.provider, profile, compiled.get(profile.name))
        records = await self._samples(source, profile, command)
        step = partial(_preview, transformer)
        try:
            return await for_each(source.connection.work, step, transformer, records)
        except WorkStopped as stopped:
            if stopped.reason == "busy":
                raise Unavailable(stopped.detail) from None
            raise Conflict(f"{EXPLANATION} {stopped.detail}", code="mapping-too-expensive") from None

    def forget_old(self) -> tuple[int, int]:
        """Remove old jobs and tombstones, and records of disconnected integrations (17.3); count both."""
        cutoff = self._clock.now() - self._retention

        def forget(step: Callable[[SyncTransaction], int], size: int) -> int:
            return in_steps(self._transactions, step, size, most=_ROUNDS)

        jobs = forget(lambda tx: tx.sync_jobs.delete_before(cutoff, CHUNK), CHUNK)
        # A step takes the records of one integration, so few of them do not say that they were the last.
        gone = forget(lambda tx: tx.sync_records.forget_disconnected(CHUNK), 1)
        buried = forget(lambda tx: tx.sync_records.delete_tombstones(cutoff, CHUNK), CHUNK)
        return jobs, gone + buried

    def _source(self, principal: Principal, integration_id: UUID) -> Source:
        with self._transactions.read() as tx:
            integration = tx.integrations.get(principal.tenant_id, integration_id)
        try:
            return self._sources.open(check_integration(integration))
        except NotSynchronisable as reason:
            raise Conflict(str(reason), code=reason.code) from None
        except ProviderFailure as failure:
            raise _refusal(failure) from None

    @staticmethod
    async def _samples(
        source: Source, profile: StreamProfile, command: PreviewMapping
    ) -> Sequence[SourceRecord]:
        if command.sample is not None:
            return [SourceRecord(f"sample-{index}", data) for index, data in enumerate(command.sample, 1)]
        try:
            page = await source.list_records(ListingRequest(profile.name, command.limit))
        except StateExpired:
            return []
        except ProviderFailure as failure:
            raise _refusal(failure) from None
        return page.records[: command.limit]


def _local_change(
    record: LocalRecord, pointer: str, streams: Sequence[StreamProfile], now: datetime
) -> LocalChange:
    if record.local_id is None and record.external_id is None:
        error = FieldError(pointer, "Give localId, externalId or both.")
        raise ValidationFailed("A record has no id.", [error])
    exportable = [profile for profile in streams if profile.exportable and profile.importable]
    if not exportable:
        raise Conflict("The provider does not accept records.", code="not-exportable")
    profile = _chosen(exportable, record.stream, f"{pointer}/stream")
    kind = RecordType(record.record_type) if record.record_type else profile.record_type
    text, named = (None, None) if record.data is None else _checked(kind, record.data, f"{pointer}/data")
    return LocalChange(
        stream=profile.name,
        record_type=kind,
        data=text,
        modified_at=record.modified_at or now,
        local_id=record.local_id,
        external_id=stored_id(record.external_id) if record.external_id else None,
        named=named,
        pushes=profile.pushes,
    )


def _checked(kind: RecordType, data: Mapping[str, Any], pointer: str) -> tuple[str, dict[str, Any]]:
    """Return the record as it is stored, and the fields that were given, null ones included."""
    valid = validate(kind, data)
    if isinstance(valid, list):
        errors = [FieldError(f"{pointer}{error.pointer}", error.detail) for error in valid]
        raise ValidationFailed("A record does not match its record type.", errors)
    try:
        text = stored_text(valid)
        return text, valid.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except NotStorable as reason:
        raise ValidationFailed(str(reason), [FieldError(pointer, str(reason))]) from None


def _check_mapping(mapping: FieldMapping, streams: Sequence[StreamProfile], place: str = "") -> None:
    """Raise ValidationFailed for streams that the integration does not have and fields that no record has.

    `place` is where the mapping stands in the body."""
    profiles = {profile.name: profile for profile in streams if profile.importable}
    errors: list[FieldError] = []
    if mapping.events and EVENTS not in streams:
        errors.append(FieldError(f"{place}/events", "The provider takes no events."))
    for name, mapped in mapping.streams.items():
        pointer = f"{place}/streams{json_pointer(name)}"
        if name not in profiles:
            has = f"choose one of {', '.join(profiles)}" if profiles else "the integration has none"
            errors.append(FieldError(pointer, f"There is no such stream; {has}."))
            continue
        kind = RecordType(mapped.record_type) if mapped.record_type else profiles[name].record_type
        fields = MODELS[kind].model_fields
        known = [field.alias or own for own, field in fields.items()]
        errors += [
            FieldError(
                f"{pointer}/fields{json_pointer(field)}",
                f"The record {kind.value} has no such field; choose one of {', '.join(known)}.",
            )
            for field in mapped.fields
            if field not in known and field not in fields
        ]
    if errors:
        raise ValidationFailed("The mapping names streams or fields that do not exist.", errors)


def _check_events(mapping: FieldMapping, sink: EventSink | None) -> None:
    """Raise ValidationFailed for names that the provider does not take."""
    errors: list[FieldError] = []
    if sink is None:
        return
    for type_, mapped in mapping.events.items():
        problem = sink.problem_of(mapped.name or type_, list(mapped.properties or {}))
        if problem is not None:
            errors.append(FieldError(f"/events{json_pointer(type_)}", problem))
    if errors:
        raise ValidationFailed("The mapping names what the provider does not take.", errors)


def _chosen(streams: Sequence[StreamProfile], name: str | None, pointer: str) -> StreamProfile:
    if name is None:
        return streams[0]
    for stream in streams:
        if stream.name == name:
            return stream
    detail = f"There is no such stream; choose one of {', '.join(stream.name for stream in streams)}."
    raise ValidationFailed(detail, [FieldError(pointer, detail)])


def _preview(transformer: Transformer, record: SourceRecord) -> MappingPreview:
    transformed = transformer.to_internal(record)
    source = dict(record.data)
    if isinstance(transformed, list):
        return MappingPreview(record.external_id, source, None, None, transformed)
    kind, internal = transformed
    try:
        return MappingPreview(record.external_id, source, kind.value, json.loads(stored_text(internal)), ())
    except NotStorable as reason:
        return MappingPreview(record.external_id, source, None, None, [FieldError("", str(reason))])


def _refusal(failure: ProviderFailure) -> Exception:
    if failure.kind in ("unavailable", "rate_limited"):
        return ProviderUnavailable(failure.detail)
    return Conflict(failure.detail, code="provider-refused")
