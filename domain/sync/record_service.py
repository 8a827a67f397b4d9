"""Use cases around records: reading them, the tenant's own changes, mappings and their preview; retention."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from domain.core.errors import (
    Conflict,
    FieldError,
    ProviderUnavailable,
    ValidationFailed,
    check_version,
)
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions, in_steps, repeated
from domain.core.wire import Command, UtcMoment
from domain.integrations.model import Integration
from domain.journal.audit import AuditEntry
from domain.providers.contract import ProviderFailure
from domain.providers.records import ListRequest, RecordType, SourceRecord, StateExpired, StreamProfile
from domain.sync.mapping import CompiledMapping, FieldMapping, RecordTypeName, StreamName, compile_mapping
from domain.sync.model import (
    SyncedRecord,
)
from domain.sync.ports import LocalChange, RecordFilter, StoredMapping, SyncTransaction
from domain.sync.rules import check_integration, stored_id
from domain.sync.sources import NotSynchronisable, Source, Sources
from domain.sync.transforming import RECORD_MAX_BYTES, Transformer, canonical

ExternalIdentifier = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=r"^[^\x00]+$")]


LocalIdentifier = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]+$")]


class PreviewMapping(Command):
    """Body of `POST /api/integrations/{id}/mapping/preview`: try a mapping on the provider's first records, or
    on `sample`, without storing anything."""

    stream: StreamName | None = Field(None, description="The first stream when absent")
    mapping: FieldMapping | None = Field(None, description="The stored mapping when absent")
    sample: Annotated[list[dict[str, Any]], Field(max_length=20)] | None = Field(
        None, description="Records as the provider sends them; fetched from it when absent"
    )
    limit: int = Field(5, ge=1, le=20, description="Records to fetch")


class LocalRecord(Command):
    """One change of the tenant's own."""

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


_CHUNK, _ROUNDS = 1_000, 500


@dataclass(frozen=True, slots=True)
class MappingPreview:
    """One record before and after. `record` is None when there are errors."""

    external_id: str
    source: Any
    record_type: str | None
    record: Any
    errors: Sequence[FieldError]


