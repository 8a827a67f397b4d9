"""Listing a provider to the end, as the sync engine does."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.providers.contract import Connection, RecordStreams
from domain.providers.records import ListPage, ListRequest, SourceRecord
from domain.sync.records import MODELS, Record

PAGES_MAX = 200


@dataclass(slots=True)
class Listing:
    """`internal` is by external id, of the last time each was listed."""

    records: list[SourceRecord] = field(default_factory=list)
    pages: list[ListPage] = field(default_factory=list)
    internal: dict[str, Record] = field(default_factory=dict)
    state: str | None = None

    @property
    def ids(self) -> list[str]:
        return [record.external_id for record in self.records]


async def drain(
    provider: RecordStreams,
    connection: Connection,
    *,
    limit: int = 100,
    state: str | None = None,
    since: datetime | None = None,
) -> Listing:
    """Every page of the provider's one stream. Asserts what holds for every listing: no more records than wanted, a
    state with the last page only, and records that their internal model takes."""
    (profile,) = provider.streams_of(connection.configuration)
    listing, cursor = Listing(), None
    for _ in range(PAGES_MAX):
        request = ListRequest(profile.name, limit, cursor, since, state)
        page = await provider.list_records(connection, request)
        assert len(page.records) <= limit
        assert (page.next_state is None) == (page.next_cursor is not None)
        listing.pages.append(page)
        listing.records += page.records
        for record in page.records:
            shaped = provider.to_internal(profile.name, record)
            listing.internal[record.external_id] = MODELS[profile.record_type].model_validate(shaped)
        cursor, listing.state = page.next_cursor, page.next_state
        if cursor is None:
            return listing
    raise AssertionError("the listing does not end")


def shaped(provider: RecordStreams, stream: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """`data` as a record that was listed, in its internal shape."""
    return provider.to_internal(stream, SourceRecord("1", data))
