"""The whole hub over embedded adapters, with Google integrations that live on the local authorization server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal, RequestOrigin
from domain.integrations.commands import CreateIntegration
from domain.integrations.model import Integration
from domain.integrations.service import IntegrationService
from domain.oauth.completion import CallbackHandler
from domain.oauth.grants import GrantStore
from domain.oauth.model import Authorize, Callback, Completion, Grant
from domain.oauth.refresh import TokenRefresher
from domain.oauth.service import OAuthService
from domain.oauth.tokens import OAuthTokens
from infra.app.build import build
from infra.app.settings import Settings
from tests.fixtures.oauth_server import OAuthServer
from tests.worlds.builders import (
    OTHER_TENANT,
    OTHER_USER,
    TENANT,
    USER,
    FakeClock,
    MemoryQueue,
    new_database,
    see_users,
)

T = TypeVar("T")
OWNER = Principal(TENANT, USER, frozenset(PERMISSIONS), name="Owner")
COLLEAGUE = Principal(TENANT, OTHER_USER, frozenset(("integration:manage",)))
STRANGER = Principal(OTHER_TENANT, OTHER_USER, frozenset(PERMISSIONS))


@dataclass
class Begun:
    """An authorization whose user agreed, before the callback."""

    state: str
    code: str
    error: str
    cookie: tuple[str, str]


class OAuthWorld:
    def __init__(
        self, home: Path, server: OAuthServer, clock: Any = None, tracer: Any = None, **settings: Any
    ) -> None:
        new_database(home)
        self.home, self.server, self.clock = home, server, clock or FakeClock()
        self.queue = MemoryQueue(self.clock)
        self.hub = build(Settings(home=home, **settings), clock=self.clock, queue=self.queue, tracer=tracer)
        see_users(self.hub, OWNER, COLLEAGUE, STRANGER)

    def integration(self, owner: Principal = OWNER, **fields: Any) -> UUID:
        """A Google calendar that waits to be authorised."""
        body = {
            "name": "Calendar",
            "integrationType": "CalendarSync",
            "provider": "Google",
            "configuration": self.server.configuration(),
            "activate": False,
            **fields,
        }
        command = CreateIntegration.model_validate(body)
        return self.run(self.hub.use(IntegrationService).create(owner, command)).integration.integration_id

    def begin(self, integration_id: UUID, owner: Principal = OWNER, **fields: Any) -> Begun:
        begun = self.hub.use(OAuthService).authorize(owner, integration_id, Authorize(**fields))
        brought = self.server.consent(begun.authorize_url)
        cookie = (begun.browser_name, begun.browser_secret)
        return Begun(brought["state"], brought.get("code", ""), brought.get("error", ""), cookie)

    def callback(self, begun: Begun, **changes: Any) -> Completion:
        given = {
            "state": begun.state,
            "code": begun.code,
            "error": begun.error,
            "cookies": [begun.cookie],
            **changes,
        }
        return self.run(self.hub.use(CallbackHandler).complete(Callback(**given), RequestOrigin()))

    def refresh_ahead(self) -> dict[str, int]:
        """What the timer does."""
        return dict(self.run(self.hub.use(TokenRefresher).refresh_due()))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """On an event loop that leaves no connection behind."""

        async def and_close() -> T:
            try:
                return await work
            finally:
                await self.hub.http.close()

        return asyncio.run(and_close())

    def connected(self, owner: Principal = OWNER, **fields: Any) -> Integration:
        """An active integration with a fresh token."""
        integration_id = self.integration(owner, **fields)
        completion = self.callback(self.begin(integration_id, owner))
        assert completion.status == "connected", completion
        return self.now(integration_id)

    def now(self, integration_id: UUID) -> Integration:
        with self.hub.transactions.read() as tx:
            found = tx.integrations.find(integration_id)
        assert found is not None
        return found

    def grant(self, integration_id: UUID) -> Grant:
        found = self.hub.use(GrantStore).get(integration_id)
        assert found is not None
        return found

    def current(self, integration_id: UUID) -> str | None:
        return self.hub.use(OAuthTokens).current(self.now(integration_id))

    def events(self, type_: str) -> list[str]:
        with self.hub.database.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT Payload FROM DomainEvents WHERE EventType = ?", (type_,)
            )
            return [str(row[0]) for row in rows]

    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for queue, message in self.queue.sent if queue == "alerts"]

    def close(self) -> None:
        self.hub.database.close()
