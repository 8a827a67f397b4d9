"""Contacts of a Salesforce org, in and out.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_queryall.htm (deleted ones included)
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_queryoptions.htm (batchSize 200-2,000)
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm (external id)
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/intro_rest_conditional_requests.htm
(If-Unmodified-Since, to the second, not for DELETE; ETags are for accounts only)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from pydantic.alias_generators import to_camel

from domain.providers.contract import (
    Connection,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
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
    cut,
    linked,
    pack,
    page_body,
    rows_at,
    unpack,
    whole,
)
from infra.providers._kit.pushing import contact_to_push, digest, gone, holds
from infra.providers._kit.refusal import failure_kind
from infra.providers._kit.wire import (
    ErrorCodes,
    at,
    bearer,
    document,
    items,
    json_or_none,
    moment,
    read_each,
    segment,
    text_at,
)

_PAGE_MIN, _PAGE_MAX = 200, 2000
#: Internal field to field of Contact. The company is another record's name, the address is made of several parts.
_WRITTEN = {
    "first_name": "FirstName",
    "last_name": "LastName",
    "email": "Email",
    "phone": "Phone",
    "job_title": "Title",
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
_ADDRESS = ("MailingStreet", "MailingCity", "MailingState", "MailingPostalCode", "MailingCountry")
_FIELDS = ", ".join(("Id", *_WRITTEN.values(), *_ADDRESS, "Account.Name", "SystemModstamp", "IsDeleted"))


def _error_code(response: ProviderResponse) -> str:
    return str(at(json_or_none(response), 0, "errorCode") or "")


#: A 403 may mean a spent daily quota.
API = ErrorCodes(_error_code, rate_limited=frozenset(("REQUEST_LIMIT_EXCEEDED",)))


class SalesforceContacts(RecordStreams):
    """The contacts of one org.

    A query's locator lives for two days at most; when it is gone, the listing goes on from the last contact's
    moment."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return _STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return _contact(record)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(_STREAMS, request.stream)
        since = _soql(request.since) if request.since is not None else None
        here = unpack(request.cursor) if request.cursor else {"since": since}
        response = await self._page(connection, here, request.limit)
        if response is None:
            here = {"since": here.get("last") or since}
            response = await self._page(connection, here, request.limit)
        if response is None:
            raise ProviderFailure("malformed", "Salesforce does not know a query it was just given.")
        body = page_body(response)
        if body is None:
            return NOTHING_SAID
        found = rows_at(body, "records", marks=("done",))
        rows, again, rest = cut(found, whole(here.get("skip", 0)), request.limit)
        records = read_each(rows, _record)
        last = _soql(records[-1].modified_at) if records and records[-1].modified_at else here.get("last")
        total = at(body, "totalSize") if isinstance(at(body, "totalSize"), int) else None
        if again is not None:
            return ListPage(records, pack(**{**here, "skip": again, "last": last}), total=total)
        if at(body, "done") is True:
            return ListPage(records, total=total)
        link = linked(
            connection.configuration.instance_url, text_at(body, "nextRecordsUrl"), here.get("link")
        )
        return ListPage(records, pack(**{**here, "link": link, "skip": rest, "last": last}), total=total)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        """Push a contact. A new one is known again by the configured external id field, else by its e-mail address."""
        check_stream(_STREAMS, request.stream, push=True)
        contact_id = request.external_id
        if request.deleted:
            return await self._remove(connection, request)
        contact = contact_to_push(request.data, request.fields)
        if contact_id is not None:
            changed = await self._change(connection, contact_id, request.if_version, contact)
            if changed is not None:
                return changed
            if not request.recreate:
                row = await self._read(connection, contact_id, resource="/queryAll")
                raise gone(contact_id, _record(row).modified_at if row is not None else None)
        field = connection.configuration.external_id_field
        if field is not None:
            path = f"/sobjects/Contact/{segment(field)}/{digest(request.idempotency_key)}"
            made = await self._write(connection, "PATCH", path, contact)
            return await self._result(connection, text_at(document(made), "id"))
        known = await self._by_email(connection, contact)
        if known is None:
            made = await self._write(connection, "POST", "/sobjects/Contact", contact)
            return await self._result(connection, text_at(document(made), "id"))
        row = await self._read(connection, known)
        if row is None:
            raise gone(known)
        return _already(contact, _record(row))

    async def _page(
        self, connection: Connection, here: Mapping[str, Any], limit: int
    ) -> ProviderResponse | None:
        """Fetch a page, None when the query's locator is no longer known."""
        size = max(_PAGE_MIN, min(limit, _PAGE_MAX))
        options = {"sforce-query-options": f"batchSize={size}"}
        if "link" in here:
            link = linked(connection.configuration.instance_url, here["link"])
            request = ProviderRequest("GET", link, headers=bearer(connection) | options)
            response = await API.expect(connection, request, *PAGE, 400, 404)
            if response.status in PAGE:
                return response
            if _error_code(response) in ("INVALID_QUERY_LOCATOR", "NOT_FOUND"):
                return None
            raise ProviderFailure(failure_kind(response), "Salesforce refuses to go on with the query.")
        where = f" WHERE SystemModstamp >= {here['since']}" if here.get("since") else ""
        query = f"SELECT {_FIELDS} FROM Contact{where} ORDER BY SystemModstamp, Id"  # noqa: S608 - a moment of ours
        request = api_request(connection, "GET", "/queryAll", params={"q": query}, headers=options)
        return await API.expect(connection, request, *PAGE)

    async def _write(
        self,
        connection: Connection,
        method: str,
        path: str,
        contact: ContactRecord,
        *,
        version: str | None = None,
    ) -> ProviderResponse:
        since, headers = moment(version) if version else None, {}
        if since is not None:
            headers["if-unmodified-since"] = format_datetime(since.astimezone(UTC), usegmt=True)
        is_change = method == "PATCH"
        request = api_request(
            connection, method, path, json=_body(contact), headers=headers, idempotent=is_change
        )
        return await API.expect(connection, request, 200, 201, 204, *((404, 412) if is_change else ()))

    async def _change(
        self, connection: Connection, contact_id: str, version: str | None, contact: ContactRecord
    ) -> PushResult | None:
        """Change a contact, None when it is gone. Raises RecordChanged."""
        path = f"/sobjects/Contact/{segment(contact_id)}"
        response = await self._write(connection, "PATCH", path, contact, version=version)
        if response.status == 404:
            return None
        if response.status == 412:
            row = await self._read(connection, contact_id)
            return _already(contact, _record(row)) if row is not None else None
        return await self._result(connection, contact_id)

    async def _remove(self, connection: Connection, request: PushRequest) -> PushResult:
        contact_id = request.external_id
        if contact_id is None:
            return PushResult(digest(request.idempotency_key))
        if request.if_version is not None:
            row = await self._read(connection, contact_id)
            if row is not None and _record(row).version != request.if_version:
                raise RecordChanged(_record(row))
        delete = api_request(connection, "DELETE", f"/sobjects/Contact/{segment(contact_id)}")
        await API.expect(connection, delete, 204, 404)
        return PushResult(contact_id)

    async def _by_email(self, connection: Connection, contact: ContactRecord) -> str | None:
        if not contact.email:
            raise ProviderFailure(
                "rejected", "A new contact for Salesforce needs an e-mail address, or an external id field."
            )
        value = contact.email.replace("\\", "\\\\").replace("'", "\\'")
        query = f"SELECT Id FROM Contact WHERE Email = '{value}' ORDER BY Id LIMIT 2"  # noqa: S608 - escaped
        found = await self._query(connection, query)
        if len(found) > 1:
            raise ProviderFailure("rejected", "Salesforce has several contacts with this e-mail address.")
        return text_at(found[0], "Id") if found else None

    async def _read(
        self, connection: Connection, contact_id: str, resource: str = "/query"
    ) -> Mapping[str, Any] | None:
        value = contact_id.replace("\\", "\\\\").replace("'", "\\'")
        query = f"SELECT {_FIELDS} FROM Contact WHERE Id = '{value}'"  # noqa: S608 - escaped
        found = await self._query(connection, query, resource)
        return found[0] if found else None

    async def _query(self, connection: Connection, query: str, resource: str = "/query") -> list[Any]:
        request = api_request(connection, "GET", resource, params={"q": query})
        return list(items(document(await API.expect(connection, request, 200)), "records"))

    async def _result(self, connection: Connection, contact_id: str) -> PushResult:
        """Read what became of it: a write answers with the id alone."""
        row = await self._read(connection, contact_id)
        return _pushed(_record(row)) if row is not None else PushResult(contact_id)


