"""Contacts of HubSpot and Salesforce, as documented, in this process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from domain.core.ports import Clock
from domain.providers.contract import ProviderResponse
from tests.worlds.record_peers import Asked, RecordPeer, answered

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ContactPeer(RecordPeer):
    """Base of the CRMs: the mark of a contact is its e-mail address, the token its last name and job title."""

    stream = "contacts"

    @staticmethod
    def record(mark: str, token: str) -> dict[str, Any]:
        return {"email": f"{mark}@example.com", "lastName": token, "jobTitle": token}

    @staticmethod
    def read(data: Mapping[str, Any]) -> tuple[str, str]:
        assert data["jobTitle"] == data["lastName"], "half of an edit"
        return data["email"].partition("@")[0], data["lastName"]


class HubSpotPeer(ContactPeer):
    """https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide: no conditional requests; e-mail
    addresses are unique, and kept in lower case; 409 names the existing id; deleted contacts are archived."""

    provider = "HubSpot"
    configuration = {"clientId": "c", "clientSecret": "s"}
    tells_deletions = False  # a listing of everything leaves archived contacts out
    unconditional = frozenset(("PATCH", "DELETE"))

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.contacts: dict[str, dict[str, Any]] = {}
        self.shown: dict[str, str] = {}

    def put(self, mark: str, token: str) -> None:
        properties = {"email": f"{mark}@example.com", "lastname": token, "jobtitle": token}
        found = self._by_email(properties["email"])
        self._store(found or str(self.next()), properties)

    def delete(self, mark: str) -> None:
        contact = self._by_email(f"{mark}@example.com")
        assert contact is not None
        self._archive(contact)

    def held(self) -> dict[str, str]:
        rows = [row["properties"] for row in self.contacts.values() if not row["archived"]]
        assert all(row["lastname"] == row["jobtitle"] for row in rows), "half of an edit"
        assert len({row["email"] for row in rows}) == len(rows), "one contact twice"
        return {row["email"].partition("@")[0]: row["lastname"] for row in rows}

    def _by_email(self, email: str) -> str | None:
        rows = self.contacts.values()
        found = [row["id"] for row in rows if not row["archived"] and row["properties"]["email"] == email]
        return found[0] if found else None

    def _store(self, contact: str, properties: Mapping[str, str]) -> dict[str, Any]:
        before = self.contacts.get(contact, {"properties": {}})["properties"]
        stamp = _milliseconds(self.now())
        kept = {name: value for name, value in {**before, **properties}.items() if value != ""}
        kept["email"] = kept["email"].lower()
        row = {
            "id": contact,
            "properties": kept | {"lastmodifieddate": stamp, "hs_object_id": contact},
            "updatedAt": stamp,
            "archived": False,
        }
        self.contacts[contact] = row
        return row

    def _archive(self, contact: str) -> None:
        stamp = _milliseconds(self.now())
        self.contacts[contact] |= {"archived": True, "archivedAt": stamp}

    def answer(self, asked: Asked) -> ProviderResponse:
        path = asked.path.removeprefix("/crm/v3/objects/contacts")
        if path == "/search":
            return self._search(asked.json)
        if path == "" and asked.method == "GET":
            assert asked.query["archived"] == "true"
            rows = [row for row in self.contacts.values() if row["archived"]]
            return answered(200, {"results": rows})
        if path == "":
            return self._create(asked.json["properties"])
        row = self.contacts.get(path.strip("/"))
        if row is not None and row["archived"] and asked.query.get("archived") == "true":
            return answered(200, row)
        if row is None or row["archived"]:
            return answered(404, {"category": "OBJECT_NOT_FOUND", "message": "resource not found"})
        if asked.method == "GET":
            return answered(200, self._seen(row))
        self.writes += 1
        if self.shown.get(row["id"]) != row["updatedAt"]:
            self.overwritten.append(row["id"])
        if asked.method == "DELETE":
            self._archive(row["id"])
            return answered(204)
        assert asked.method == "PATCH"
        return answered(200, self._written(row["id"], asked.json["properties"]))

    def _create(self, properties: dict[str, str]) -> ProviderResponse:
        known = self._by_email(properties["email"].lower())
        if known is not None:
            self._seen(self.contacts[known])
            message = f"Contact already exists. Existing ID: {known}"
            return answered(409, {"category": "CONFLICT", "message": message})
        self.writes += 1
        return answered(201, self._written(str(self.next()), properties))

    def _written(self, contact: str, properties: Mapping[str, str]) -> dict[str, Any]:
        """The answer to a write has the written properties only."""
        row = self._seen(self._store(contact, properties))
        names = {*properties, "lastmodifieddate", "hs_object_id"}
        kept = {name: value for name, value in row["properties"].items() if name in names}
        return {**row, "properties": kept}

    def _seen(self, row: dict[str, Any]) -> dict[str, Any]:
        self.shown[row["id"]] = row["updatedAt"]
        return row

    def _search(self, body: Mapping[str, Any]) -> ProviderResponse:
        (group,) = body["filterGroups"]
        (sort,) = body["sorts"]
        rows = [
            row
            for row in self.contacts.values()
            if not row["archived"] and all(_fits(row, condition) for condition in group["filters"])
        ]
        rows.sort(key=lambda row: _value(row, sort["propertyName"]))
        page = rows[: min(body["limit"], 3)]
        more = {"paging": {"next": {"after": str(len(page))}}} if len(page) < len(rows) else {}
        return answered(200, {"total": len(rows), "results": [self._seen(row) for row in page], **more})


def _value(row: Mapping[str, Any], name: str) -> int:
    if name == "hs_object_id":
        return int(row["id"])
    changed = datetime.fromisoformat(row["updatedAt"])
    return round((changed - _EPOCH).total_seconds() * 1000)


def _fits(row: Mapping[str, Any], condition: Mapping[str, str]) -> bool:
    value, limit = _value(row, condition["propertyName"]), int(condition["value"])
    return {"GTE": value >= limit, "EQ": value == limit, "GT": value > limit}[condition["operator"]]


def _milliseconds(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class SalesforcePeer(ContactPeer):
    """https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/intro_rest_conditional_requests.htm
    (If-Unmodified-Since on PATCH, to the second, 412), queryAll tells deleted rows, LastName is required."""

    provider = "Salesforce"
    configuration = {"clientId": "c", "clientSecret": "s", "instanceUrl": "https://org.my.salesforce.com"}
    unconditional = frozenset(("DELETE",))

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.contacts: dict[str, dict[str, Any]] = {}
        self.shown: dict[str, str] = {}

    def put(self, mark: str, token: str) -> None:
        email = f"{mark}@example.com"
        found = next((row["Id"] for row in self._live() if row["Email"] == email), None)
        self._store(found or f"003{self.next():015d}", {"Email": email, "LastName": token, "Title": token})

    def delete(self, mark: str) -> None:
        (key,) = [row["Id"] for row in self._live() if row["Email"] == f"{mark}@example.com"]
        self._remove(key)

    def held(self) -> dict[str, str]:
        rows = self._live()
        assert all(row["LastName"] == row["Title"] for row in rows), "half of an edit"
        assert len({row["Email"] for row in rows}) == len(rows), "one contact twice"
        return {row["Email"].partition("@")[0]: row["LastName"] for row in rows}

    def _live(self) -> list[dict[str, Any]]:
        return [row for row in self.contacts.values() if not row["IsDeleted"]]

    def _store(self, key: str, fields: Mapping[str, Any]) -> None:
        before = self.contacts.get(key, {"Id": key, "IsDeleted": False})
        self.contacts[key] = {**before, **fields, "SystemModstamp": self._stamp()}

    def _remove(self, key: str) -> None:
        self.contacts[key] |= {"IsDeleted": True, "SystemModstamp": self._stamp()}

    def _stamp(self) -> str:
        return f"{self.now():%Y-%m-%dT%H:%M:%S}.000+0000"

    def answer(self, asked: Asked) -> ProviderResponse:
        path = asked.path.removeprefix("/services/data/v62.0")
        if path in ("/query", "/queryAll"):
            return self._query(asked.query["q"], with_deleted=path == "/queryAll")
        if path == "/sobjects/Contact":
            assert asked.method == "POST"
            self.writes += 1
            key = f"003{self.next():015d}"
            self._store(key, _required(asked.json))
            return answered(201, {"id": key, "success": True, "errors": []})
        row = self.contacts.get(path.removeprefix("/sobjects/Contact/"))
        if row is None or row["IsDeleted"]:
            return answered(404, [{"errorCode": "ENTITY_IS_DELETED", "message": "entity is deleted"}])
        changed = datetime.strptime(row["SystemModstamp"], "%Y-%m-%dT%H:%M:%S.%f%z")
        since = asked.headers.get("if-unmodified-since")
        if asked.method == "PATCH" and since is not None and changed > parsedate_to_datetime(since):
            return answered(412, [{"errorCode": "PRECONDITION_FAILED", "message": "modified"}])
        if self.shown.get(row["Id"]) != row["SystemModstamp"]:
            self.overwritten.append(row["Id"])
        self.writes += 1
        if asked.method == "DELETE":
            self._remove(row["Id"])
            return answered(204)
        assert asked.method == "PATCH"
        self._store(row["Id"], asked.json)
        self.shown[row["Id"]] = self._stamp()
        return answered(204)

    def _query(self, text: str, *, with_deleted: bool) -> ProviderResponse:
        rows = list(self.contacts.values()) if with_deleted else self._live()
        for name, value in re.findall(r"(Id|Email) = '([^']*)'", text):
            rows = [row for row in rows if row[name] == value]
        since = re.search(r"SystemModstamp >= (\S+)Z", text)
        if since is not None:
            rows = [row for row in rows if row["SystemModstamp"][:19] >= since[1]]
        rows.sort(key=lambda row: (row["SystemModstamp"], row["Id"]))
        if "SystemModstamp" in text.partition(" FROM ")[0]:
            for row in rows:
                self.shown[row["Id"]] = row["SystemModstamp"]
        return answered(200, {"totalSize": len(rows), "done": True, "records": rows})


def _required(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    assert fields.get("LastName"), "REQUIRED_FIELD_MISSING"
    return fields
