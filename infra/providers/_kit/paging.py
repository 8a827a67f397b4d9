"""Cursors and states of listings, links to a next page, exact limits.

A listing keeps its cursor either as a `Position` (the listings of payments and messages) or as named parts (`pack`,
`unpack`). The state of a `Position` is the JSON `{"since": <Unix seconds>}`: when the run began that listed everything
up to then. The next run asks for `>=`, and for some time earlier where a provider shows changes late, so that rows
sharing a moment are seen twice rather than never; the external id tells them apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, urljoin, urlsplit, urlunsplit

from domain.providers.contract import ProviderFailure, ProviderResponse
from domain.providers.records import ListingRequest, ListPage, SourceRecord, StateExpired, StreamProfile
from infra.providers._kit.shaping import unix
from infra.providers._kit.wire import at, document, items

Item = TypeVar("Item")

_PORTS = {"https": 443, "http": 80}
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPED = re.compile(r"[^\x21-\x7e]+")
#: Statuses of an answer that has no page: nothing there, nothing changed.
NOTHING = (204, 304)
#: Statuses of a page, a part of the list (206) included, and of none.
PAGE = (200, 206, *NOTHING)


def check_stream(streams: Sequence[StreamProfile], stream: str, *, push: bool = False) -> None:
    """Raise ProviderFailure (rejected) for a stream that is not there, or takes no records."""
    found = next((profile for profile in streams if profile.name == stream), None)
    if found is None or (push and not found.exportable):
        told = "takes no records" if found is not None else "does not exist"
        raise ProviderFailure("rejected", f"The stream {stream} {told}.")


def pack(**parts: Any) -> str:
    """Return a cursor or state as opaque text."""
    return json.dumps(parts, separators=(",", ":"), sort_keys=True)


def unpack(text: str) -> dict[str, Any]:
    """Return what `pack` was given. Raises StateExpired for text it did not make."""
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        raise StateExpired("The position cannot be read.") from None
    if not isinstance(parts, dict):
        raise StateExpired("The position cannot be read.")
    return parts


def whole(value: Any) -> int:
    """Return a count out of a cursor. Raises StateExpired."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise StateExpired("The position cannot be read.")
    return value


def cut(rows: Sequence[Item], skip: int, limit: int) -> tuple[Sequence[Item], int | None, int]:
    """Return what is wanted of a provider's page, whose size the provider decides, and two values of `skip`.

    - the one to ask the same page with again, None when it is used up;
    - the one left for the next page, more than 0 only when this page came shorter than the one that was begun."""
    end = skip + limit
    if end < len(rows):
        return rows[skip:end], end, 0
    return rows[skip:end], None, max(0, skip - len(rows))


def linked(base_url: str, link: Any, page_url: str | None = None) -> str:
    """Return the address that a link leads to from the page at `page_url` (RFC 3986 section 5), byte for byte.

    - What no request can carry, such as a blank, is escaped; a fragment is left out.
    - At the configured host the configured scheme and port are taken: a server behind a proxy may not know them.

    Raises ProviderFailure (malformed) for a link to another host: the credentials go with it."""
    if not isinstance(link, str) or not link.strip() or _UNSENDABLE.search(link):
        raise ProviderFailure("malformed", "The provider's link to the next page is not an address.")
    try:
        written = _ESCAPED.sub(lambda found: quote(found[0]), link.strip())
        is_relative = not urlsplit(written).netloc
        address = urljoin(page_url or f"{base_url}/", written) if is_relative else written
        settled = None if "\\" in link else at_own_host(base_url, address)
    except ValueError:
        settled = None
    if settled is None:
        detail = "The provider's answer links to a foreign host, which gets no credentials."
        raise ProviderFailure("malformed", detail, is_lasting=True)
    return settled