def _already(contact: ContactRecord, current: SourceRecord) -> PushResult:
    """Return the result of a push that came through before. Raises RecordChanged when the contact is another one."""
    if not holds(contact, _contact(current), tuple(_WRITTEN)):
        raise RecordChanged(current)
    return _pushed(current)


def _pushed(record: SourceRecord) -> PushResult:
    return PushResult(record.external_id, record.modified_at, record.version, record=record)


def _contact(record: SourceRecord) -> Mapping[str, Any]:
    """Return a contact in the shape of ContactRecord."""
    row = record.data
    return {
        **{to_camel(field): row.get(name) or None for field, name in _WRITTEN.items()},
        "company": at(row, "Account", "Name"),
        "address": ", ".join(row[name] for name in _ADDRESS if row.get(name)) or None,
    }


def _record(row: Any) -> SourceRecord:
    stamp = text_at(row, "SystemModstamp")
    changed = moment(stamp)
    if changed is None:
        raise ProviderFailure("malformed", "The provider's answer has a SystemModstamp that is no moment.")
    return SourceRecord(text_at(row, "Id"), row, changed, stamp, deleted=row.get("IsDeleted") is True)


def _soql(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z"


def _body(contact: ContactRecord) -> dict[str, Any]:
    named = contact.model_fields_set
    return {name: getattr(contact, field) for field, name in _WRITTEN.items() if field in named}


def api_request(
    connection: Connection,
    method: str,
    path: str,
    *,
    params: dict[str, str] | None = None,
    json: Any = None,
    headers: Mapping[str, str] | None = None,
    idempotent: bool | None = None,
) -> ProviderRequest:
    """Return a request to the org's REST API; `path` is below the version."""
    configuration = connection.configuration
    return ProviderRequest(
        method,
        f"{configuration.instance_url}/services/data/{configuration.api_version}{path}",
        headers={**bearer(connection), **(headers or {})},
        params=params or {},
        json=json,
        idempotent=idempotent,
    )
