"""Contacts of a Salesforce org, in and out.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_queryall.htm (deleted ones included)
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_queryoptions.htm (batchSize 200-2,000)
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm (external id)
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/intro_rest_conditional_requests.htm
(If-Unmodified-Since, to the second, not for DELETE; ETags are for accounts only)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urljoin

from pydantic.alias_generators import to_camel

from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, ProviderResponse
from domain.providers.records import (
    ListPage,
    ListRequest,
    PushRequest,
    PushResult,
    RecordType,
    SourceRecord,
    StreamProfile,
)
from domain.sync.records import ContactRecord
from infra.providers._kit.paging import Expect, check_stream, cut, own_link, pack, unpack, whole
from infra.providers._kit.pushing import contact_to_push, digest, holds, newer, vanished
from infra.providers._kit.refusal import failure_kind
from infra.providers._kit.wire import at, bearer, document, items, moment, segment, text_at

PAGE_MIN, PAGE_MAX = 200, 2000
STREAMS = (
    StreamProfile(
        "contacts", RecordType.Contact, "since", lists_deletions=True, exportable=True, page_size=PAGE_MAX
    ),
)
#: Internal field to field of Contact. The company is another record's name, the address is made of several parts.
_WRITTEN = {
    "first_name": "FirstName",
    "last_name": "LastName",
    "email": "Email",
    "phone": "Phone",
    "job_title": "Title",
}
_ADDRESS = ("MailingStreet", "MailingCity", "MailingState", "MailingPostalCode", "MailingCountry")
_FIELDS = ", ".join(("Id", *_WRITTEN.values(), *_ADDRESS, "Account.Name", "SystemModstamp", "IsDeleted"))


class SalesforceContacts:
    """Of one org. A query's locator lives for two days at most; when it is gone, the listing goes on from the
    last contact's moment."""

    def __init__(self, expect: Expect) -> None:
        self._expect = expect

    async def list_records(self, connection: Connection, request: ListRequest) -> ListPage:
        """As the port says."""
        check_stream(STREAMS, request.stream)
        since = _soql(request.since) if request.since is not None else None
        here = unpack(request.cursor) if request.cursor else {"since": since}
        response = await self._page(connection, here, request.limit)
        if response is None:
            here = {"since": here.get("last") or since}
            response = await self._page(connection, here, request.limit)
        if response is None:
            raise ProviderFailure("malformed", "Salesforce does not know a query it was just given.")
        body = document(response)
        rows, again, rest = cut(items(body, "records"), whole(here.get("skip", 0)), request.limit)
        records = [_record(row) for row in rows]
        last = _soql(records[-1].modified_at) if records and records[-1].modified_at else here.get("last")
        total = at(body, "totalSize") if isinstance(at(body, "totalSize"), int) else None
        if again is not None:
            return ListPage(records, pack(**{**here, "skip": again, "last": last}), total=total)
        if at(body, "done") is True:
            return ListPage(records, total=total)
        base = connection.configuration.instance_url
        link = own_link(base, urljoin(base, text_at(body, "nextRecordsUrl")))
        return ListPage(records, pack(**{**here, "link": link, "skip": rest, "last": last}), total=total)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        """As the port says. A new contact is known again by the configured external id field, else by its e-mail
        address."""
        check_stream(STREAMS, request.stream, push=True)
        contact_id = request.external_id
        if request.deleted:
            return await self._remove(connection, request)
        contact = contact_to_push(request.data)
        field = connection.configuration.external_id_field
        if contact_id is None and field is not None:
            path = f"/sobjects/Contact/{segment(field)}/{digest(request.idempotency_key)}"
            made = await self._write(connection, "PATCH", path, contact)
            return await self._result(connection, text_at(document(made), "id"))
        if contact_id is None:
            contact_id = await self._by_email(connection, contact)
        if contact_id is None:
            made = await self._write(connection, "POST", "/sobjects/Contact", contact)
            return await self._result(connection, text_at(document(made), "id"))
        return await self._change(connection, contact_id, request.if_version, contact)

    async def _page(
        self, connection: Connection, here: Mapping[str, Any], limit: int
    ) -> ProviderResponse | None:
        """None when the query's locator is no longer known."""
        size = max(PAGE_MIN, min(limit, PAGE_MAX))
        headers = bearer(connection) | {"sforce-query-options": f"batchSize={size}"}
        if "link" in here:
            link = own_link(connection.configuration.instance_url, here["link"])
            request = ProviderRequest("GET", link, headers=headers)
            response = await self._expect(connection, request, 200, 400, 404)
            if response.status == 200:
                return response
            if at(response.json(), 0, "errorCode") in ("INVALID_QUERY_LOCATOR", "NOT_FOUND"):
                return None
            raise ProviderFailure(
                failure_kind(response.status), "Salesforce refuses to go on with the query."
            )
        where = f" WHERE SystemModstamp >= {here['since']}" if here.get("since") else ""
        query = f"SELECT {_FIELDS} FROM Contact{where} ORDER BY SystemModstamp, Id"  # noqa: S608 - a moment of ours
        request = ProviderRequest(
            "GET", f"{_base(connection)}/queryAll", headers=headers, params={"q": query}
        )
        return await self._expect(connection, request, 200)

    async def _write(
        self,
        connection: Connection,
        method: str,
        path: str,
        contact: ContactRecord,
        *,
        version: str | None = None,
    ) -> ProviderResponse:
        headers = bearer(connection)
        since = moment(version) if version else None
        if since is not None:
            headers["if-unmodified-since"] = format_datetime(since.astimezone(UTC), usegmt=True)
        request = ProviderRequest(
            method,
            f"{_base(connection)}{path}",
            headers=headers,
            json=_body(contact),
            idempotent=method == "PATCH",
        )
        return await self._expect(
            connection, request, 200, 201, 204, *((404, 412) if method == "PATCH" else ())
        )

    async def _change(
        self, connection: Connection, contact_id: str, version: str | None, contact: ContactRecord
    ) -> PushResult:
        path = f"/sobjects/Contact/{segment(contact_id)}"
        response = await self._write(connection, "PATCH", path, contact, version=version)
        if response.status == 404:
            raise vanished()
        if response.status == 412:
            row = await self._read(connection, contact_id)
            if row is None or not holds(contact, to_internal(_record(row)), tuple(_WRITTEN)):
                raise newer()
        return await self._result(connection, contact_id)

    async def _remove(self, connection: Connection, request: PushRequest) -> PushResult:
        contact_id = request.external_id
        if contact_id is None:
            return PushResult(digest(request.idempotency_key))
        if request.if_version is not None:
            row = await self._read(connection, contact_id)
            if row is not None and _record(row).version != request.if_version:
                raise newer()
        url = f"{_base(connection)}/sobjects/Contact/{segment(contact_id)}"
        await self._expect(connection, ProviderRequest("DELETE", url, headers=bearer(connection)), 204, 404)
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

    async def _read(self, connection: Connection, contact_id: str) -> Mapping[str, Any] | None:
        value = contact_id.replace("\\", "\\\\").replace("'", "\\'")
        query = f"SELECT {_FIELDS} FROM Contact WHERE Id = '{value}'"  # noqa: S608 - escaped
        found = await self._query(connection, query)
        return found[0] if found else None

    async def _query(self, connection: Connection, query: str) -> list[Any]:
        url = f"{_base(connection)}/query"
        request = ProviderRequest("GET", url, headers=bearer(connection), params={"q": query})
        return list(items(document(await self._expect(connection, request, 200)), "records"))

    async def _result(self, connection: Connection, contact_id: str) -> PushResult:
        """What became of it: a write answers with the id alone."""
        row = await self._read(connection, contact_id)
        record = _record(row) if row is not None else None
        return PushResult(
            contact_id, record.modified_at if record else None, record.version if record else None
        )


def to_internal(record: SourceRecord) -> Mapping[str, Any]:
    """A contact in the shape of ContactRecord."""
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


def _base(connection: Connection) -> str:
    configuration = connection.configuration
    return f"{configuration.instance_url}/services/data/{configuration.api_version}"