def at_own_host(base_url: str, address: str) -> str | None:
    """Return an address with the configured scheme and port, None for one at another host. Raises ValueError."""
    own, other = urlsplit(base_url), urlsplit(address)
    if "@" in other.netloc or other.hostname != own.hostname or not _is_same_port(own, other):
        return None
    return urlunsplit((own.scheme, own.netloc, other.path or "/", other.query, ""))


def _is_same_port(own: SplitResult, other: SplitResult) -> bool:
    """Return whether the ports are one. With another scheme, the link is by somebody who does not know the port."""
    if other.scheme not in ("", *_PORTS):
        return False
    if other.scheme in ("", own.scheme):
        return _port(own) == (other.port or _PORTS[own.scheme])
    return other.port in (None, _port(own), *_PORTS.values())


def _port(parts: SplitResult) -> int | None:
    return parts.port or _PORTS.get(parts.scheme)


def page_body(response: ProviderResponse) -> dict[str, Any] | None:
    """Return a page as a JSON object, None where the status says that there is nothing: 204 and 304.

    Raises ProviderFailure (malformed)."""
    return None if response.status in NOTHING else document(response)


def rows_at(body: Any, *path: str | int, marks: Sequence[str]) -> Sequence[Any]:
    """Return the list at the path of a page, which holds one of the `marks` by which the provider's lists go on.

    There a list that is null or left out is an empty one. Raises ProviderFailure (malformed)."""
    if at(body, *path) is None and any(mark in body for mark in marks):
        return ()
    return items(body, *path)


#: A page that says nothing about what is gone: no provider here documents it.
NOTHING_SAID = ListPage((), is_complete=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a listing goes on.

    `until` is when it began (Unix seconds): the state of the complete run. `skip` rows of the page it stands on
    were taken already, by a request that wanted fewer than the page holds."""

    until: int
    skip: int = 0


P = TypeVar("P", bound=Position)


def packed(position: Position) -> str:
    """Return the position as a cursor."""
    return json.dumps(asdict(position), separators=(",", ":"))


def unpacked(kind: type[P], cursor: str) -> P:
    """Return the position in a cursor. Raises StateExpired for one that this listing did not give."""
    try:
        return kind(**json.loads(cursor))
    except (ValueError, TypeError, RecursionError):
        raise StateExpired("The cursor cannot be read.") from None


def since_of(request: ListingRequest, look_back: int) -> int | None:
    """Return from when changes are wanted, Unix seconds, `look_back` seconds before the last run began.

    None for a full listing. Raises StateExpired for a state that cannot be read."""
    if request.state is None:
        since = unix(request.since) if request.since is not None else None
    else:
        since = _since_in(request.state)
    return max(0, since - look_back) if since is not None else None


def _since_in(state: str) -> int:
    try:
        since = json.loads(state)["since"]
    except (ValueError, TypeError, KeyError, RecursionError):
        since = None
    if isinstance(since, bool) or not isinstance(since, int) or since < 0:
        raise StateExpired("The state cannot be read.")
    return since


def start_of(request: ListingRequest, until: int, *, kept: int, look_back: int) -> int:
    """Return where a listing through time begins, at a provider that keeps records for `kept` seconds."""
    since = since_of(request, look_back)
    return until - kept if since is None else max(until - kept, min(since, until - look_back))


def page_size(request: ListingRequest, most: int) -> int:
    """Return how many rows to ask for, of a provider that gives `most`."""
    return max(1, min(request.limit, most))


def page_of(
    request: ListingRequest,
    position: Position,
    records: Sequence[SourceRecord],
    after: Position | None,
    *,
    total: int | None = None,
) -> ListPage:
    """Return the page of `records`, which all stand at `position`, at most `request.limit` of them.

    What is beyond comes with the next page. `after` None: the listing ends here."""
    rest = records[position.skip :]
    limit = max(1, request.limit)
    following = replace(position, skip=position.skip + limit) if len(rest) > limit else after
    if following is not None:
        return ListPage(rest[:limit], packed(following), total=total)
    return ListPage(rest, None, json.dumps({"since": position.until}), total=total)
