"""Events of a CalDAV calendar, in and out.

RFC 6578 (sync-collection: 404 for a member that is gone, 507 for a listing that goes on, DAV:valid-sync-token),
RFC 4791 section 7.9 (calendar-multiget) and 5.3.2 (If-None-Match, If-Match).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from domain.providers.contract import ProviderFailure, ProviderResponse, RecordChanged
from domain.providers.records import (
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    SourceRecord,
    StateExpired,
)
from domain.sync.records import EventRecord
from infra.providers._kit.paging import pack, unpack
from infra.providers._kit.pushing import EVENT_FIELDS, digest, event_to_push, gone, holds
from infra.providers._kit.rate_limits import asked_wait
from infra.providers._kit.refusal import failure_kind
from infra.providers.ical.caldav import CalDavAccess, CalendarCollection, multistatus, resolved
from infra.providers.ical.events import parse_resource, to_internal, write_event

T = TypeVar("T")

PAGE_MAX = 500
_FETCH_MAX = 100
_DAV = "{DAV:}"
_DATA = "{urn:ietf:params:xml:ns:caldav}calendar-data"
_XML = {"content-type": "application/xml; charset=utf-8"}
_TOKEN_REFUSED = (403, 409, 410, 412)
_GONE = (404, 410)
#: What may stand in a path as it is (RFC 3986 section 3.3).
_PLAIN = "/@:!$&'()*+,;="
#: States of before kept another spelling of names.
_SPELLING = 2


@dataclass(frozen=True, slots=True)
class Members:
    """What a listing says: resource name to its path as the server wrote it, None for one that is gone.

    `token` continues it; `truncated` when the server has more for that token at once. `problem` says what could not
    be understood of it."""

    paths: dict[str, str | None]
    token: str | None
    truncated: bool
    problem: str | None


async def list_caldav(
    access: CalDavAccess, calendar: CalendarCollection, request: ListingRequest
) -> ListPage:
    """Return a page of resources in the order of their names.

    The listing of names is asked for again for each page and its first sync token is kept, so that what changes
    meanwhile comes with the next run."""
    text = request.cursor or request.state
    start = {"of": calendar.url, "spelling": _SPELLING}
    here = unpack(text) if text else start
    if any(here.get(name) != value for name, value in start.items()):
        raise StateExpired("Another calendar is configured now.")
    members = await _members(access, calendar, str(here.get("token") or ""))
    following = here.get("next", members.token)
    after = str(here.get("after") or "")
    names = sorted(name for name in members.paths if name > after)
    page = names[: min(request.limit, PAGE_MAX)]
    records = await _records(access, calendar, page, members)
    if len(page) < len(names):
        return ListPage(records, pack(**{**here, "next": following, "after": page[-1]}))
    if members.truncated and following:
        if following == here.get("token"):
            raise ProviderFailure("malformed", "The CalDAV server's listing does not get on.")
        return ListPage(records, pack(**start, token=following), problem=members.problem)
    if members.truncated:
        return ListPage(records, problem="The CalDAV server cut its listing and does not say how it goes on.")
    state = pack(**start, token=following) if following else None
    return ListPage(records, next_state=state, problem=members.problem)


async def push_caldav(access: CalDavAccess, calendar: CalendarCollection, request: PushRequest) -> PushResult:
    """Push an event. A new one's name and UID follow from the idempotency key, so that a repeat meets its own."""
    key = digest(request.idempotency_key)
    name = request.external_id or f"{key}.ics"
    url = _address(calendar, name)
    if request.deleted:
        return await _remove(access, name, url, request.if_version)
    event, uid = event_to_push(request.data, request.fields), f"{key}@integration-hub"
    if request.external_id is None:
        made = await _make(access, name, url, await _written(access, event, uid))
        if made is not None:
            return made
    found = await access.send("GET", url, also=_GONE)
    if found.status in _GONE:
        # Made anew where it was: nobody else has the name.
        again = await _written(access, event, uid) if request.recreate else None
        made = await _make(access, name, url, again) if again is not None else None
        if made is None:
            raise gone(name)
        return made
    etag = found.headers.get("etag")
    current = await _resource(access, name, etag, found.content())
    if current is not None and _holds(event, current):
        return PushResult(name, current.modified_at, etag, record=current)
    if etag != request.if_version and (request.if_version is not None or request.external_id is None):
        raise RecordChanged(current or SourceRecord(name, {}, version=etag, deleted=True))
    body = await _written(access, event, uid, found.body)
    written = await _put(access, url, body, {"if-match": etag} if etag else {})
    if written is None:
        raise RecordChanged(await _current(access, name, url))
    return await _result(access, name, url, etag=written.headers.get("etag"), body=body)


async def _read(access: CalDavAccess, body: bytes, task: Callable[..., T], *arguments: Any) -> T:
    return await access.connection.read(len(body), task, *arguments)


