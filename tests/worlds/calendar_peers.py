"""Calendars of Google, Microsoft Graph and CalDAV servers, as documented, in this process."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from wsgiref.util import setup_testing_defaults
from xml.etree.ElementTree import fromstring
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from domain.core.ports import Clock
from domain.providers.contract import ProviderResponse
from tests.worlds.provider_peers import radicale_application
from tests.worlds.record_peers import Asked, RecordPeer, answered

_START = "2026-03-05T18:00:00Z"
_END = "2026-03-05T19:00:00Z"


class CalendarPeer(RecordPeer):
    """Base of the calendars: the mark and token of an event are its title, the token is its location too."""

    stream = "events"

    @staticmethod
    def record(mark: str, token: str) -> dict[str, Any]:
        return {"title": f"{mark} {token}", "location": token, "startsAt": _START, "endsAt": _END}

    @staticmethod
    def read(data: Mapping[str, Any]) -> tuple[str, str]:
        mark, token = data["title"].split(" ")
        assert data["location"] == token, "half of an edit"
        return mark, token


class GooglePeer(CalendarPeer):
    """https://developers.google.com/workspace/calendar/api/guides/version-resources (If-Match, 412)
    https://developers.google.com/workspace/calendar/api/v3/reference/events (patch merges, `cancelled`, 409, 410)"""

    provider = "Google"
    configuration = {"clientId": "c", "clientSecret": "s"}

    def __init__(self, clock: Clock, *, page: int = 3) -> None:
        super().__init__(clock)
        self.events: dict[str, dict[str, Any]] = {}
        self.order: dict[str, int] = {}
        self.page = page

    def put(self, mark: str, token: str) -> None:
        found = next((row for row in self._live() if row["summary"].split(" ")[0] == mark), None)
        row = found or {"id": f"theirs{self.next():05d}", "status": "confirmed", "start": {}, "end": {}}
        self._store({**row, "summary": f"{mark} {token}", "location": token, **_google_times()})

    def delete(self, mark: str) -> None:
        (row,) = [row for row in self._live() if row["summary"].split(" ")[0] == mark]
        self._cancel(row["id"])

    def held(self) -> dict[str, str]:
        rows = [[*row["summary"].split(" "), row["location"]] for row in self._live()]
        assert len({row[0] for row in rows}) == len(rows), "one event twice"
        assert all(token == location for _, token, location in rows), "half of an edit"
        return {mark: token for mark, token, _ in rows}

    def _live(self) -> list[dict[str, Any]]:
        return [row for row in self.events.values() if row["status"] != "cancelled"]

    def _store(self, row: dict[str, Any]) -> dict[str, Any]:
        number = self.next()
        kept = {**row, "etag": f'"{number}"', "updated": _milliseconds(self.now())}
        self.events[row["id"]], self.order[row["id"]] = kept, number
        return kept

    def _cancel(self, event_id: str) -> None:
        self._store({"id": event_id, "status": "cancelled", "kind": "calendar#event"})

    def answer(self, asked: Asked) -> ProviderResponse:
        assert asked.path.startswith("/calendar/v3/calendars/primary/events"), asked.path
        event_id = asked.path.removeprefix("/calendar/v3/calendars/primary/events").strip("/")
        if asked.method == "GET" and not event_id:
            return self._list(asked)
        assert asked.method == "GET" or asked.query["sendUpdates"] == "none"
        if asked.method == "POST":
            return self._insert(asked.json)
        row = self.events.get(event_id)
        if row is None:
            return answered(404, {"error": {"code": 404}})
        if asked.method == "GET":
            return answered(200, row)
        if not asked.allows(row["etag"]):
            return answered(412, {"error": {"code": 412, "errors": [{"reason": "conditionNotMet"}]}})
        if asked.method == "DELETE":
            if row["status"] == "cancelled":
                return answered(410, {"error": {"code": 410, "errors": [{"reason": "deleted"}]}})
            self.writes += 1
            self._cancel(event_id)
            return answered(204)
        assert asked.method == "PATCH"
        self.writes += 1
        return answered(200, self._store(_patched(row, asked.json)))

    def _insert(self, row: dict[str, Any]) -> ProviderResponse:
        assert re.fullmatch("[a-v0-9]{5,1024}", row["id"])
        assert "attendees" not in row
        if row["id"] in self.events:
            return answered(409, {"error": {"code": 409, "errors": [{"reason": "duplicate"}]}})
        self.writes += 1
        return answered(200, self._store(_patched({"id": row["id"], "status": "confirmed"}, row)))

    def _list(self, asked: Asked) -> ProviderResponse:
        after, upto = int(asked.query.get("syncToken", 0)), self._last
        if "pageToken" in asked.query:
            after, upto = map(int, asked.query["pageToken"].split("-"))
        assert asked.query["showDeleted"] == "true", "deletions are asked for by name"
        numbered = sorted((number, key) for key, number in self.order.items() if after < number <= upto)
        page = numbered[: self.page]
        body: dict[str, Any] = {"kind": "calendar#events", "items": [self.events[key] for _, key in page]}
        if len(numbered) > self.page:
            return answered(200, body | {"nextPageToken": f"{page[-1][0]}-{upto}"})
        return answered(200, body | {"nextSyncToken": str(upto)})


