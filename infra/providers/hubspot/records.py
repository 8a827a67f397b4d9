"""Contacts of a HubSpot account, in and out.

https://developers.hubspot.com/docs/api-reference/search/guide (200 a page; `after` ends at 10,000; changes show late)
https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/basic/get-contacts (`archived`, 100 a page)
https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide (idProperty=email; 409 names the existing id)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic.alias_generators import to_camel

from domain.providers.contract import (
    Connection,
    ProviderFailure,
    ProviderRequest,
    RecordChanged,
    RecordStreams,
)
from domain.providers.records import (
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    RecordType,
    SourceRecord,
    StreamProfile,
)
from domain.sync.records import ContactRecord
from infra.providers._kit.paging import (
    NOTHING_SAID,
    PAGE,
    check_stream,
    pack,
    page_body,
    rows_at,
    unpack,
    whole,
)
from infra.providers._kit.pushing import contact_to_push, digest, gone, holds
from infra.providers._kit.wire import at, bearer, document, moment, read_each, segment, text_at

_PAGE_MAX = 200
_ARCHIVED_PAGE_MAX = 100
#: Requests for one page: pages of contacts that were deleted before are passed over.
_REQUESTS_MAX = 12
#: Internal field to property. The parts of an address make one text, which cannot be taken apart again.
_WRITTEN = {
    "first_name": "firstname",
    "last_name": "lastname",
    "email": "email",
    "phone": "phone",
    "company": "company",
    "job_title": "jobtitle",
}
_STREAMS = (
    StreamProfile(
        "contacts",
        RecordType.Contact,
        "since",
        lists_deletions=True,
        exportable=True,
        page_size=_PAGE_MAX,
        pushes=frozenset(to_camel(field) for field in _WRITTEN),
    ),
)
_ADDRESS = ("address", "city", "state", "zip", "country")
_PROPERTIES = [*_WRITTEN.values(), *_ADDRESS, "lastmodifieddate"]
_PATH = "/crm/v3/objects/contacts"
_EXISTING = re.compile(r"Existing ID: ([0-9]{1,20})")


class HubSpotContacts(RecordStreams):
    """The contacts of a HubSpot account.

    Every page of a listing begins at the last change of the page before, instead of at an offset: an offset ends at
    10,000, and skips a contact whenever one before it is changed. Contacts with one moment are told apart by those
    already seen, and where they fill a page, by their ids."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return _STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return _contact(record)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(_STREAMS, request.stream)
        since = _milliseconds(request.since) if request.since is not None else 0
        here = unpack(request.cursor) if request.cursor else {"from": since}
        if here.get("archived"):
            return await _archived(connection, request, here)
        if "tie" in here:
            return await _tied(connection, request, here)
        return await _changed(connection, request, here)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        """Push a contact. HubSpot knows a contact again by its e-mail address, so a new one needs one."""
        check_stream(_STREAMS, request.stream, push=True)
        contact_id = request.external_id
        if request.deleted:
            if contact_id is not None:
                await _remove(connection, contact_id, request.if_version)
            return PushResult(contact_id or digest(request.idempotency_key))
        contact = contact_to_push(request.data, request.fields)
        if contact_id is not None:
            changed = await _change(connection, contact_id, request.if_version, contact)
            if changed is not None:
                return changed
            if not request.recreate:
                raise gone(contact_id, await _archived_at(connection, contact_id))
        return await _create(connection, contact)


async def _create(connection: Connection, contact: ContactRecord) -> PushResult:
    """Create a contact. The one that has its e-mail address already may be of an earlier try.

    Raises RecordChanged when it is another one."""
    if not contact.email:
        raise ProviderFailure("rejected", "A new contact for HubSpot needs an e-mail address.")
    create = _request(connection, "POST", "", {"properties": _written(contact)}, idempotent=True)
    response = await connection.http.expect(create, 201, 409)
    if response.status == 201:
        return await _result(connection, text_at(document(response), "id"))
    known = _EXISTING.search(str(at(response.json(), "message") or ""))
    if known is None:
        raise ProviderFailure("rejected", "HubSpot has a contact like this already.", status=409)
    current = await _read(connection, known[1])
    if current is None:
        raise gone(known[1])
    return _already(contact, current)


