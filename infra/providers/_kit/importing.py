"""What listings of payments and messages share: positions in a listing, states, and how a record's fields are read.

A cursor is the JSON of a `Position`. A state is the JSON `{"since": <Unix seconds>}`: when the run began that
listed everything up to then. Whoever continues from it asks for `>=`, and some time earlier where a provider shows
changes late, so that rows sharing a moment are seen twice rather than never; the external id tells them apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urljoin

from domain.core.wire import rfc3339
from domain.providers.contract import Connection, ProviderFailure
from domain.providers.records import (
    ListPage,
    ListRequest,
    PushRequest,
    PushResult,
    SourceRecord,
    StateExpired,
)
from infra.providers._kit.paging import own_link
from infra.providers._kit.wire import at, items, moment

TEXT_MAX = 2_000
DAY_SECONDS = 86_400


class ImportOnly:
    """A provider whose records are only read."""

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        """Raises ProviderFailure (rejected)."""
        raise ProviderFailure("rejected", f"The stream {request.stream} takes no records.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a listing goes on. `until` is when it began (Unix seconds): the state of the complete run. `skip` rows
    of the page it stands on were taken already, by a request that wanted fewer than the page holds."""

    until: int
    skip: int = 0


P = TypeVar("P", bound=Position)


def packed(position: Position) -> str:
    """The position as a cursor."""
    return json.dumps(asdict(position), separators=(",", ":"))


def unpacked(kind: type[P], cursor: str) -> P:
    """The position in a cursor. Raises StateExpired for one that this listing did not give."""
    try:
        return kind(**json.loads(cursor))
    except (ValueError, TypeError, RecursionError):
        raise StateExpired("The cursor cannot be read.") from None


def since_of(request: ListRequest) -> int | None:
    """From when changes are wanted, Unix seconds; None for a full listing. Raises StateExpired for a state that
    cannot be read."""
    if request.state is None:
        return unix(request.since) if request.since is not None else None
    try:
        since = json.loads(request.state)["since"]
    except (ValueError, TypeError, KeyError, RecursionError):
        since = None
    if isinstance(since, bool) or not isinstance(since, int) or since < 0:
        raise StateExpired("The state cannot be read.")
    return since


def page_of(
    request: ListRequest,
    position: Position,
    records: Sequence[SourceRecord],
    after: Position | None,
    *,
    total: int | None = None,
) -> ListPage:
    """The page of `records`, which all stand at `position`, at most `request.limit` of them; what is beyond comes
    with the next page. `after` None: the listing ends here."""
    rest = records[position.skip :]
    limit = max(1, request.limit)
    following = replace(position, skip=position.skip + limit) if len(rest) > limit else after
    if following is not None:
        return ListPage(rest[:limit], packed(following), total=total)
    return ListPage(rest, None, json.dumps({"since": position.until}), total=total)


def page_size(request: ListRequest, most: int) -> int:
    """How many rows to ask for, of a provider that gives `most`."""
    return max(1, min(request.limit, most))


def rows(answer: Any, *path: str | int) -> list[Mapping[str, Any]]:
    """The objects listed at the path. Raises ProviderFailure (malformed)."""
    found = items(answer, *path)
    if not all(isinstance(row, dict) for row in found):
        raise ProviderFailure("malformed", "The provider's list holds something that is no record.")
    return list(found)


def number_at(answer: Any, *path: str | int) -> int:
    """The whole number at the path. Raises ProviderFailure (malformed)."""
    found = at(answer, *path)
    if isinstance(found, bool) or not isinstance(found, int):
        named = ".".join(str(step) for step in path)
        raise ProviderFailure("malformed", f"The provider's answer has no number {named}.")
    return found


def linked(base_url: str, link: Any, current: str | None) -> str:
    """The address of the next page, which a link may name without its host. Raises ProviderFailure (malformed) for
    a link that leaves the configured host, where the credentials must not go, or leads to the page it stands on."""
    address = own_link(base_url, urljoin(base_url + "/", link) if isinstance(link, str) and link else None)
    if address == current:
        raise ProviderFailure("malformed", "The provider's link to the next page leads to the same page.")
    return address


def unix(when_utc: datetime) -> int:
    """Whole seconds since 1970."""
    return int(when_utc.timestamp())


def stamp(seconds: int) -> str:
    """Unix seconds as `2026-01-31T09:30:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def required(data: Any, *path: str | int) -> Any:
    """What is at the path of a record. Raises ValueError where there is nothing."""
    found = at(data, *path)
    if found is None or found == "":
        raise ValueError(f"The record has no {'.'.join(str(step) for step in path)}.")
    return found


def short(value: Any) -> str | None:
    """Text of a record, at most 2,000 characters; None for nothing and for what is neither text nor number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value.strip()[:TEXT_MAX] or None if isinstance(value, str) else None


def when(value: Any) -> str | None:
    """A moment of a record (RFC 3339 or Unix seconds) as the product writes it, None when it cannot be read."""
    read = moment(value)
    return rfc3339(read) if read is not None else None


def joined(addresses: Iterable[str]) -> str:
    """Addresses separated by commas, as many as fit into 2,000 characters."""
    text = ""
    for address in addresses:
        longer = f"{text}, {address}" if text else address
        if len(longer) > TEXT_MAX:
            break
        text = longer
    return text
