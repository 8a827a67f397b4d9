"""A tenant that has one of everything, and the whole API, served in this process as its OpenAPI document tells."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import azure.functions as func
import httpx

import function_app  # noqa: F401 - registers every endpoint
from domain.apikeys.model import CreateApiKey
from domain.apikeys.service import ApiKeyService
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.core.wire import rfc3339
from domain.integrations.commands import CreateIntegration
from domain.integrations.connection import Catalogue
from domain.integrations.model import IntegrationLog, LogLevel
from domain.integrations.service import IntegrationService
from domain.journal.audit_signing import AuditHeads
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE
from domain.journal.signals import Signal, SubjectKind, hour_of
from domain.monitoring.alerts.model import Alert, AlertKind, Severity
from domain.monitoring.anomalies.model import Anomaly, AnomalySubject, Direction, Expectation, Metric
from domain.monitoring.dead_letters import DeadLetter
from domain.providers.contract import (
    Connection,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    SignatureRefused,
    VerifiedEvent,
)
from domain.sync.batches import BatchRunner
from domain.sync.dispatch import Dispatcher
from domain.sync.job_runs import JobRuns
from domain.sync.model import BatchState
from domain.webhooks.deliver import DeliveryEngine
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage, FanOut
from domain.webhooks.loops import LoopBrake, LoopState
from functions.http.openapi.document import document
from infra.app.build import build, serving
from infra.authentication.development import mint_token
from infra.sql.schema import metadata
from tests import ROOT
from tests.worlds.builders import (
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    USER,
    FakeClock,
    MemoryQueue,
    Receivers,
    new_database,
    settings_at,
)
from tests.worlds.integration_world import GOOD_KEY, MemorySecrets, Vendor
from tests.worlds.recommendation_world import GONE
from tests.worlds.sync_world import Crm

#: In everything that a person of the owner wrote: no other tenant's answer may hold it.
MARK = "zq-only-the-owner-wrote-this"
PLATFORM_TENANT, PLATFORM_USER = UUID(int=0xC0), UUID(int=0xC1)
PERSON = f"{MARK}@guest.example"
SIGNED = "x-mark-signature"
_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Json = dict[str, Any]


class MarkCrm(Crm):
    """A provider whose webhooks are signed by a word in a header."""

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        if request.headers.get(SIGNED) != "yes":
            raise SignatureRefused("The signature is missing.")
        event = VerifiedEvent("evt-1", "contact.changed", {"note": MARK}, request.received_at)
        return IncomingAnswer([event])


@dataclass(frozen=True)
class Operation:
    """One operation of the OpenAPI document."""

    method: str
    path: str
    described: Json = field(repr=False)

    @property
    def id(self) -> str:
        return str(self.described["operationId"])

    @property
    def is_anonymous(self) -> bool:
        return not self.described["security"]

    @property
    def needed(self) -> frozenset[str]:
        """Every permission of which one is enough; none where each caller of the tenant may call it."""
        told = [self.described.get("x-permission"), self.described.get("x-own-permission")]
        return frozenset(filter(None, [*told, *self.described.get("x-any-permission", ())]))

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


def operations() -> list[Operation]:
    """Return every operation that the OpenAPI document describes."""
    paths = document("http://localhost:7071")["paths"]
    return [
        Operation(method.upper(), path, described)
        for path, item in paths.items()
        for method, described in item.items()
    ]


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def body(self) -> Json:
        return dict(json.loads(self.text))


class OwnedWorld:
    """`owner` is the tenant TENANT, `ids` what its objects are called by, keyed as `object_of` asks for them."""

    def __init__(self, home: Path, **settings: Any) -> None:
        new_database(home)
        self.home, self.clock, self.secrets = home, FakeClock(), MemorySecrets()
        self.queue, self.receivers = MemoryQueue(self.clock), Receivers(self.clock)
        self.crm, self.stripe = MarkCrm(), Vendor("Stripe", IntegrationType.PaymentGateway)
        providers: dict[str, Provider] = {"Crm": self.crm, "Stripe": self.stripe}
        self.hub = build(
            settings_at(home, **{"platform_tenant": PLATFORM_TENANT, **settings}),
            clock=self.clock,
            queue=self.queue,
            secrets=self.secrets,
            http=self.receivers,  # type: ignore[arg-type]
            provider_transport=httpx.MockTransport(lambda request: httpx.Response(500)),
            catalogue=Catalogue(providers, ()),
        )
        self.owner = Principal(TENANT, USER, frozenset(PERMISSIONS))
        self._functions = _functions()
        self.ids: dict[str, str] = {}

    # What is served

    def token(
        self, permissions: Sequence[str] | frozenset[str], *, tenant: UUID = TENANT, user: UUID = USER
    ) -> dict[str, str]:
        """Return the headers of a person with these permissions."""
        token = mint_token(
            self.home, tenant_id=tenant, user_id=user, permissions=sorted(permissions), ttl_seconds=3600
        )
        return {"authorization": f"Bearer {token}"}

    def send(
        self,
        operation: Operation,
        credentials: Mapping[str, str],
        *,
        ids: Mapping[str, str] | None = None,
        body: Any = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call an operation as the Functions host calls it, with the owner's objects in its path."""
        route = {name: (ids or self.path_of(operation))[name] for name in operation.parameters}
        path = operation.path
        for name, value in route.items():
            path = path.replace("{" + name + "}", value)
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
        request = func.HttpRequest(
            operation.method,
            f"http://localhost:7071{path}" + (f"?{urlencode(query)}" if query else ""),
            headers={"content-type": "application/json", **credentials},
            params=dict(query or {}),
            route_params=route,
            body=content,
        )
        function = self._functions[operation.method, operation.path]
        came = function(request)
        response = asyncio.run(_awaited(came)) if asyncio.iscoroutine(came) else came
        return Answer(response.status_code, response.get_body().decode(errors="replace"), response.headers)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        credentials: Mapping[str, str] | None = None,
        **named: str,
    ) -> Answer:
        """Call the operation at a path of the document; `named` fill its parameters."""
        operation = next(each for each in operations() if (each.method, each.path) == (method, path))
        return self.send(operation, credentials or self.token(PERMISSIONS.keys()), ids=named, body=body)

    def send_idempotently(self, method: str, path: str, body: Any) -> Answer:
        """As the owner, under an Idempotency-Key."""
        return self.call(
            method, path, body, {**self.token(PERMISSIONS.keys()), "idempotency-key": "once-and-for-all"}
        )

    def now_text(self) -> str:
        return rfc3339(self.clock.now())

    # What the owner has

    def object_of(self, path: str, parameter: str) -> str:
        """Return the owner's object that a path's parameter names. KeyError where this world has none."""
        before = path.partition("{" + parameter + "}")[0].strip("/").removeprefix("api/")
        return self.ids[f"{re.sub(r'{[^}]*}', '*', before)}/{parameter}"]

    def path_of(self, operation: Operation) -> dict[str, str]:
        return {name: self.object_of(operation.path, name) for name in operation.parameters}

    def furnish(self) -> None:
        """Give the owner one of everything, by use cases and the API itself wherever they make it."""
        asyncio.run(self._furnish())
        self._furnish_by_requests()

    async def _furnish(self) -> None:
        hub, owner = self.hub, self.owner
        with hub.transactions.write() as tx:
            tx.users.see(owner.tenant_id, owner.user_id, MARK, self.clock.now())
            tx.commit()
        configuration = {"apiKey": GOOD_KEY, "webhookSecret": f"whsec-{MARK}"}
        made = await hub.use(IntegrationService).create(
            owner,
            CreateIntegration.model_validate(
                {
                    "name": MARK,
                    "integrationType": "CustomAPI",
                    "provider": "Crm",
                    "configuration": configuration,
                }
            ),
        )
        integration_id = made.integration.integration_id
        key = hub.use(ApiKeyService).create(
            owner, CreateApiKey.model_validate({"keyName": MARK, "scopes": ["events:write"]})
        )
        self.plain_key = key.plain.text
        for name in ("integrations", "webhooks/incoming"):
            self.ids[f"{name}/{'integrationId' if 'incoming' in name else 'id'}"] = str(integration_id)
        self.ids["apikeys/id"] = str(key.key.api_key_id)
        self.crm.put("c1", email=PERSON)
        self.integration_id = integration_id

    def _furnish_by_requests(self) -> None:
        integration = self.ids["integrations/id"]
        webhook = self.made(
            "POST",
            "/api/webhooks",
            {
                "url": f"https://receiver.example/{MARK}",
                "eventTypes": ["*"],
                "description": MARK,
                "integrationId": integration,
            },
        )
        self.ids["webhooks/id"] = webhook["webhookId"]
        self.clock.advance(days=15)
        self._count_failures(UUID(webhook["webhookId"]))
        self.made("POST", "/api/events", {"type": "BookingConfirmed", "data": {"guest": PERSON}})
        sent = self.call(
            "POST", "/api/webhooks/incoming/{integrationId}", {}, {SIGNED: "yes"}, integrationId=integration
        )
        assert sent.status == 202, sent
        asyncio.run(self.settle())
        page = self.made("GET", "/api/webhooks/{id}/deliveries", id=webhook["webhookId"])
        self.ids["webhooks/*/deliveries/deliveryId"] = page["items"][0]["webhookDeliveryId"]
        page = self.made("GET", "/api/webhooks/incoming/{integrationId}/events", integrationId=integration)
        self.ids["webhooks/incoming/*/events/eventId"] = page["items"][0]["incomingWebhookId"]
        job = self.made("POST", "/api/datasyncs", {"integrationId": integration, "syncType": "Full"})
        self.ids["datasyncs/id"] = job["dataSyncJobId"]
        asyncio.run(self._synced())
        schedule = {"syncType": "Incremental", "expression": "0 0 3 * * *"}
        self.made("PUT", "/api/integrations/{id}/sync-schedule", schedule, id=integration)
        erasure = self.made("POST", "/api/privacy/erase", {"identifiers": [PERSON]})
        self.ids["privacy/erasures/id"] = erasure["erasureId"]
        page = self.made("GET", "/api/insights/recommendations")
        self.ids["insights/recommendations/id"] = page["items"][0]["recommendationId"]
        rotated = self.made("POST", "/api/integrations/{id}/incoming-url/rotate", {}, id=integration)
        self.ids["webhooks/incoming/*/token"] = rotated["url"].rpartition("/")[2]
        self._store_what_watchers_store(UUID(webhook["webhookId"]))
        self.ids["alerts/rules/kind"] = "webhook-disabled"
        self.ids["providers/name"] = "Crm"
        self.ids["platform/tenants/tenantId"] = str(TENANT)
        self.ids["ops/dead-letters/queue"], self.ids["ops/dead-letters/*/sequenceNumber"] = "sync-jobs", "7"
        body = json.dumps({"tenantId": str(TENANT), "note": MARK}).encode()
        self.queue.letters["sync-jobs"] = {
            7: DeadLetter(7, "m-7", body, {}, 10, self.clock.now(), None, "MaxDeliveryCountExceeded", "")
        }
        self.hub.use(AuditHeads).sign_new()
        with self.hub.database.read() as connection:
            newest = connection.exec_driver_sql("SELECT MAX(Sequence) FROM AuditLog").scalar()
        self.ids["audit/proof/sequence"] = str(newest)

    def made(self, method: str, path: str, body: Any = None, **named: str) -> Json:
        answer = self.call(method, path, body, **named)
        assert answer.status < 300, (path, answer)
        return answer.body

    def _count_failures(self, webhook_id: UUID) -> None:
        """Count hours in which nothing could connect, which a recommendation follows from."""
        first = hour_of(self.clock.now()) - timedelta(hours=len(GONE))
        with self.hub.transactions.write() as tx:
            tx.signals.append(
                [
                    Signal(TENANT, SubjectKind.Webhook, webhook_id, first + timedelta(hours=n), hour)
                    for n, hour in enumerate(GONE)
                ]
            )
            tx.commit()

    def _store_what_watchers_store(self, webhook_id: UUID) -> None:
        ids, now = self.hub.ids, self.clock.now()
        alert = Alert(
            ids.new(),
            TENANT,
            AlertKind.WebhookDisabled,
            str(webhook_id),
            Severity.Critical,
            MARK,
            json.dumps({"url": MARK}),
            now,
            now,
        )
        anomaly = Anomaly(
            ids.new(),
            TENANT,
            AnomalySubject(SubjectKind.Webhook, webhook_id),
            Metric.Traffic,
            Direction.Above,
            hour_of(now),
            hour_of(now),
            MARK,
            900.0,
            Expectation(355.0, 300.0, 420.0),
            17.5,
        )
        brake = LoopBrake(ids.new(), TENANT, MARK, LoopState.Confirmed, now, now)
        with self.hub.transactions.write() as tx:
            tx.loops.save(brake)
            tx.alerts.add(TENANT, alert)
            tx.anomalies.add(TENANT, anomaly)
            tx.integration_logs.append(
                [IntegrationLog(ids.new(), self.integration_id, LogLevel.Error, MARK, now)]
            )
            tx.commit()
        self.ids["loops/id"] = str(brake.loop_brake_id)
        self.ids["alerts/id"], self.ids["insights/anomalies/id"] = (
            str(alert.alert_id),
            str(anomaly.anomaly_id),
        )

    async def settle(self) -> None:
        """Fan out and deliver what is queued."""
        announced = self.queue.take(DOMAIN_EVENTS_QUEUE)
        self.hub.use(FanOut).handle([(each.body, each.message_id or "m") for each in announced])
        engine = self.hub.use(DeliveryEngine)
        deliveries = self.queue.take(WEBHOOK_DELIVERIES_QUEUE)
        await engine.handle([DeliveryMessage.of_queue(each.body) for each in deliveries])
        await engine.drain()

    async def _synced(self) -> None:
        """Carry out the job that waits, as the orchestrations do."""
        (start,) = self.hub.use(Dispatcher).claim()
        runs, runner = self.hub.use(JobRuns), self.hub.use(BatchRunner)
        for position in runs.plan(start.data_sync_job_id, start.run_number).positions:
            result = await runner.run_batch(start.data_sync_job_id, start.run_number, position, 10)
            while result.state == BatchState.More:
                result = await runner.run_batch(start.data_sync_job_id, start.run_number, position, 10)
        runs.conclude(start.data_sync_job_id, start.run_number, result)

    # What is stored

    def rows_of(self, tenant: UUID = TENANT) -> dict[str, list[str]]:
        """Return a tenant's rows by table, those of tables without a tenant by what they belong to."""
        self.hub.finish()  # what the process counted so far, or the next who asks for usage would store it
        kept: dict[str, list[str]] = {}
        known: set[object] = {tenant}
        with self.hub.database.read() as connection:
            for table in metadata.sorted_tables:
                rows = [row._mapping for row in connection.execute(table.select())]
                owned = [row for row in rows if _belongs(row, tenant, known)]
                known |= {value for row in owned for value in row.values() if isinstance(value, UUID)}
                kept[table.name] = sorted(repr(dict(row)) for row in owned)
        return kept

    def names_of_owner(self) -> set[str]:
        """Return every id that stands in a row of the owner, but for those that a stranger may know."""
        text = repr(self.rows_of())
        return {found.lower() for found in _GUID.findall(text)} - {str(OTHER_TENANT), str(OTHER_USER)}

    def close(self) -> None:
        self.hub.database.close()
        self.hub.tables.close()  # type: ignore[attr-defined]


