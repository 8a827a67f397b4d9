"""Integrations, wired for tests: SQLite, secrets and queue in memory, a scripted vendor, a clock that is moved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
from pydantic import Field

from domain.core.errors import Unavailable
from domain.core.paging import PageRequest
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.integrations.commands import ActivateIntegration, CreateIntegration, UpdateIntegration
from domain.integrations.connection import Catalogue
from domain.integrations.credential_store import CredentialStore
from domain.integrations.credentials import CredentialService
from domain.integrations.health import HealthMonitor
from domain.integrations.lifecycle import Lifecycle, LifecycleResult
from domain.integrations.model import Integration, IntegrationLog
from domain.integrations.ports import LogFilter
from domain.integrations.service import IntegrationService
from domain.providers.contract import (
    DESTINATION,
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderFailure,
    ProviderProfile,
    Secret,
    TestOptions,
    TestResult,
    TestStep,
)
from domain.providers.oauth_profile import OAuthProfile
from infra.app.build import build
from tests.worlds.builders import (
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    USER,
    FakeClock,
    FlakyDatabase,
    HeardRealtime,
    MemoryQueue,
    new_database,
    see_users,
    settings_at,
)

GOOD_KEY = "sk_test_good_0123456789"
OTHER_KEY = "sk_test_other_987654321"


class Killed(BaseException):
    """The process died here: nothing after it runs, not even `except Exception`."""


class MemorySecrets:
    """A secret store; `fail` is called with (operation, name) before each and may raise."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.fail: Callable[[str, str], None] = lambda operation, name: None

    def get(self, name: str, version: str | None = None) -> str | None:
        self.fail("get", name)
        return self.values.get(name)

    def set(self, name: str, value: str) -> str:
        self.fail("set", name)
        self.values[name] = value
        self.fail("after-set", name)
        return "1"

    def delete(self, name: str) -> bool:
        self.fail("delete", name)
        return self.values.pop(name, None) is not None

    def ping(self) -> None:
        self.names()

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.values if name.startswith(prefix))

    def credentials(self) -> list[str]:
        """The names of integrations' secrets."""
        return self.names("integration-")


