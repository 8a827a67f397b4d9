"""Lists a stream to its end as the sync engine does, and checks what every listing must hold to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from domain.providers.contract import Connection, RecordStreams
from domain.providers.records import ListingRequest, ListPage, SourceRecord
from domain.sync.records import MODELS, Record
from infra.providers.registry import all_providers

_PAGES_MAX = 500


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything listed. `state` is what the next run is given; `internal` is by external id, as listed last."""

    pages: Sequence[ListPage]
    internal: Mapping[str, Record] = field(default_factory=dict)

    @property
    def records(self) -> list[SourceRecord]:
        return [record for page in self.pages for record in page.records]

    @property
    def ids(self) -> list[str]:
        return [record.external_id for record in self.records]

    @property
    def state(self) -> str | None:
        return self.pages[-1].next_state

    @property
    def deleted(self) -> list[str]:
        return [record.external_id for record in self.records if record.deleted]


def streams(name: str) -> RecordStreams:
    found = all_providers()[name].streams
    assert found is not None
    return found


async def drain(
    source: RecordStreams,
    connection: Connection,
    stream: str,
    limit: int = 1000,
    *,
    since: datetime | None = None,
    state: str | None = None,
) -> Listing:
    """Every page; none is larger than asked for, and only the last one gives a state."""
    pages: list[ListPage] = []
    cursor: str | None = None
    while True:
        page = await source.list_records(connection, ListingRequest(stream, limit, cursor, since, state))
        assert len(page.records) <= limit
        pages.append(page)
        cursor = page.next_cursor
        if cursor is None:
            return Listing(pages)
        assert page.next_state is None
        assert len(pages) < _PAGES_MAX


async def drain_checked(
    source: RecordStreams,
    connection: Connection,
    *,
    limit: int = 100,
    since: datetime | None = None,
    state: str | None = None,
) -> Listing:
    """Every page of a provider's one stream, whose records fit their internal model and whose end gives a state."""
    (profile,) = source.streams_of(connection.configuration)
    listing = await drain(source, connection, profile.name, limit, since=since, state=state)
    assert listing.state is not None
    made = {
        record.external_id: internal(source, connection, profile.name, record) for record in listing.records
    }
    return replace(listing, internal=made)


def internal(source: RecordStreams, connection: Connection, stream: str, record: SourceRecord) -> Record:
    """The record in its internal model, validated."""
    (profile,) = (known for known in source.streams_of(connection.configuration) if known.name == stream)
    return MODELS[profile.record_type].model_validate(source.to_internal(stream, record))


def shaped(source: RecordStreams, stream: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """`data` as a record that was listed, in its internal shape."""
    return source.to_internal(stream, SourceRecord("1", data))
