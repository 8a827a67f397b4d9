"""Sources: the connected provider of an integration, which lists and takes records."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from domain.core.ports import Clock
from domain.integrations.connection import Catalogue, Connector
from domain.integrations.model import Integration
from domain.integrations.validation import guarded
from domain.providers.analytics import EVENTS, EventCall
from domain.providers.contract import Connection, EventSink, Provider, ProviderFailure, RecordStreams
from domain.providers.records import (
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    SourceRecord,
    StateExpired,
    StreamProfile,
)
from domain.sync.mapping import CompiledMapping, FieldMapping
from domain.sync.transforming import Transformer

#: A connection is kept this long, because opening it reads the secret store; it holds an OAuth token.
_KEPT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Source:
    """The connected provider; unexpected errors of its adapter become ProviderFailure.

    Their texts may quote records, and would be stored in Durable's history."""

    integration: Integration
    provider: RecordStreams
    connection: Connection
    streams: Sequence[StreamProfile]
    sink: EventSink | None = None

    async def list_records(self, request: ListingRequest) -> ListPage:
        call = self.provider.list_records(self.connection, request)
        return await guarded(call, self.integration, passing=(StateExpired,))

    async def push_record(self, request: PushRequest) -> PushResult:
        return await guarded(self.provider.push_record(self.connection, request), self.integration)

    async def deliver_events(self, call: EventCall) -> None:
        assert self.sink is not None
        await guarded(self.sink.deliver(self.connection, call), self.integration)

    def profile(self, stream: str) -> StreamProfile:
        for profile in self.streams:
            if profile.name == stream:
                return profile
        raise ProviderFailure("rejected", f"The integration has no stream '{stream}' any more.")

    def transformer(self, stream: str, mapping: str) -> Transformer:
        """Return the transformer of a stream; `mapping` is the stored JSON text of the integration's mapping."""
        mapped = FieldMapping.model_validate_json(mapping).streams.get(stream)
        return Transformer(self.provider, self.profile(stream), CompiledMapping(mapped) if mapped else None)


class Sources:
    def __init__(self, connector: Connector, catalogue: Catalogue, clock: Clock) -> None:
        self._connector = connector
        self._catalogue = catalogue
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[UUID, int], tuple[datetime, Source]] = {}

    def open(self, integration: Integration) -> Source:
        """Return the source; blocks. Raises ProviderFailure, NotSynchronisable (16.2: the type is off)."""
        type_ = integration.integration_type
        if type_ in self._catalogue.disabled_types:
            raise TypeDisabled(f"Integrations of type {type_.name} are disabled on this installation.")
        now = self._clock.now()
        key = (integration.integration_id, integration.version)
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and abs(now - kept[0]) < _KEPT:
            source = kept[1]
            return replace(source, connection=replace(source.connection, now=now))
        provider, connection = self._connector.connect(integration, retries=2)
        records = _records_of(provider)
        if records is None:
            raise NotSynchronisable(f"{integration.provider} has no records that can be synchronised.")
        streams = records.streams_of(connection.configuration)
        if not streams:
            raise NotSynchronisable("The integration's configuration names no list of records.")
        source = Source(integration, records, connection, streams, provider.events)
        with self._lock:
            if len(self._kept) >= 200:
                self._kept.clear()
            self._kept[key] = (now, source)
        return source

    def streams_of(self, integration: Integration) -> Sequence[StreamProfile]:
        """Return the streams by the integration's configuration alone; it need not be connected. Blocks.

        Raises ProviderFailure when the configuration cannot be read."""
        provider, connection = self._connector.connect(integration, needs_token=False)
        records = _records_of(provider)
        return records.streams_of(connection.configuration) if records else ()

    def sink_of(self, integration: Integration) -> EventSink | None:
        """Return what takes its events, where its provider takes events and nothing else; it need not be connected."""
        provider = self._catalogue.providers.get(integration.provider)
        return provider.events if provider is not None and provider.streams is None else None

    def forget(self, integration: Integration) -> None:
        """Drop the connection, so that the next batch reads the credentials again."""
        with self._lock:
            self._kept.pop((integration.integration_id, integration.version), None)


class EventsOnly(RecordStreams):
    """The streams of a provider that takes events alone."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return (EVENTS,)

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        raise ValueError("an event is no record")

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        raise ProviderFailure("rejected", "The provider takes events and lists no records.")


def _records_of(provider: Provider) -> RecordStreams | None:
    if provider.streams is None and provider.events is not None:
        return EventsOnly()
    return provider.streams


class NotSynchronisable(Exception):
    """The provider, or this configuration of it, has nothing to synchronise."""

    code: ClassVar[str] = "not-synchronisable"


class TypeDisabled(NotSynchronisable):
    """The installation has the type switched off."""

    code = "integration-type-disabled"