def _already(contact: ContactRecord, current: SourceRecord) -> PushResult:
    """Return the result of a push that came through before. Raises RecordChanged when the contact is another one."""
    if not holds(contact, _contact(current), tuple(_WRITTEN)):
        raise RecordChanged(current)
    return _pushed(current)


async def _change(
    connection: Connection, contact_id: str, version: str | None, contact: ContactRecord
) -> PushResult | None:
    """Change a contact, None when it is gone.

    HubSpot knows no conditional requests: the contact is looked at before it is written. Raises RecordChanged."""
    if version is not None:
        current = await _read(connection, contact_id)
        if current is None:
            return None
        if current.version != version:
            return _already(contact, current)
    body = {"properties": _written(contact)}
    patch = _request(connection, "PATCH", f"/{segment(contact_id)}", body, idempotent=True)
    response = await connection.http.expect(patch, 200, 404)
    return None if response.status == 404 else await _result(connection, contact_id)


async def _remove(connection: Connection, contact_id: str, version: str | None) -> None:
    current = await _read(connection, contact_id) if version is not None else None
    if current is not None and current.version != version:
        raise RecordChanged(current)
    await connection.http.expect(_request(connection, "DELETE", f"/{segment(contact_id)}"), 204, 404, 410)


def _contact(record: SourceRecord) -> Mapping[str, Any]:
    """Return a contact in the shape of ContactRecord."""
    properties = record.data["properties"]
    address = ", ".join(properties[name] for name in _ADDRESS if properties.get(name))
    return {
        **{to_camel(field): properties.get(name) or None for field, name in _WRITTEN.items()},
        "address": address or None,
    }


async def _changed(connection: Connection, request: ListingRequest, here: Mapping[str, Any]) -> ListPage:
    start, seen = whole(here.get("from")), set(here.get("seen") or ())
    size = min(request.limit, _PAGE_MAX)
    filters = [{"propertyName": "lastmodifieddate", "operator": "GTE", "value": str(start)}]
    # Room for those that the page before already had.
    limit = min(size + len(seen), _PAGE_MAX)
    found, more = await _search(connection, filters, sort="lastmodifieddate", limit=limit)
    unseen = [row for row in found if _name(row) not in seen]
    rows = unseen[:size]
    records = read_each(rows, _record)
    if not more and len(rows) == len(unseen):
        # A listing of everything shows by itself what is gone.
        return ListPage(records, pack(archived=True) if request.since is not None else None)
    last = max((moment for row in rows if (moment := _changed_at(row)) is not None), default=start)
    if last <= start:
        # The page is full of one moment, as after an import.
        return ListPage(records, pack(tie=start, id=0, seen=sorted(seen.union(map(_name, rows)))))
    # One without a moment may stand anywhere.
    at_last = sorted(_name(row) for row in rows if _changed_at(row) in (last, None))
    return ListPage(records, pack(**{"from": last, "seen": at_last}))


async def _tied(connection: Connection, request: ListingRequest, here: Mapping[str, Any]) -> ListPage:
    """Return the contacts changed at exactly one moment, by id."""
    tie, seen = whole(here.get("tie")), set(here.get("seen") or ())
    filters = [
        {"propertyName": "lastmodifieddate", "operator": "EQ", "value": str(tie)},
        {"propertyName": "hs_object_id", "operator": "GT", "value": str(whole(here.get("id")))},
    ]
    limit = min(request.limit, _PAGE_MAX)
    rows, more = await _search(connection, filters, sort="hs_object_id", limit=limit)
    records = read_each([row for row in rows if _name(row) not in seen], _record)
    if not more or not rows:
        return ListPage(records, pack(**{"from": tie + 1}))
    ids = [int(name) for name in map(_name, rows) if name.isascii() and name.isdecimal()]
    if not ids:
        raise ProviderFailure("malformed", "The provider lists a page of contacts without ids.")
    return ListPage(records, pack(tie=tie, id=max(ids), seen=sorted(seen)))


