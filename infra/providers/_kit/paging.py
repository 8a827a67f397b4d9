"""What the listings and pushes of providers share: opaque cursors, pinned links, exact limits, safe repeats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from domain.providers.contract import Provider, ProviderFailure, ProviderResponse
from domain.providers.records import StateExpired, StreamProfile, SyncProvider
from domain.sync.records import ContactRecord, EventRecord, Record

#: An adapter's own `expect(connection, request, *statuses)`.
Expect = Callable[..., Awaitable[ProviderResponse]]

Item = TypeVar("Item")
Kind = TypeVar("Kind", bound=Record)

_PORTS = {"https": 443, "http": 80}

#: What a push of an event writes. Guests are left out: some providers write to them at once.
EVENT_FIELDS = (
    "title",
    "starts_at",
    "ends_at",
    "start_date",
    "end_date",
    "all_day",
    "description",
    "location",
)


class SyncingProvider(Provider, SyncProvider, Protocol):
    """An adapter whose records can be listed."""


def pack(**parts: Any) -> str:
    """A cursor or state as opaque text."""
    return json.dumps(parts, separators=(",", ":"), sort_keys=True)


def unpack(text: str) -> dict[str, Any]:
    """What `pack` was given. Raises StateExpired for text it did not make."""
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        raise StateExpired("The position cannot be read.") from None
    if not isinstance(parts, dict):
        raise StateExpired("The position cannot be read.")
    return parts


def whole(value: Any) -> int:
    """A count out of a cursor. Raises StateExpired."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise StateExpired("The position cannot be read.")
    return value


def cut(rows: Sequence[Item], skip: int, limit: int) -> tuple[Sequence[Item], int | None, int]:
    """What is wanted of a provider's page, whose size the provider decides. Also the `skip` to ask the same page
    with again, None when it is used up, and the `skip` left for the next page, which is more than 0 only when the
    page came shorter than the one that was begun."""
    end = skip + limit
    if end < len(rows):
        return rows[skip:end], end, 0
    return rows[skip:end], None, max(0, skip - len(rows))


def own_link(base_url: str, link: Any) -> str:
    """A link of the provider's to its next page, if it stays at the host that is configured: the access token goes
    with it. Raises ProviderFailure (malformed)."""
    try:
        if not isinstance(link, str) or not link.isascii() or not link.isprintable() or "\\" in link:
            raise ValueError
        own, other = urlsplit(base_url), urlsplit(link)
        same = (own.scheme, own.hostname, _port(own)) == (other.scheme, other.hostname, _port(other))
        if not same or "@" in other.netloc or " " in link:
            raise ValueError
    except ValueError:
        raise ProviderFailure("malformed", "The provider's answer links to a foreign host.") from None
    return link


def _port(parts: Any) -> int | None:
    port: int | None = parts.port
    return port or _PORTS.get(parts.scheme)


def check_stream(streams: Sequence[StreamProfile], stream: str, *, push: bool = False) -> None:
    """Raises ProviderFailure (rejected) for a stream that is not there, or takes no records."""
    found = next((one for one in streams if one.name == stream), None)
    if found is None or (push and not found.exportable):
        told = "takes no records" if found is not None else "does not exist"
        raise ProviderFailure("rejected", f"The stream {stream} {told}.")


def digest(key: str) -> str:
    """An idempotency key as 40 lower-case hexadecimal digits, for ids that a client may choose."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def wanted(kind: type[Kind], data: Mapping[str, Any]) -> Kind:
    """A record to push. Raises ProviderFailure (rejected)."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        at = "/".join(str(step) for step in error.errors()[0]["loc"])
        raise ProviderFailure("rejected", f"The record to push is not valid at {at or 'its root'}.") from None


def event_to_push(data: Mapping[str, Any]) -> EventRecord:
    """Raises ProviderFailure (rejected), also for an event that has no beginning."""
    event = wanted(EventRecord, data)
    if (event.start_date if event.all_day else event.starts_at) is None:
        raise ProviderFailure("rejected", "An event to push needs a beginning.")
    return event


def contact_to_push(data: Mapping[str, Any]) -> ContactRecord:
    """Raises ProviderFailure (rejected)."""
    return wanted(ContactRecord, data)


def holds(record: Record, current: Mapping[str, Any], fields: Collection[str]) -> bool:
    """Whether the provider's record, in its internal shape, already has what a push of `record` writes: then an
    earlier try came through and only its answer was lost."""
    try:
        there = type(record).model_validate(current)
    except ValidationError:
        return False
    return all(
        getattr(there, name) == getattr(record, name) for name in record.model_fields_set & set(fields)
    )


def newer() -> ProviderFailure:
    """For a push whose `if_version` no longer holds (412)."""
    return ProviderFailure(
        "rejected", "The record was changed at the provider meanwhile; it was not overwritten.", status=412
    )


def vanished() -> ProviderFailure:
    """For a push to a record that is no longer there."""
    return ProviderFailure("rejected", "The record no longer exists at the provider.", status=404)
