"""Pushing events to an Outlook calendar through Microsoft Graph.

https://learn.microsoft.com/graph/api/user-post-events, https://learn.microsoft.com/graph/api/event-update
https://learn.microsoft.com/graph/api/resources/event (transactionId)
https://learn.microsoft.com/graph/api/singlevaluelegacyextendedproperty-get (finding an event by a property of ours)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest
from domain.providers.records import PushRequest, PushResult
from domain.sync.records import EventRecord
from infra.providers._kit.paging import check_stream
from infra.providers._kit.pushing import EVENT_FIELDS, digest, event_to_push, holds, newer, vanished
from infra.providers._kit.wire import bearer, document, items, segment, text_at
from infra.providers.outlook_calendar.records import STREAMS, calendar_url, read_event, record_of, to_internal

#: The property of an event that carries its idempotency key's digest.
_KEY = "String {6b6d0f0e-6b2c-4c55-9d0e-2c8f7f5f1f3a} Name IntegrationHubKey"


async def push_record(connection: Connection, request: PushRequest) -> PushResult:
    """As the port says. A new event carries the digest of the idempotency key, by which a repeat finds it."""
    check_stream(STREAMS, request.stream, push=True)
    if request.deleted:
        return await _remove(connection, request)
    event = event_to_push(request.data)
    event_id, version = request.external_id, request.if_version
    if event_id is None:
        if event.recurrence:
            raise ProviderFailure("rejected", "A series cannot be created in Outlook from here.")
        found = await _find(connection, request.idempotency_key)
        if found is None:
            return await _create(connection, request.idempotency_key, event)
        event_id, version = text_at(found, "id"), None
    return await _change(connection, event_id, version, event)


async def _find(connection: Connection, key: str) -> dict[str, Any] | None:
    match = f"singleValueExtendedProperties/Any(ep: ep/id eq '{_KEY}' and ep/value eq '{digest(key)}')"
    request = ProviderRequest(
        "GET", f"{calendar_url(connection)}/events", headers=bearer(connection), params={"$filter": match}
    )
    found = items(document(await connection.http.expect(request, 200)), "value")
    return found[0] if found else None


async def _create(connection: Connection, key: str, event: EventRecord) -> PushResult:
    body = {
        **_body(event),
        "transactionId": str(uuid5(NAMESPACE_URL, key)),
        "singleValueExtendedProperties": [{"id": _KEY, "value": digest(key)}],
    }
    request = ProviderRequest(
        "POST", f"{calendar_url(connection)}/events", headers=bearer(connection), json=body, idempotent=True
    )
    return _result(document(await connection.http.expect(request, 200, 201)))


async def _change(
    connection: Connection, event_id: str, version: str | None, event: EventRecord
) -> PushResult:
    headers = bearer(connection) | ({"if-match": version} if version else {})
    url = f"{connection.configuration.base_url}/me/events/{segment(event_id)}"
    patch = ProviderRequest("PATCH", url, headers=headers, json=_body(event), idempotent=True)
    response = await connection.http.expect(patch, 200, 404, 409, 410, 412)
    if response.status in (404, 410):
        raise vanished()
    if response.status == 200:
        return _result(document(response))
    current = await read_event(connection, event_id)
    if current is None or not holds(event, to_internal(record_of(current)), EVENT_FIELDS):
        raise newer()
    return _result(current)


async def _remove(connection: Connection, request: PushRequest) -> PushResult:
    event_id = request.external_id
    if event_id is None:
        found = await _find(connection, request.idempotency_key)
        if found is None:
            return PushResult(digest(request.idempotency_key))
        event_id = text_at(found, "id")
    headers = bearer(connection) | ({"if-match": request.if_version} if request.if_version else {})
    url = f"{connection.configuration.base_url}/me/events/{segment(event_id)}"
    delete = ProviderRequest("DELETE", url, headers=headers)
    if (await connection.http.expect(delete, 204, 404, 410, 412)).status == 412:
        raise newer()
    return PushResult(event_id)


def _result(row: Mapping[str, Any]) -> PushResult:
    record = record_of(row)
    return PushResult(record.external_id, record.modified_at, record.version)


def _body(event: EventRecord) -> dict[str, Any]:
    start, end = _span(event)
    body: dict[str, Any] = {
        "subject": event.title,
        "isAllDay": event.all_day,
        "start": _when(start),
        "end": _when(end),
    }
    if "description" in event.model_fields_set:
        body["body"] = {"contentType": "text", "content": event.description or ""}
    if "location" in event.model_fields_set:
        body["location"] = {"displayName": event.location or ""}
    return body


def _span(event: EventRecord) -> tuple[datetime | date, datetime | date]:
    if event.all_day:
        assert event.start_date is not None
        return event.start_date, event.end_date or event.start_date + timedelta(days=1)
    assert event.starts_at is not None
    return event.starts_at, event.ends_at or event.starts_at


def _when(value: datetime | date) -> dict[str, str]:
    return {"dateTime": f"{value:%Y-%m-%dT%H:%M:%S}", "timeZone": "UTC"}