async def _written(
    access: CalDavAccess, event: EventRecord, uid: str, existing: bytes | None = None
) -> bytes:
    """Return the event as a resource; its recurrence rules are read as much as an existing one is."""
    size = len(existing or b"") + len(event.model_dump_json())
    return await access.connection.read(size, write_event, event, uid, access.connection.now, existing)


async def _resource(access: CalDavAccess, name: str, etag: str | None, body: bytes) -> SourceRecord | None:
    return await _read(access, body, parse_resource, name, etag, body)


async def _remove(access: CalDavAccess, name: str, url: str, version: str | None) -> PushResult:
    headers = {"if-match": version} if version else {}
    if (await access.send("DELETE", url, headers=headers, also=(*_GONE, 412))).status == 412:
        current = await _current(access, name, url)
        if not current.deleted:
            raise RecordChanged(current)
    return PushResult(name)


async def _current(access: CalDavAccess, name: str, url: str) -> SourceRecord:
    """Read a resource; one that is gone, or is no event any more, is deleted."""
    found = await access.send("GET", url, also=_GONE)
    if found.status in _GONE:
        return _removed(name)
    etag = found.headers.get("etag")
    current = await _resource(access, name, etag, found.content())
    return current or SourceRecord(name, {}, version=etag, deleted=True)


async def _make(access: CalDavAccess, name: str, url: str, body: bytes) -> PushResult | None:
    """Write a resource that is new, None when there is one."""
    made = await _put(access, url, body, {"if-none-match": "*"})
    return (
        await _result(access, name, url, etag=made.headers.get("etag"), body=body)
        if made is not None
        else None
    )


def _holds(event: EventRecord, current: SourceRecord) -> bool:
    return "problem" not in current.data and holds(event, to_internal(current), EVENT_FIELDS)


async def _put(
    access: CalDavAccess, url: str, body: bytes, condition: dict[str, str]
) -> ProviderResponse | None:
    """Write a resource, None when the condition does not hold."""
    headers = {"content-type": "text/calendar; charset=utf-8", **condition}
    response = await access.send("PUT", url, body=body, headers=headers, also=(412,))
    return None if response.status == 412 else response


async def _result(access: CalDavAccess, name: str, url: str, *, etag: str | None, body: bytes) -> PushResult:
    """Return what was written; `etag` is None when the server did not tell it with its answer."""
    if etag is None:  # the server keeps it otherwise than it was sent (RFC 4791 section 5.3.4)
        current = await _current(access, name, url)
    else:
        current = await _resource(access, name, etag, body) or SourceRecord(name, {}, version=etag)
    return PushResult(name, current.modified_at, current.version, record=current)


async def _members(access: CalDavAccess, calendar: CalendarCollection, token: str) -> Members:
    if calendar.sync_token is None and not token:
        body = '<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/></D:prop></D:propfind>'
        headers = {**_XML, "depth": "1"}
        answer = await access.send("PROPFIND", calendar.url, body=body.encode(), headers=headers)
        return await _read(access, answer.body, _read_members, calendar, answer)
    body = (
        f'<D:sync-collection xmlns:D="DAV:"><D:sync-token>{escape(token)}</D:sync-token>'
        "<D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
    )
    headers = {**_XML, "depth": "0"}
    answer = await access.send(
        "REPORT", calendar.url, body=body.encode(), headers=headers, also=_TOKEN_REFUSED
    )
    if answer.status == 207:
        return await _read(access, answer.body, _read_members, calendar, answer)
    if token and (answer.status == 410 or b"valid-sync-token" in answer.body):
        raise StateExpired("The CalDAV server no longer knows the sync token.")
    raise ProviderFailure(
        failure_kind(answer),
        f"The provider answered {answer.status}.",
        status=answer.status,
        retry_after_seconds=asked_wait(answer, access.connection.now),
    )


def _read_members(calendar: CalendarCollection, answer: ProviderResponse) -> Members:
    """Read a listing. What it says of an address outside of the calendar is not followed."""
    root = multistatus(answer)
    paths: dict[str, str | None] = {}
    truncated, problem = False, None
    responses = root.findall(f"{_DAV}response")
    for response in responses:
        status = _status(response)
        members = _members_of(calendar, response)
        if members is None:
            problem = "The CalDAV server lists a resource that is none, or is outside of the calendar."
            continue
        for name, path in members:
            if name == "":
                truncated = truncated or status == 507
            elif not name.endswith("/"):
                paths[name] = None if status in _GONE else path
    token = (root.findtext(f"{_DAV}sync-token") or "").strip()
    if not responses and not token:  # a calendar lists itself at least
        problem = "The CalDAV server answered with an empty listing."
    return Members(paths, token or None, truncated, problem)