class Gate:
    """Holds calls until it is opened."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._arrival = asyncio.Condition()
        self._waiting = 0

    async def wait(self) -> None:
        async with self._arrival:
            self._waiting += 1
            self._arrival.notify_all()
        await self._open.wait()

    async def reached_by(self, calls: int = 1) -> None:
        """Until so many calls are held."""
        async with self._arrival:
            await asyncio.wait_for(self._arrival.wait_for(lambda: self._waiting >= calls), timeout=20)

    def open(self) -> None:
        self._open.set()


class VendorConfiguration(Configuration):
    api_key: str = Secret("Key", min_length=4)
    webhook_secret: str | None = Secret("Signing secret", travels=False, default=None)
    currency: str = Field("USD", description="Currency")
    base_url: Annotated[str, DESTINATION] = Field("https://vendor.example", description="Address")


class Vendor(Provider):
    """A provider that accepts some keys. `failure` fails every call, `test_failure` the test alone; calls wait
    for `gate` when there is one."""

    def __init__(
        self, name: str, kind: IntegrationType, *, oauth: OAuthProfile | None = None, test_mode: bool = True
    ) -> None:
        self.profile = ProviderProfile(  # type: ignore[misc]
            name=name,
            title=name,
            integration_type=kind,
            documentation_url="https://vendor.example/docs",
            configuration=VendorConfiguration,
            capabilities=frozenset(Capability),
            oauth=oauth,
        )
        self.test_mode = test_mode
        self.accepts = {GOOD_KEY, OTHER_KEY}
        self.failure: ProviderFailure | None = None
        self.test_failure: ProviderFailure | None = None
        self.gate: Gate | None = None
        self.calls: list[str] = []
        self.tested: list[TestOptions] = []
        self.delivered = True
        self.in_flight = self.most_in_flight = 0

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        await self._call("validate", connection)
        return CredentialCheck("acct_1", ("read",), test_mode=self.test_mode)

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        await self._call("test", connection)
        self.tested.append(options)
        if self.test_failure is not None:
            raise self.test_failure
        if self.profile.integration_type in (IntegrationType.EmailService, IntegrationType.SMSService):
            return TestResult([TestStep("send", "sent", "msg_1")], self.delivered)
        return TestResult([TestStep("charge", "made", "ch_1"), TestStep("refund", "made", "re_1")])

    async def probe(self, connection: Connection) -> None:
        await self._call("probe", connection)

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        return IncomingAnswer()

    async def _call(self, what: str, connection: Connection) -> None:
        self.calls.append(what)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.in_flight -= 1
        if self.failure is not None:
            raise self.failure
        if connection.configuration.api_key not in self.accepts:
            raise ProviderFailure("unauthorized", "No such key.", status=401)


class IntegrationWorld:
    def __init__(
        self,
        home: Path,
        *,
        disabled: Collection[IntegrationType] = (),
        tokens: Mapping[UUID, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        **adapters: Any,
    ) -> None:
        new_database(home)
        self.home = home
        self.clock, self.secrets = FakeClock(), MemorySecrets()
        self.queue = MemoryQueue(self.clock)
        self.database, self.realtime = FlakyDatabase(home), HeardRealtime()
        self.tokens: dict[UUID, str] = dict(tokens or {})
        self.stripe = Vendor("Stripe", IntegrationType.PaymentGateway)
        self.mail = Vendor("SendGrid", IntegrationType.EmailService)
        self.sms = Vendor("Twilio", IntegrationType.SMSService)
        self.api = Vendor("REST", IntegrationType.CustomAPI)
        self.calendar = Vendor("iCal", IntegrationType.CalendarSync)
        self.google = Vendor(
            "Google",
            IntegrationType.CalendarSync,
            oauth=OAuthProfile("https://a.example", "https://t.example", ()),
        )
        vendors: list[Vendor] = [self.stripe, self.mail, self.sms, self.api, self.calendar, self.google]
        self.providers: dict[str, Provider] = {vendor.profile.name: vendor for vendor in vendors}
        self.hub = build(
            settings_at(home, health_check_concurrency=10, **(settings or {})),
            clock=self.clock,
            database=self.database,
            queue=self.queue,
            secrets=self.secrets,
            provider_transport=httpx.MockTransport(lambda request: httpx.Response(500)),
            realtime=self.realtime,
            catalogue=Catalogue(self.providers, disabled),
            access_tokens=self,
            **adapters,
        )
        self.ids, self.cipher, self.tables = self.hub.ids, self.hub.cipher, self.hub.tables
        self.transactions = self.hub.transactions
        self.principal = Principal(TENANT, USER, frozenset(PERMISSIONS))
        self.other = Principal(OTHER_TENANT, OTHER_USER, frozenset(PERMISSIONS))
        see_users(self.hub, self.principal, self.other)

    def close(self) -> None:
        self.database.close()
        self.tables.close()

    def current(self, integration: Integration, plain: Mapping[str, Any] | None = None) -> str | None:
        """AccessTokens."""
        return self.tokens.get(integration.integration_id)

    def renewed(self, integration: Integration, refused: str) -> str | None:
        """AccessTokens: a token that was refused has no successor here."""
        return None

    async def create(
        self,
        provider: str = "Stripe",
        *,
        owner: Principal | None = None,
        key: str = GOOD_KEY,
        name: str = "Payments",
        configuration: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> LifecycleResult:
        kind = self.hub.catalogue.get(provider).profile.integration_type.name
        body = {
            "name": name,
            "integrationType": kind,
            "provider": provider,
            "configuration": {"apiKey": key, **(configuration or {})},
            **fields,
        }
        command = CreateIntegration.model_validate_json(json.dumps(body))
        return await self.hub.use(IntegrationService).create(owner or self.principal, command)

    async def put(
        self, integration: Integration, if_match: int | None = None, **fields: Any
    ) -> LifecycleResult:
        command = UpdateIntegration.model_validate_json(json.dumps(fields))
        return await self.hub.use(CredentialService).update(
            self.principal, integration.integration_id, command, if_match
        )

    async def activate(self, integration: Integration) -> LifecycleResult:
        return await self.hub.use(Lifecycle).activate(
            self.principal, integration.integration_id, ActivateIntegration()
        )

    def now(self, integration: Integration | LifecycleResult) -> Integration:
        """As it is stored."""
        found = integration.integration if isinstance(integration, LifecycleResult) else integration
        with self.transactions.read() as tx:
            return tx.integrations.get(found.tenant_id, found.integration_id)

    async def check(self, rounds: int = 1) -> None:
        """Rounds of health checks, five minutes apart."""
        for _ in range(rounds):
            self.clock.advance(minutes=5)
            await self.hub.use(HealthMonitor).check_due()

    def logs(self, integration: Integration | LifecycleResult) -> list[IntegrationLog]:
        """Newest first."""
        stored = self.now(integration)
        with self.transactions.read() as tx:
            return list(
                tx.integration_logs.page(stored.integration_id, LogFilter(), PageRequest(1, 200)).items
            )

    def raised(self, type_: str) -> list[dict[str, Any]]:
        """The data of every stored event of a type."""
        return [
            json.loads(row[0])
            for row in self.rows("SELECT Payload FROM DomainEvents WHERE EventType = ?", type_)
        ]

    def audited(self) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Action, before and after of every audit row, oldest first."""
        rows = self.rows("SELECT Action, Before, After FROM AuditLog ORDER BY Sequence")
        return [(action, json.loads(old or "{}"), json.loads(new or "{}")) for action, old, new in rows]

    def rows(self, statement: str, *arguments: Any) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.exec_driver_sql(statement, arguments))

    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for queue, message in self.queue.sent if queue == "alerts"]

    def sweep(self) -> int:
        return self.hub.use(CredentialStore).sweep(self.transactions)


def down(operation: str, name: str) -> None:
    """A secret store that does not answer."""
    raise Unavailable("The secret store does not answer.")