def _google_times() -> dict[str, Any]:
    return {"start": {"dateTime": _START}, "end": {"dateTime": _END}}


def _patched(row: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(row)
    for name, value in changes.items():
        if isinstance(value, dict):
            merged[name] = _patched(merged.get(name) or {}, value)
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged


def _milliseconds(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class GraphPeer(CalendarPeer):
    """https://learn.microsoft.com/graph/delta-query-events (`@removed` tells no moment), event-update, event-delete
    (If-Match), https://learn.microsoft.com/graph/api/resources/event (transactionId)"""

    provider = "Outlook"
    configuration = {"clientId": "c", "clientSecret": "s"}
    tells_deletions = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.events: dict[str, dict[str, Any]] = {}
        self.order: dict[str, int] = {}

    def put(self, mark: str, token: str) -> None:
        found = next((row for row in self.events.values() if row["subject"].split(" ")[0] == mark), None)
        row = found or {"id": f"AAMk{self.next():05d}", "isAllDay": False, "showAs": "busy"}
        times = {"start": _graph_time(_START), "end": _graph_time(_END)}
        changed = {"subject": f"{mark} {token}", "location": {"displayName": token}, **times}
        self._store({**row, **changed})

    def delete(self, mark: str) -> None:
        (key,) = [row["id"] for row in self.events.values() if row["subject"].split(" ")[0] == mark]
        self._remove(key)

    def held(self) -> dict[str, str]:
        rows = [[*row["subject"].split(" "), row["location"]["displayName"]] for row in self.events.values()]
        assert len({row[0] for row in rows}) == len(rows), "one event twice"
        assert all(token == location for _, token, location in rows), "half of an edit"
        return {mark: token for mark, token, _ in rows}

    def _store(self, row: dict[str, Any]) -> dict[str, Any]:
        number = self.next()
        stamp = self.now().isoformat(timespec="microseconds").replace("+00:00", "0Z")
        kept = {**row, "@odata.etag": f'W/"{number}"', "lastModifiedDateTime": stamp}
        self.events[row["id"]], self.order[row["id"]] = kept, number
        return kept

    def _remove(self, key: str) -> None:
        del self.events[key]
        self.order[key] = self.next()

    def answer(self, asked: Asked) -> ProviderResponse:
        path = asked.path.removeprefix("/v1.0/me")
        if path == "/calendarView/delta":
            return self._delta(asked)
        if path == "/events" and asked.method == "GET":
            key = re.search("ep/value eq '([0-9a-f]+)'", asked.query["$filter"])
            assert key is not None
            found = [row for row in self.events.values() if row.get("_key") == key[1]]
            return answered(200, {"value": [self._shown(asked, row) for row in found]})
        if path == "/events" and asked.method == "POST":
            return self._create(asked)
        event_id = path.removeprefix("/events/")
        row = self.events.get(event_id)
        if row is None:
            return answered(404, {"error": {"code": "ErrorItemNotFound", "message": "Not found."}})
        if asked.method == "GET":
            return answered(200, self._shown(asked, row))
        if not asked.allows(row["@odata.etag"]):
            return answered(412, {"error": {"code": "ErrorIrresolvableConflict", "message": "Changed."}})
        self.writes += 1
        if asked.method == "DELETE":
            self._remove(event_id)
            return answered(204)
        assert asked.method == "PATCH"
        return answered(200, self._shown(asked, self._store({**row, **_event_body(asked.json)})))

    def _create(self, asked: Asked) -> ProviderResponse:
        body = dict(asked.json)
        transaction = body["transactionId"]
        for row in self.events.values():
            if row.get("transactionId") == transaction:
                return answered(201, self._shown(asked, row))
        ((marked,),) = [body.pop("singleValueExtendedProperties")]
        self.writes += 1
        row = {"id": f"AAMk{self.next():05d}", "showAs": "busy", "_key": marked["value"]}
        return answered(201, self._shown(asked, self._store({**row, **_event_body(body)})))

    @staticmethod
    def _shown(asked: Asked, row: Mapping[str, Any]) -> dict[str, Any]:
        """Without the preference, times come in the mailbox's zone and bodies as HTML."""
        assert asked.method != "PATCH" or "if-match" in asked.headers or "_key" in row
        shown = {name: value for name, value in row.items() if name != "_key"}
        if 'outlook.timezone="UTC"' not in asked.headers.get("prefer", ""):
            shown |= {name: {**row[name], "timeZone": "Pacific Standard Time"} for name in ("start", "end")}
        if 'outlook.body-content-type="text"' not in asked.headers.get("prefer", ""):
            shown["body"] = {"contentType": "html", "content": "<html></html>"}
        return shown

    def _delta(self, asked: Asked) -> ProviderResponse:
        size = re.search("odata.maxpagesize=([0-9]+)", asked.headers["prefer"])
        assert size is not None
        since = after = int(asked.query.get("$deltatoken", 0))
        upto = self._last
        if "$skiptoken" in asked.query:
            since, after, upto = map(int, asked.query["$skiptoken"].split("-"))
        elif not since:
            assert asked.query["startDateTime"] < asked.query["endDateTime"]
        numbered = sorted(
            (number, key)
            for key, number in self.order.items()
            if after < number <= upto and (since or key in self.events)
        )
        page = numbered[: min(int(size[1]), 3)]
        link = "https://graph.microsoft.com/v1.0/me/calendarView/delta"
        body: dict[str, Any] = {"value": [self._listed(asked, key) for _, key in page]}
        if len(numbered) > len(page):
            return answered(
                200, body | {"@odata.nextLink": f"{link}?$skiptoken={since}-{page[-1][0]}-{upto}"}
            )
        return answered(200, body | {"@odata.deltaLink": f"{link}?$deltatoken={upto}"})

    def _listed(self, asked: Asked, key: str) -> dict[str, Any]:
        if key not in self.events:
            return {"id": key, "@removed": {"reason": "deleted"}}
        return {"type": "singleInstance", **self._shown(asked, self.events[key])}


def _graph_time(moment: str) -> dict[str, str]:
    return {"dateTime": f"{moment[:-1]}.0000000", "timeZone": "UTC"}


def _event_body(body: Mapping[str, Any]) -> dict[str, Any]:
    assert "attendees" not in body, "Graph writes to guests at once"
    known = {"subject", "isAllDay", "start", "end", "body", "location", "recurrence", "transactionId"}
    assert set(body) <= known, body
    kept = dict(body)
    for name in ("start", "end"):
        if name in body and body[name]["timeZone"] != "UTC":
            local = datetime.fromisoformat(body[name]["dateTime"])
            moment = local.replace(tzinfo=ZoneInfo(body[name]["timeZone"])).astimezone(UTC)
            kept[name] = _graph_time(f"{moment:%Y-%m-%dT%H:%M:%S}Z")
            kept["originalStartTimeZone"] = body[name]["timeZone"]
    if body.get("recurrence") is not None:
        assert set(body["recurrence"]) == {"pattern", "range"}
        kept["type"] = "seriesMaster"
    return kept


_DAV = 'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"'
_COLLECTION = "/dav/ada/shifts/"


class CalDavPeer(CalendarPeer):
    """RFC 4791 and RFC 6578: strong ETags, If-Match, If-None-Match, sync-collection with 404 for what is gone."""

    provider = "iCal"
    configuration = {"serverUrl": "https://dav.example.com", "username": "ada", "password": "correct-horse"}
    tells_deletions = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.resources: dict[str, tuple[str, bytes]] = {}
        self.order: dict[str, int] = {}

    def put(self, mark: str, token: str) -> None:
        name = next((name for name, (_, body) in self.resources.items() if _title(body)[0] == mark), None)
        uid = _uid(self.resources[name][1]) if name else mark
        self._store(name or f"theirs-{mark}-{self.next()}.ics", _calendar(uid, mark, token, self.now()))

    def delete(self, mark: str) -> None:
        (name,) = [name for name, (_, body) in self.resources.items() if _title(body)[0] == mark]
        self._remove(name)

    def held(self) -> dict[str, str]:
        rows = [_title(body) for _, body in self.resources.values()]
        assert len({row[0] for row in rows}) == len(rows), "one event twice"
        assert all(token == location for _, token, location in rows), "half of an edit"
        return {mark: token for mark, token, _ in rows}

    def _store(self, name: str, body: bytes) -> str:
        number = self.next()
        self.resources[name], self.order[name] = (f'"{number}"', body), number
        return self.resources[name][0]

    def _remove(self, name: str) -> None:
        del self.resources[name]
        self.order[name] = self.next()

    def answer(self, asked: Asked) -> ProviderResponse:
        if asked.method == "PROPFIND":
            return self._discovery(asked)
        if asked.method == "REPORT":
            assert asked.path == _COLLECTION
            sync = b"sync-collection" in asked.body
            return self._changes(asked.body) if sync else self._multiget(asked.body)
        name = asked.path.removeprefix(_COLLECTION)
        etag, body = self.resources.get(name, (None, b""))
        if asked.method == "GET":
            return answered(200, body, etag=etag) if etag is not None else answered(404)
        if not asked.allows(etag):
            return answered(412)
        if asked.method == "DELETE":
            if etag is None:
                return answered(404)
            self.writes += 1
            self._remove(name)
            return answered(204)
        assert asked.method == "PUT"
        assert "if-match" in asked.headers or "if-none-match" in asked.headers, "a blind write"
        assert etag is None or _uid(body) == _uid(asked.body), "no-uid-conflict"
        self.writes += 1
        return answered(201 if etag is None else 204, etag=self._store(name, asked.body))

    def _discovery(self, asked: Asked) -> ProviderResponse:
        told = {
            "/": "<D:current-user-principal><D:href>/dav/ada/</D:href></D:current-user-principal>",
            "/dav/ada/": "<C:calendar-home-set><D:href>/dav/ada/</D:href></C:calendar-home-set>",
        }
        calendar = (
            "<D:resourcetype><C:calendar/></D:resourcetype><D:displayname>Shifts</D:displayname>"
            f"<D:sync-token>t-{self._last}</D:sync-token>"
        )
        if b"resourcetype" in asked.body:
            return _multistatus(_member(_COLLECTION, calendar))
        return _multistatus(_member(asked.path, told[asked.path]))

    def _changes(self, body: bytes) -> ProviderResponse:
        token = fromstring(body).findtext("{DAV:}sync-token") or ""
        since = int(token.removeprefix("t-") or 0)
        names = [name for name, number in self.order.items() if number > since]
        members = [
            _member(_COLLECTION + name, f"<D:getetag>{escape(self.resources[name][0])}</D:getetag>")
            if name in self.resources
            else _gone(_COLLECTION + name)
            for name in names
            if since or name in self.resources
        ]
        return _multistatus(*members, token=f"t-{self._last}")

    def _multiget(self, body: bytes) -> ProviderResponse:
        asked = [href.text or "" for href in fromstring(body).iter("{DAV:}href")]
        members = []
        for path in asked:
            etag, text = self.resources.get(path.removeprefix(_COLLECTION), (None, b""))
            data = f"<C:calendar-data>{escape(text.decode())}</C:calendar-data>"
            shown = f"<D:getetag>{escape(etag or '')}</D:getetag>{data}"
            members.append(_member(path, shown) if etag is not None else _gone(path))
        return _multistatus(*members)


class RadicalePeer(CalendarPeer):
    """Radicale itself, called without a socket."""

    provider = "iCal"
    configuration = {"serverUrl": "https://dav.example.com", "username": "ada", "password": "correct-horse"}
    tells_deletions = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._folder = TemporaryDirectory(prefix="hub-test-")
        self._application = radicale_application(Path(self._folder.name), "ada", "correct-horse")
        assert self._call("MKCALENDAR", "/ada/shifts/").status == 201

    def put(self, mark: str, token: str) -> None:
        known = self._named().get(mark)
        uid = _uid(self._bodies()[known]) if known else mark
        name, body = known or f"theirs-{mark}-{self.next()}.ics", _calendar(uid, mark, token, self.now())
        assert self._call("PUT", f"/ada/shifts/{name}", body).status in (201, 204)

    def delete(self, mark: str) -> None:
        assert self._call("DELETE", f"/ada/shifts/{self._named()[mark]}").status in (200, 204)

    def held(self) -> dict[str, str]:
        rows = [_title(body) for body in self._bodies().values()]
        assert len({row[0] for row in rows}) == len(rows), "one event twice"
        assert all(token == location for _, token, location in rows), "half of an edit"
        return {mark: token for mark, token, _ in rows}

    def _named(self) -> dict[str, str]:
        return {_title(body)[0]: name for name, body in self._bodies().items()}

    def _bodies(self) -> dict[str, bytes]:
        listed = self._call("PROPFIND", "/ada/shifts/", depth="1")
        names = [
            href.text.removeprefix("/ada/shifts/")
            for href in fromstring(listed.body).iter("{DAV:}href")
            if href.text and href.text.endswith(".ics")
        ]
        return {name: self._call("GET", f"/ada/shifts/{name}").body for name in names}

    def answer(self, asked: Asked) -> ProviderResponse:
        response = self._call(asked.method, asked.path, asked.body, **asked.headers)
        is_write = asked.method in ("PUT", "DELETE") and response.status < 300
        self.writes += is_write
        if asked.method == "PUT":
            assert "if-match" in asked.headers or "if-none-match" in asked.headers, "a blind write"
        return response

    def _call(self, method: str, path: str, body: bytes = b"", **headers: str) -> ProviderResponse:
        token = b64encode(b"ada:correct-horse").decode()
        environ: dict[str, Any] = {"wsgi.errors": StringIO(), "HTTP_AUTHORIZATION": f"Basic {token}"}
        setup_testing_defaults(environ)
        environ |= {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": "dav.example.com"}
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        told: list[Any] = []
        content = b"".join(self._application(environ, lambda status, fields: told.extend((status, fields))))
        named = {name.lower(): value for name, value in told[1]}
        return ProviderResponse(int(told[0].split(" ")[0]), named, content, 1)


def _uid(body: bytes) -> str:
    uid = re.search(r"UID:(\S+)", body.decode())
    assert uid is not None
    return uid[1]


def _calendar(uid: str, mark: str, token: str, now: datetime) -> bytes:
    stamp = f"{now:%Y%m%dT%H%M%SZ}"
    lines = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//theirs//EN", "BEGIN:VEVENT", f"UID:{uid}")
    times = ("DTSTART:20260305T180000Z", "DTEND:20260305T190000Z", f"DTSTAMP:{stamp}")
    said = (f"LAST-MODIFIED:{stamp}", f"SUMMARY:{mark} {token}", f"LOCATION:{token}")
    return "\r\n".join((*lines, *times, *said, "END:VEVENT", "END:VCALENDAR", "")).encode()


def _title(body: bytes) -> tuple[str, str, str]:
    text = body.decode()
    summary = re.search(r"SUMMARY:(\S+) (\S+)", text)
    location = re.search(r"LOCATION:(\S*)", text)
    assert summary is not None
    return summary[1], summary[2], location[1] if location else ""


def _member(href: str, properties: str) -> str:
    ok = "<D:status>HTTP/1.1 200 OK</D:status>"
    return (
        f"<D:response><D:href>{href}</D:href><D:propstat><D:prop>{properties}</D:prop>{ok}</D:propstat>"
        "</D:response>"
    )


def _gone(href: str) -> str:
    return f"<D:response><D:href>{href}</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>"


def _multistatus(*members: str, token: str = "") -> ProviderResponse:
    tail = f"<D:sync-token>{token}</D:sync-token>" if token else ""
    return answered(207, f"<D:multistatus {_DAV}>{''.join(members)}{tail}</D:multistatus>".encode())