def guids_in(text: str) -> set[str]:
    return {found.lower() for found in _GUID.findall(text)}


def _belongs(row: Mapping[str, Any], tenant: UUID, known: set[object]) -> bool:
    if "TenantId" in row:
        return bool(row["TenantId"] == tenant)
    return any(isinstance(value, UUID) and value in known for value in row.values())


@contextmanager
def owned_world(home: Path, **settings: Any) -> Iterator[OwnedWorld]:
    """A furnished `OwnedWorld` whose hub is the process's."""
    made = OwnedWorld(home, **settings)
    with serving(made.hub):
        made.furnish()
        yield made
    made.close()


async def _awaited(came: Awaitable[func.HttpResponse]) -> func.HttpResponse:
    return await came


def _functions() -> dict[tuple[str, str], Callable[[func.HttpRequest], Any]]:
    """Return the HTTP functions by method and path. The blueprints of the app, in an app of their own."""
    app = func.FunctionApp()
    for path in sorted((ROOT / "functions" / "http").glob("*/r*.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for value in {id(value): value for value in vars(module).values()}.values():
            blueprint = getattr(value, "bp", value)
            if isinstance(blueprint, func.Blueprint):
                app.register_functions(blueprint)
    found: dict[tuple[str, str], Callable[[func.HttpRequest], Any]] = {}
    for function in app.get_functions():
        for binding in function.get_dict_repr()["bindings"]:
            if binding["type"] == "httpTrigger":
                path_ = "/api/" + re.sub(r":[^}]*", "", binding["route"])
                for method in binding.get("methods", ()):
                    found[str(getattr(method, "value", method)), path_] = function.get_user_function()
    return found
