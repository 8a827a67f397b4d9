"""Every operation of the API, called by everybody who has no right to: generated from the OpenAPI document.

A new operation is tried the day it is registered. What its path names must be an object that `OwnedWorld` has; its
body is its first example, or what its schema requires."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import pytest

from domain.core.permissions import (
    ALERTS_PLATFORM,
    APIKEY_VERIFY,
    METRICS_READ,
    PERMISSIONS,
    PLATFORM_ADMIN,
)
from functions.http.openapi.document import document
from infra.sql.engine import DATABASE_FILE
from tests.worlds.builders import OTHER_TENANT, OTHER_USER, TENANT, USER
from tests.worlds.owned_world import (
    MARK,
    PLATFORM_TENANT,
    PLATFORM_USER,
    Answer,
    Operation,
    OwnedWorld,
    guids_in,
    operations,
    owned_world,
)

#: Permissions over all tenants, which services of the platform have and no tenant's administrator.
OVER_ALL = {ALERTS_PLATFORM, APIKEY_VERIFY, METRICS_READ, PLATFORM_ADMIN}
ADMINISTRATOR = frozenset(PERMISSIONS.keys() - OVER_ALL)
#: Operations that each person and key of a tenant may call: what the answer holds depends on their permissions.
FOR_ALL = {"negotiateRealtime"}
#: Tables that tell of refused requests, or of who was seen.
TOLD = {
    "APIKeys",
    "AuditLog",
    "TenantUsage",
    "AuditNodes",
    "AuditTrees",
    "KeySightings",
    "PendingAlerts",
    "SecurityBursts",
    "Tenants",
    "Users",
}
#: What counts the refusals of a door that is open to everybody.
DOOR = {"IncomingEndpoints"}
OPERATIONS = operations()
#: Parameters that name nothing of one tenant: a provider, a kind of alert, a number that each audit log has.
SHARED = {"name", "kind", "sequence"}


@dataclass(frozen=True)
class Stranger:
    """Somebody who must not reach the owner's objects, and what the request carries."""

    name: str
    tenant: UUID = OTHER_TENANT
    is_key: bool = False
    is_anonymous: bool = False
    claims: frozenset[str] = ADMINISTRATOR

    @property
    def is_foreign(self) -> bool:
        return self.tenant != TENANT

    def holds(self, operation: Operation) -> bool:
        """Whether it is none to this operation: whoever administers the platform may do so to every tenant."""
        over_all = PLATFORM_ADMIN in self.claims and self.tenant == PLATFORM_TENANT and not self.is_key
        return over_all and operation.needed == {PLATFORM_ADMIN}


STRANGERS = (
    Stranger("another tenant's administrator"),
    Stranger("another tenant's key with every scope", is_key=True),
    Stranger(
        "another tenant's person who claims to administer the platform",
        claims=ADMINISTRATOR | {PLATFORM_ADMIN},
    ),
    Stranger("the platform's administrator", PLATFORM_TENANT, claims=ADMINISTRATOR | {PLATFORM_ADMIN}),
    Stranger("a person of the platform's tenant who does not administer it", PLATFORM_TENANT),
    Stranger("a key of the platform's administrator", PLATFORM_TENANT, is_key=True),
    Stranger("a person of the tenant without the permission", TENANT),
    Stranger("a key of the tenant without the scope", TENANT, is_key=True),
    Stranger("nobody", is_anonymous=True),
)


class Matrix:
    """The owner's world, and the strangers' credentials."""

    def __init__(self, world: OwnedWorld) -> None:
        self.world = world
        self.reader = sqlite3.connect(world.home / DATABASE_FILE)
        self.owned = world.names_of_owner()
        self.credentials_of = cache(self._credentials_of)
        # Everybody was here before, so that being met for the first time changes nothing.
        for stranger in STRANGERS:
            for operation in OPERATIONS:
                self.credentials_of(stranger, operation.needed)

    def _credentials_of(self, stranger: Stranger, needed: frozenset[str]) -> dict[str, str]:
        if stranger.is_anonymous:
            return {}
        claims = stranger.claims if stranger.is_foreign else PERMISSIONS.keys() - needed
        user = {TENANT: USER, OTHER_TENANT: OTHER_USER, PLATFORM_TENANT: PLATFORM_USER}[stranger.tenant]
        if not stranger.is_key:
            return self.world.token(claims, tenant=stranger.tenant, user=user)
        creator = self.world.token(PERMISSIONS.keys(), tenant=stranger.tenant, user=user)
        scopes = sorted(claims - {PLATFORM_ADMIN})
        body = {"keyName": "Matrix", "scopes": scopes, "rateLimitPerHour": 10_000}
        return {"x-api-key": self.world.call("POST", "/api/apikeys", body, creator).body["key"]}

    def version(self) -> int:
        """Return a number that another one follows once something was stored."""
        return int(self.reader.execute("PRAGMA data_version").fetchone()[0])


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with owned_world(tmp_path_factory.mktemp("matrix")) as world:
        made = Matrix(world)
        yield made
        made.reader.close()


