"""All providers with their real adapters over one hub, where every request to a provider is written down."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import httpx

from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal
from domain.integrations.commands import (
    ActivateIntegration,
    CreateIntegration,
    RotateCredentials,
    UpdateIntegration,
)
from domain.integrations.credentials import CredentialService
from domain.integrations.lifecycle import Lifecycle, LifecycleResult
from domain.integrations.model import Integration
from domain.integrations.service import IntegrationService
from infra.app.build import build
from tests.worlds.builders import TENANT, USER, FakeClock, MemoryQueue, new_database, see_users, settings_at
from tests.worlds.provider_cases import CASES


class VendorsWorld:
    """Answers every request with 401 and keeps it; `token` is the access token of every integration."""

    def __init__(self, home: Path) -> None:
        new_database(home)
        self.requests: list[httpx.Request] = []
        self.clock = FakeClock()
        self.queue = MemoryQueue(self.clock)
        self.token: str | None = None
        self.hub = build(
            settings_at(home, environment="development"),
            clock=self.clock,
            queue=self.queue,
            provider_transport=httpx.MockTransport(self._answer),
            access_tokens=self,
        )
        self.principal = Principal(TENANT, USER, frozenset(PERMISSIONS))
        see_users(self.hub, self.principal)

    def current(self, integration: Integration, plain: Mapping[str, Any] | None = None) -> str | None:
        """AccessTokens."""
        return self.token

    def renewed(self, integration: Integration, refused: str) -> str | None:
        """AccessTokens."""
        return None

    async def draft(
        self, provider: str, *, home: str = "http://127.0.0.1:9", **changes: Any
    ) -> tuple[Integration, dict[str, Any]]:
        """Create the integration of a provider's case as a draft; also return what was sent."""
        whole = {**CASES[provider].configuration(home), **changes}
        sent = {name: value for name, value in whole.items() if value is not None}
        body = {
            "name": f"One of {provider}",
            "integrationType": CASES[provider].provider.profile.integration_type.name,
            "provider": provider,
            "configuration": sent,
            "activate": False,
        }
        command = CreateIntegration.model_validate_json(json.dumps(body))
        result = await self.hub.use(IntegrationService).create(self.principal, command)
        return result.integration, sent

    async def put(self, integration: Integration, **fields: Any) -> LifecycleResult:
        command = UpdateIntegration.model_validate_json(json.dumps(fields))
        service = self.hub.use(CredentialService)
        return await service.update(self.principal, integration.integration_id, command, None)

    async def rotate(self, integration: Integration, credentials: Mapping[str, Any]) -> LifecycleResult:
        command = RotateCredentials.model_validate_json(json.dumps({"credentials": credentials}))
        return await self.hub.use(CredentialService).rotate(
            self.principal, integration.integration_id, command
        )

    async def activate(self, integration: Integration) -> LifecycleResult:
        wanted = ActivateIntegration()
        return await self.hub.use(Lifecycle).activate(self.principal, integration.integration_id, wanted)

    def seen_at(self, host: str) -> str:
        """What a host was sent: addresses, headers and bodies, as written, unescaped and with Basic decoded."""
        texts = []
        for request in self.requests:
            if request.url.host == host:
                headers = " ".join(request.headers.values())
                texts.append(f"{request.url} {headers} {request.content.decode(errors='replace')}")
                kind, _, encoded = request.headers.get("authorization", "").partition(" ")
                if kind == "Basic":
                    texts.append(base64.b64decode(encoded).decode(errors="replace"))
        return "\n".join([*texts, *map(unquote_plus, texts)])

    def audited(self) -> list[tuple[str, dict[str, Any]]]:
        """Action and after of every audit row, oldest first."""
        with self.hub.database.read() as connection:
            rows = connection.exec_driver_sql("SELECT Action, After FROM AuditLog ORDER BY Sequence").all()
        return [(action, json.loads(after or "{}")) for action, after in rows]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(401, json={})

    def close(self) -> None:
        self.hub.database.close()
