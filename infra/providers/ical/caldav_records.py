"""Events of a CalDAV calendar, in and out.

RFC 6578 (sync-collection: 404 for a member that is gone, 507 for a listing that goes on, DAV:valid-sync-token),
RFC 4791 section 7.9 (calendar-multiget) and 5.3.2 (If-None-Match, If-Match).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from domain.providers.contract import ProviderFailure, ProviderResponse
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
from infra.providers._kit.pushing import EVENT_FIELDS, digest, event_to_push, holds, newer, vanished
from infra.providers._kit.refusal import failure_kind
from infra.providers._kit.wire import xml_document
from infra.providers.ical.caldav import CalDavAccess, CalendarCollection
from infra.providers.ical.events import parse_resource, to_internal, write_event

PAGE_MAX = 500
_FETCH_MAX = 100
_DAV = "{DAV:}"
_DATA = "{urn:ietf:params:xml:ns:caldav}calendar-data"
_XML = {"content-type": "application/xml; charset=utf-8"}
_TOKEN_REFUSED = (403, 409, 410, 412)
_GONE = (404, 410)


@dataclass(frozen=True, slots=True)
class Members:
    """What a listing says: resource name to whether it is still there.

    `token` continues it; `truncated` when the server has more for that token at once."""

    present: dict[str, bool]
    token: str | None
    truncated: bool


async def list_caldav(
    access: CalDavAccess, calendar: CalendarCollection, request: ListingRequest
) -> ListPage:
    """Return a page of resources in the order of their names.

    The listing of names is asked for again for each page and its first sync token is kept, so that what changes
    meanwhile comes with the next run."""
    text = request.cursor or request.state
    here = unpack(text) if text else {"of": calendar.url}
    if here.get("of") != calendar.url:
        raise StateExpired("Another calendar is configured now.")
    members = await _members(access, calendar, str(here.get("token") or ""))
    following = here.get("next", members.token)
    after = str(here.get("after") or "")
    names = sorted(name for name in members.present if name > after)
    page = names[: min(request.limit, PAGE_MAX)]
    records = await _records(access, calendar, page, members)
    if len(page) < len(names):
        return ListPage(records, pack(**{**here, "next": following, "after": page[-1]}))
    if members.truncated and following:
        if following == here.get("token"):
            raise ProviderFailure("malformed", "The CalDAV server's listing does not get on.")
        return ListPage(records, pack(of=calendar.url, token=following))
    return ListPage(records, next_state=pack(of=calendar.url, token=following) if following else None)


async def push_caldav(access: CalDavAccess, calendar: CalendarCollection, request: PushRequest) -> PushResult:
    """Push an event. A new one's name and UID follow from the idempotency key, so that a repeat meets its own."""
    key = digest(request.idempotency_key)
    name = request.external_id or f"{key}.ics"
    url = _address(calendar, name)
    if request.deleted:
        headers = {"if-match": request.if_version} if request.if_version else {}
        if (await access.send("DELETE", url, headers=headers, also=(*_GONE, 412))).status == 412:
            raise newer()
        return PushResult(name)
    event, now = event_to_push(request.data), access.connection.now
    if request.external_id is None:
        made = await _put(
            access, url, write_event(event, f"{key}@integration-hub", now), {"if-none-match": "*"}
        )
        if made is not None:
            return await _result(access, name, url, made)
    found = await access.send("GET", url, also=_GONE)
    if found.status in _GONE:
        raise vanished()
    etag = found.headers.get("etag")
    current = parse_resource(name, etag, found.body)
    if current is not None and _holds(event, current):
        return PushResult(name, current.modified_at, etag)
    if request.if_version is not None and etag != request.if_version:
        raise newer()
    body = write_event(event, f"{key}@integration-hub", now, found.body)
    made = await _put(access, url, body, {"if-match": etag} if etag else {})
    if made is None:
        raise newer()
    return await _result(access, name, url, made)


def _holds(event: EventRecord, current: SourceRecord) -> bool:
    return "problem" not in current.data and holds(event, to_internal(current), (*EVENT_FIELDS, "recurrence"))


async def _put(
    access: CalDavAccess, url: str, body: bytes, condition: dict[str, str]
) -> ProviderResponse | None:
    """Write a resource, None when the condition does not hold."""
    headers = {"content-type": "text/calendar; charset=utf-8", **condition}
    response = await access.send("PUT", url, body=body, headers=headers, also=(412,))
    return None if response.status == 412 else response