async def _records(
    access: CalDavAccess, calendar: CalendarCollection, names: Sequence[str], members: Members
) -> list[SourceRecord]:
    records = [_removed(name) for name in names if members.paths[name] is None]
    wanted = [(name, path) for name in names if (path := members.paths[name]) is not None]
    for start in range(0, len(wanted), _FETCH_MAX):
        records += await _fetch(access, calendar, dict(wanted[start : start + _FETCH_MAX]))
    return sorted(records, key=lambda record: record.external_id)


async def _fetch(
    access: CalDavAccess, calendar: CalendarCollection, wanted: Mapping[str, str]
) -> list[SourceRecord]:
    """Fetch resources, name to path. Only one that is said to be gone is; any other without content is unread."""
    hrefs = "".join(f"<D:href>{escape(path)}</D:href>" for path in wanted.values())
    body = (
        '<C:calendar-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">'
        f"<D:prop><D:getetag/><C:calendar-data/></D:prop>{hrefs}</C:calendar-multiget>"
    )
    headers = {**_XML, "depth": "1"}
    answer = await access.send("REPORT", calendar.url, body=body.encode(), headers=headers)
    return await _read(access, answer.body, _read_resources, calendar, dict(wanted), answer)


def _read_resources(
    calendar: CalendarCollection, wanted: Mapping[str, str], answer: ProviderResponse
) -> list[SourceRecord]:
    otherwise = {unquote(name): name for name in wanted}
    told: dict[str, SourceRecord | None] = {}
    for response in multistatus(answer).findall(f"{_DAV}response"):
        for name, _ in _members_of(calendar, response) or ():
            asked = name if name in wanted else otherwise.get(unquote(name))
            if asked is not None and (asked not in told or name == asked):
                told[asked] = _told(asked, response)
    left_out = "The CalDAV server left this resource out of its answer."
    records = (told[name] if name in told else _unread(name, left_out) for name in wanted)
    return [record for record in records if record is not None]


def _told(name: str, response: Element) -> SourceRecord | None:
    """Return what an answer says of a resource, None for one that holds no event."""
    status, text = _status(response), response.findtext(f".//{_DATA}")
    if status in _GONE:
        return _removed(name)
    if text is not None and status in (None, 200):
        etag = (response.findtext(f".//{_DAV}getetag") or "").strip() or None
        return parse_resource(name, etag, text.encode())
    if status is None:
        statuses = [_status(found) for found in response.findall(f"{_DAV}propstat")]
        status = next((found for found in statuses if found is not None and found != 200), None)
    shown = f"answered {status}" if status is not None else "gave no content"
    return _unread(name, f"The CalDAV server {shown} for this resource.")


def _unread(name: str, reason: str) -> SourceRecord:
    return SourceRecord(name, {}, unread=reason)


def _removed(name: str) -> SourceRecord:
    return SourceRecord(name, {}, deleted=True)


def _members_of(calendar: CalendarCollection, response: Element) -> list[tuple[str, str]] | None:
    """Return names within the calendar, with the path as written; "" is the calendar itself.

    None when an address is missing or elsewhere."""
    hrefs = [(found.text or "").strip() for found in response.findall(f"{_DAV}href")]
    members = [_member(calendar, href) for href in hrefs]
    found = [member for member in members if member is not None]
    return found if found and len(found) == len(members) else None


def _member(calendar: CalendarCollection, href: str) -> tuple[str, str] | None:
    try:
        own = urlsplit(calendar.url)
        other = urlsplit(resolved(calendar.url, calendar.url, href))
    except (ValueError, ProviderFailure):
        return None
    base, path = own.path.strip("/").split("/"), other.path.lstrip("/").split("/")
    inside = [unquote(segment) for segment in path[: len(base)]] == [unquote(segment) for segment in base]
    rest = path[len(base) :]
    if not href or own.netloc.lower() != other.netloc.lower() or not inside:
        return None
    if any(unquote(segment) in (".", "..") for segment in rest):
        return None
    return _spelled("/".join(rest)), other.path


def _spelled(written: str) -> str:
    """Return the name of a resource: decoded where that says how it is written, else as it is written.

    `x%40y.ics` and `x@y.ics` are two resources (RFC 3986 section 2.2)."""
    decoded = unquote(written)
    return decoded if "%" not in decoded and quote(decoded, safe=_PLAIN) == written else written


def _address(calendar: CalendarCollection, name: str) -> str:
    written = name if "%" in name else quote(name, safe=_PLAIN)
    return f"{calendar.url.rstrip('/')}/{written}"


def _status(response: Element) -> int | None:
    """Return the status of the whole response (`HTTP/1.1 404 Not Found`); properties have their own."""
    parts: list[Any] = (response.findtext(f"{_DAV}status") or "").split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else None