async def _archived(connection: Connection, request: ListingRequest, here: Mapping[str, Any]) -> ListPage:
    """List deleted contacts; HubSpot cannot filter them, so those deleted before are left out and passed over here."""
    after = here.get("after")
    for _ in range(_REQUESTS_MAX):
        params = {"archived": "true", "limit": str(min(request.limit, _ARCHIVED_PAGE_MAX))}
        params |= {"after": str(after)} if after else {}
        asked = _request(connection, "GET", "", params=params)
        body = page_body(await connection.http.expect(asked, *PAGE))
        if body is None:
            return NOTHING_SAID
        since = request.since
        rows = [
            row
            for row in rows_at(body, "results", marks=("paging",))
            if since is None or (moment(at(row, "archivedAt")) or since) >= since
        ]
        is_last = at(body, "paging", "next") is None
        after = None if is_last else text_at(body, "paging", "next", "after")
        if rows or is_last:
            break
    return ListPage(read_each(rows, _removed), pack(archived=True, after=after) if after else None)


async def _search(
    connection: Connection, filters: list[dict[str, str]], *, sort: str, limit: int
) -> tuple[list[Any], bool]:
    body = {
        "filterGroups": [{"filters": filters}],
        "sorts": [{"propertyName": sort, "direction": "ASCENDING"}],
        "properties": _PROPERTIES,
        "limit": limit,
    }
    request = _request(connection, "POST", "/search", body, idempotent=True)
    answer = page_body(await connection.http.expect(request, *PAGE))
    if answer is None:
        return [], False
    rows = list(rows_at(answer, "results", marks=("total", "paging")))
    return rows, at(answer, "paging", "next") is not None


async def _read(connection: Connection, contact_id: str) -> SourceRecord | None:
    """Read a contact, None when it is gone."""
    url, params = f"/{segment(contact_id)}", {"properties": ",".join(_PROPERTIES)}
    response = await connection.http.expect(_request(connection, "GET", url, params=params), 200, 404)
    return _record(document(response)) if response.status == 200 else None


async def _archived_at(connection: Connection, contact_id: str) -> datetime | None:
    """Return when a contact was deleted, None when HubSpot does not tell."""
    read = _request(connection, "GET", f"/{segment(contact_id)}", params={"archived": "true"})
    response = await connection.http.expect(read, 200, 404)
    return moment(at(document(response), "archivedAt")) if response.status == 200 else None


async def _result(connection: Connection, contact_id: str) -> PushResult:
    """Read what became of it: the answer to a write lacks the properties that were not written."""
    current = await _read(connection, contact_id)
    return _pushed(current) if current is not None else PushResult(contact_id)


def _pushed(record: SourceRecord) -> PushResult:
    return PushResult(record.external_id, record.modified_at, record.version, record=record)


def _name(row: Any) -> str:
    """Return the id of a row, or what else it is known by, so that a page that begins with it lists it once."""
    try:
        return text_at(row, "id")
    except ProviderFailure:
        return "?" + digest(json.dumps(row, sort_keys=True))


def _removed(row: Any) -> SourceRecord:
    return SourceRecord(text_at(row, "id"), row, moment(at(row, "archivedAt")), deleted=True)


def _record(row: Any) -> SourceRecord:
    identity = text_at(row, "id")
    if not isinstance(at(row, "properties"), dict):
        raise ProviderFailure("malformed", "The provider's answer lists a contact without properties.")
    changed = moment(row.get("updatedAt")) or moment(at(row, "properties", "lastmodifieddate"))
    return SourceRecord(identity, row, changed, row.get("updatedAt"), deleted=row.get("archived") is True)


def _changed_at(row: Any) -> int | None:
    changed = moment(at(row, "properties", "lastmodifieddate")) or moment(at(row, "updatedAt"))
    return _milliseconds(changed) if changed is not None else None


def _milliseconds(value: datetime) -> int:
    delta = value.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return max(0, delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000)


def _written(contact: ContactRecord) -> dict[str, str]:
    named = contact.model_fields_set
    return {name: getattr(contact, field) or "" for field, name in _WRITTEN.items() if field in named}


def _request(
    connection: Connection,
    method: str,
    path: str,
    json: Any = None,
    *,
    params: dict[str, str] | None = None,
    idempotent: bool | None = None,
) -> ProviderRequest:
    url = f"{connection.configuration.base_url}{_PATH}{path}"
    return ProviderRequest(
        method, url, headers=bearer(connection), params=params or {}, json=json, idempotent=idempotent
    )