async def _result(access: CalDavAccess, name: str, url: str, made: ProviderResponse) -> PushResult:
    etag = made.headers.get("etag")
    if etag is None:  # the server keeps it otherwise than it was sent (RFC 4791 section 5.3.4)
        etag = (await access.send("GET", url)).headers.get("etag")
    return PushResult(name, access.connection.now, etag)


async def _members(access: CalDavAccess, calendar: CalendarCollection, token: str) -> Members:
    if calendar.sync_token is None and not token:
        body = '<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/></D:prop></D:propfind>'
        headers = {**_XML, "depth": "1"}
        answer = await access.send("PROPFIND", calendar.url, body=body.encode(), headers=headers)
        return _read_members(calendar, answer)
    body = (
        f'<D:sync-collection xmlns:D="DAV:"><D:sync-token>{escape(token)}</D:sync-token>'
        "<D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop></D:sync-collection>"
    )
    headers = {**_XML, "depth": "0"}
    answer = await access.send(
        "REPORT", calendar.url, body=body.encode(), headers=headers, also=_TOKEN_REFUSED
    )
    if answer.status == 207:
        return _read_members(calendar, answer)
    if token and (answer.status == 410 or b"valid-sync-token" in answer.body):
        raise StateExpired("The CalDAV server no longer knows the sync token.")
    raise ProviderFailure(
        failure_kind(answer.status), f"The provider answered {answer.status}.", status=answer.status
    )


def _read_members(calendar: CalendarCollection, answer: ProviderResponse) -> Members:
    root = xml_document(answer)
    present: dict[str, bool] = {}
    truncated = False
    for response in root.iter(f"{_DAV}response"):
        name = _name(calendar, response)
        status = _status(response)
        if name == "":
            truncated = truncated or status == 507
        elif not name.endswith("/"):
            present[name] = status != 404
    token = (root.findtext(f"{_DAV}sync-token") or "").strip()
    return Members(present, token or None, truncated)


async def _records(
    access: CalDavAccess, calendar: CalendarCollection, names: Sequence[str], members: Members
) -> list[SourceRecord]:
    records = [_removed(name) for name in names if not members.present[name]]
    wanted = [name for name in names if members.present[name]]
    for start in range(0, len(wanted), _FETCH_MAX):
        records += await _fetch(access, calendar, wanted[start : start + _FETCH_MAX])
    return sorted(records, key=lambda record: record.external_id)


async def _fetch(
    access: CalDavAccess, calendar: CalendarCollection, names: Sequence[str]
) -> list[SourceRecord]:
    hrefs = "".join(f"<D:href>{escape(urlsplit(_address(calendar, name)).path)}</D:href>" for name in names)
    body = (
        '<C:calendar-multiget xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">'
        f"<D:prop><D:getetag/><C:calendar-data/></D:prop>{hrefs}</C:calendar-multiget>"
    )
    headers = {**_XML, "depth": "1"}
    answer = await access.send("REPORT", calendar.url, body=body.encode(), headers=headers)
    records = []
    for response in xml_document(answer).iter(f"{_DAV}response"):
        name = _name(calendar, response)
        text = response.findtext(f".//{_DATA}")
        if text is not None:
            etag = (response.findtext(f".//{_DAV}getetag") or "").strip() or None
            record = parse_resource(name, etag, text.encode())
            records += [record] if record is not None else []
        elif name:  # deleted since it was listed
            records.append(_removed(name))
    return records


def _removed(name: str) -> SourceRecord:
    return SourceRecord(name, {}, deleted=True)


def _name(calendar: CalendarCollection, response: Element) -> str:
    """Return the resource's name within the calendar, "" for the calendar itself.

    Raises ProviderFailure (malformed) for one that is elsewhere."""
    address = urljoin(calendar.url, (response.findtext(f"{_DAV}href") or "").strip())
    own, other = urlsplit(calendar.url), urlsplit(address)
    base, path = unquote(own.path).rstrip("/"), unquote(other.path)
    if own.netloc.lower() != other.netloc.lower() or (
        path.rstrip("/") != base and not path.startswith(f"{base}/")
    ):
        raise ProviderFailure("malformed", "The CalDAV server lists a resource outside of the calendar.")
    return path[len(base) :].lstrip("/") if path.rstrip("/") != base else ""


def _address(calendar: CalendarCollection, name: str) -> str:
    return f"{calendar.url.rstrip('/')}/{quote(name, safe='@')}"


def _status(response: Element) -> int | None:
    """Return the status of the whole response (`HTTP/1.1 404 Not Found`); properties have their own."""
    parts: list[Any] = (response.findtext(f"{_DAV}status") or "").split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else None