def test_every_parameter_of_a_path_names_an_object_that_the_owner_has(matrix: Matrix) -> None:
    missing = []
    for operation in OPERATIONS:
        try:
            matrix.world.path_of(operation)
        except KeyError as key:
            missing.append((operation.id, str(key)))
    assert missing == [], "add what `OwnedWorld.furnish` makes of it to its `ids`"


def test_the_platforms_administrator_reads_every_tenant_and_nothing_that_it_wrote(matrix: Matrix) -> None:
    claims = {*ADMINISTRATOR, PLATFORM_ADMIN}
    credentials = matrix.world.token(claims, tenant=PLATFORM_TENANT, user=PLATFORM_USER)
    read = [each for each in OPERATIONS if each.needed == {PLATFORM_ADMIN} and each.method == "GET"]
    answers = [matrix.world.send(operation, credentials) for operation in read]
    assert len(answers) >= 2
    assert {answer.status for answer in answers} == {200}
    assert all(str(TENANT) in answer.text and MARK not in answer.text for answer in answers)


def test_every_operation_says_who_may_call_it() -> None:
    silent = {each.id for each in OPERATIONS if not each.is_anonymous and not each.needed}
    assert silent == FOR_ALL
    assert {name for each in OPERATIONS for name in each.needed} <= PERMISSIONS.keys()


def test_the_owner_reads_every_object_that_strangers_are_tried_with(matrix: Matrix) -> None:
    """Without this, an object that is not there at all would be refused to everybody."""
    credentials = matrix.world.token(PERMISSIONS.keys())
    answers = {
        operation.id: matrix.world.send(operation, credentials).status
        for operation in OPERATIONS
        if operation.method == "GET" and operation.parameters and not operation.is_anonymous
    }
    for of_the_platform in ("getTenant", "getDeadLetter"):
        answers.pop(of_the_platform)
    answers.pop("getIntegrationGrant")  # 409: the integration is not authorised by OAuth
    assert {name: status for name, status in answers.items() if status != 200} == {}


def test_whoever_got_in_would_be_noticed(matrix: Matrix) -> None:
    """The owner in the place of a stranger: each object that is read is a fault, and tells of the owner."""
    credentials, unseen = matrix.world.token(PERMISSIONS.keys()), []
    for operation in OPERATIONS:
        if operation.method != "GET" or operation.is_anonymous or operation.needed == {PLATFORM_ADMIN}:
            continue
        if set(operation.parameters) - SHARED:
            answer = matrix.world.send(operation, credentials)
            if not _fault(operation, STRANGERS[0], answer, refers=False):
                unseen.append(operation.id)
    assert unseen == []
    listed = matrix.world.call("GET", "/api/webhooks")
    operation = next(each for each in OPERATIONS if each.id == "listWebhooks")
    assert MARK in _leaked(matrix, operation, listed, None, None)


@pytest.mark.parametrize("stranger", STRANGERS, ids=[stranger.name for stranger in STRANGERS])
def test_nobody_else_reaches_what_a_tenant_has(matrix: Matrix, stranger: Stranger) -> None:
    world = matrix.world
    before, secrets = world.rows_of(), dict(world.secrets.values)
    wrong = []
    for operation in OPERATIONS:
        if stranger.holds(operation):
            continue
        credentials, version = matrix.credentials_of(stranger, operation.needed), matrix.version()
        for body, query in _requests(operation, world):
            answer = world.send(operation, credentials, body=body, query=query)
            fault = _fault(operation, stranger, answer, refers=bool(query) or _refers(body, world))
            leaked = _leaked(matrix, operation, answer, body, query)
            if fault or leaked:
                wrong.append((operation.method, operation.path, body, query, answer.status, fault, leaked))
        if matrix.version() != version:
            after = world.rows_of()
            if changed := _changed(operation, stranger, before, after):
                wrong.append((operation.method, operation.path, "changed", changed))
            before = after
    assert not wrong, "\n".join(map(str, wrong))
    assert {name: world.secrets.values.get(name) for name in secrets} == secrets