class RecordService:
    """`retention` is of jobs and their logs (17.2)."""

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

    def page(self, principal: Principal, integration_id: UUID, filter_: RecordFilter) -> list[SyncedRecord]:
        """Raises NotFound."""
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.read() as tx:
            tx.integrations.get(principal.tenant_id, integration_id)
            return tx.sync_records.page(principal.tenant_id, integration_id, filter_)

    @repeated
    def change(self, principal: Principal, integration_id: UUID, command: PutRecords) -> int:
        """Store the tenant's own changes for the next export; those older than what is stored are left out
        (BR-DS-07). Returns how many were stored. Raises NotFound, ValidationFailed, Conflict."""
        principal.require(INTEGRATION_MANAGE)
        source = self._source(principal, integration_id)
        now = self._clock.now()
        changes = [
            self._local(one, index, source.streams, principal) for index, one in enumerate(command.records)
        ]
        with self._transactions.write() as tx:
            changed = tx.sync_records.change(principal.tenant_id, integration_id, changes, now)
            tx.commit()
        return changed

    # -- mappings -----------------------------------------------------------------------------------------

    def mapping(self, principal: Principal, integration_id: UUID) -> StoredMapping:
        """Raises NotFound."""
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.read() as tx:
            tx.integrations.get(principal.tenant_id, integration_id)
            return tx.sync_settings.mapping(principal.tenant_id, integration_id)

    @repeated
    def set_mapping(
        self, principal: Principal, integration_id: UUID, mapping: FieldMapping, if_match: int | None
    ) -> StoredMapping:
        """Takes effect with the next batch. Raises NotFound, ValidationFailed, PreconditionFailed."""
        principal.require(INTEGRATION_MANAGE)
        compile_mapping(mapping)
        text = mapping.model_dump_json(by_alias=True)
        with self._transactions.write() as tx:
            tx.integrations.get(principal.tenant_id, integration_id)
            old = tx.sync_settings.mapping(principal.tenant_id, integration_id)
            check_version("mapping", if_match, old.version)
            tx.sync_settings.set_mapping(
                principal.tenant_id,
                integration_id,
                StoredMapping(text, old.version),
                by=principal.user_id,
                now=self._clock.now(),
            )
            entry = AuditEntry(
                "integration.mapping-changed",
                "integration",
                integration_id,
                principal,
                json.loads(old.mapping),
                json.loads(text),
            )
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return StoredMapping(text, old.version + 1)

    async def preview(
        self, principal: Principal, integration_id: UUID, command: PreviewMapping
    ) -> list[MappingPreview]:
        """Nothing is stored. Raises NotFound, ValidationFailed, Conflict, ProviderUnavailable, Unavailable."""
        principal.require(INTEGRATION_MANAGE)
        source = await asyncio.to_thread(self._source, principal, integration_id)
        profile = _chosen(source.streams, command.stream, "/stream")
        mapping = await asyncio.to_thread(self._mapping_of, principal, integration_id, command)
        transformer = Transformer(source.provider, profile, mapping.get(profile.name))
        records = await self._samples(source, profile, command)
        # Off the event loop: expressions may compute.
        return await asyncio.to_thread(lambda: [_preview(transformer, record) for record in records])

    # -- retention ----------------------------------------------------------------------------------------

    def forget_old(self) -> tuple[int, int]:
        """Remove jobs and logs past their retention, tombstones as old, and the records of integrations that are
        disconnected (17.3). Returns how many jobs and records."""
        cutoff = self._clock.now() - self._retention

        def forget(some: Callable[[SyncTransaction], int], size: int) -> int:
            return in_steps(self._transactions, some, size, most=_ROUNDS)

        jobs = forget(lambda tx: tx.sync_jobs.delete_before(cutoff, _CHUNK), _CHUNK)
        # A step takes the records of one integration, so few of them do not say that they were the last.
        gone = forget(lambda tx: tx.sync_records.forget_disconnected(_CHUNK), 1)
        buried = forget(lambda tx: tx.sync_records.delete_tombstones(cutoff, _CHUNK), _CHUNK)
        return jobs, gone + buried

    # -- steps --------------------------------------------------------------------------------------------

    def _source(self, principal: Principal, integration_id: UUID) -> Source:
        with self._transactions.read() as tx:
            integration: Integration = tx.integrations.get(principal.tenant_id, integration_id)
        try:
            return self._sources.open(check_integration(integration))
        except NotSynchronisable as reason:
            raise Conflict(str(reason), code=reason.code) from None
        except ProviderFailure as failure:
            raise _told(failure) from None

    def _mapping_of(
        self, principal: Principal, integration_id: UUID, command: PreviewMapping
    ) -> dict[str, CompiledMapping]:
        if command.mapping is not None:
            return compile_mapping(command.mapping)
        stored = self.mapping(principal, integration_id)
        return compile_mapping(FieldMapping.model_validate_json(stored.mapping))

    @staticmethod
    async def _samples(
        source: Source, profile: StreamProfile, command: PreviewMapping
    ) -> Sequence[SourceRecord]:
        if command.sample is not None:
            return [SourceRecord(f"sample-{index}", one) for index, one in enumerate(command.sample, 1)]
        request = ListRequest(profile.name, command.limit)
        try:
            page = await source.list_records(request)
        except StateExpired:
            return []
        except ProviderFailure as failure:
            raise _told(failure) from None
        return page.records[: command.limit]

    def _local(
        self, one: LocalRecord, index: int, streams: Sequence[StreamProfile], principal: Principal
    ) -> LocalChange:
        pointer = f"/records/{index}"
        if one.local_id is None and one.external_id is None:
            raise ValidationFailed(
                "A record has no id.", [FieldError(pointer, "Give localId, externalId or both.")]
            )
        exportable = [profile for profile in streams if profile.exportable]
        if not exportable:
            raise Conflict("The provider takes no records from here.", code="not-exportable")
        profile = _chosen(exportable, one.stream, f"{pointer}/stream")
        kind = RecordType(one.record_type) if one.record_type else profile.record_type
        data = None
        if one.data is not None:
            made = Transformer(None, profile).validate(kind, one.data)  # type: ignore[arg-type]  # not asked
            if isinstance(made, list):
                errors = [FieldError(f"{pointer}/data{error.pointer}", error.detail) for error in made]
                raise ValidationFailed("A record is not what its type asks for.", errors)
            data = _text(made[1], pointer)
        return LocalChange(
            stream=profile.name,
            record_type=kind,
            data=data,
            modified_at=one.modified_at or self._clock.now(),
            local_id=one.local_id,
            external_id=stored_id(one.external_id) if one.external_id else None,
        )


def _text(record: Any, pointer: str) -> str:
    try:
        text = canonical(record)
    except ValueError:
        detail = "The record holds a value that JSON cannot carry."
        raise ValidationFailed(detail, [FieldError(f"{pointer}/data", detail)]) from None
    if len(text) > RECORD_MAX_BYTES:
        detail = f"The record is {len(text):,} characters; at most {RECORD_MAX_BYTES:,} are taken."
        raise ValidationFailed(detail, [FieldError(f"{pointer}/data", detail)])
    return text


def _chosen(streams: Sequence[StreamProfile], name: str | None, pointer: str) -> StreamProfile:
    if name is None:
        return streams[0]
    for stream in streams:
        if stream.name == name:
            return stream
    detail = f"There is no such stream; there are {', '.join(stream.name for stream in streams)}."
    raise ValidationFailed(detail, [FieldError(pointer, detail)])


def _preview(transformer: Transformer, record: SourceRecord) -> MappingPreview:
    made = transformer.make(record)
    if isinstance(made, list):
        return MappingPreview(record.external_id, dict(record.data), None, None, made)
    kind, internal = made
    try:
        shown = json.loads(canonical(internal))
    except ValueError:
        errors = [FieldError("", "The record holds a value that JSON cannot carry.")]
        return MappingPreview(record.external_id, dict(record.data), None, None, errors)
    return MappingPreview(record.external_id, dict(record.data), kind.value, shown, ())


def _told(failure: ProviderFailure) -> Exception:
    if failure.kind in ("unavailable", "rate_limited"):
        return ProviderUnavailable(failure.detail)
    return Conflict(failure.detail, code="provider-refused")