def _changed(
    operation: Operation, stranger: Stranger, before: Mapping[str, list[str]], after: Mapping[str, list[str]]
) -> list[str]:
    """Return the tables in which the owner's rows are others now, but for those that tell of a refusal."""
    tells = TOLD if operation.is_anonymous or stranger.is_anonymous or not stranger.is_foreign else set()
    tells = tells | (DOOR if operation.is_anonymous else set())
    return [name for name in before if before[name] != after[name] and name not in tells]


def _fault(operation: Operation, stranger: Stranger, answer: Answer, *, refers: bool) -> str:
    """Return what is wrong with the status of an answer, or nothing."""
    if answer.status >= 500:
        return "it failed"
    if operation.is_anonymous:
        return ""
    if stranger.is_anonymous:
        is_open = operation.described.get("x-open-in-development", False)
        return "" if answer.status == 401 or is_open else "not 401"
    if not stranger.is_foreign:
        return "" if answer.status == 403 or not operation.needed else "not 403"
    if operation.needed and not operation.needed & ADMINISTRATOR:
        return "" if answer.status == 403 else "not 403"
    if set(operation.parameters) - SHARED:
        return "" if answer.status == 404 else "not 404"
    if answer.status in (401, 403) and not stranger.is_key:
        return "refused, though it is the stranger's own"
    return "took an id of the owner" if refers and operation.method != "GET" and answer.status < 300 else ""


def _leaked(
    matrix: Matrix, operation: Operation, answer: Answer, body: Any, query: Mapping[str, str] | None
) -> set[str]:
    """Return what of the owner's an answer tells that the request did not."""
    sent = guids_in(f"{matrix.world.path_of(operation)} {body!r} {query!r}")
    told = guids_in(f"{answer.text} {dict(answer.headers)}")
    return (told & matrix.owned - sent) | ({MARK} if MARK in answer.text else set())


def _requests(operation: Operation, world: OwnedWorld) -> Iterator[tuple[Any, dict[str, str] | None]]:
    """Yield bodies and queries: as it is meant to be called, then with the owner's ids wherever an id may stand."""
    body = _body_of(operation)
    yield body, None
    foreign = _with_ids(body, world)
    if foreign != body:
        yield foreign, None
    names = [each["name"] for each in operation.described.get("parameters", []) if each.get("in") == "query"]
    for name in names:
        if name.endswith("Id"):
            yield body, {name: _id_for(name, world)}


def _body_of(operation: Operation) -> Any:
    content = operation.described.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    for example in content.get("examples", {}).values():
        return example["value"]
    return _value(content["schema"])


def _value(schema: Mapping[str, Any]) -> Any:
    """Return the least that a schema takes, as far as the bodies without an example need it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _value(document("http://localhost:7071")["components"]["schemas"][name])
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return _value(schema[name][0])
    match schema.get("type"):
        case "object":
            return {name: _value(schema["properties"][name]) for name in schema.get("required", ())}
        case "array":
            return [_value(schema["items"])] * schema.get("minItems", 0)
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    formats = {"uuid": str(UUID(int=7)), "date-time": "2026-03-20T00:00:00Z"}
    return formats.get(schema.get("format", ""), "x" * max(schema.get("minLength", 1), 4))


def _with_ids(body: Any, world: OwnedWorld) -> Any:
    """Return the body with the owner's id at each property that is called one."""
    if isinstance(body, dict):
        return {
            name: _id_for(name, world)
            if name.endswith("Id") and isinstance(value, str)
            else _with_ids(value, world)
            for name, value in body.items()
        }
    return [_with_ids(each, world) for each in body] if isinstance(body, list) else body


def _id_for(name: str, world: OwnedWorld) -> str:
    """Return what the owner has of a kind, by the name of a property such as `integrationId`."""
    kind = name.removesuffix("Id").lower()
    return next((id_ for at, id_ in world.ids.items() if kind in at.lower()), world.ids["webhooks/id"])


def _refers(body: Any, world: OwnedWorld) -> bool:
    return bool(guids_in(repr(body)) & {id_.lower() for id_ in world.ids.values()})
