"""Where a provider posts its webhooks, as an end-to-end test reaches it."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from bench.harness import HostProcess
from domain.integrations.model import Integration
from tests.worlds.azure_services import hub_beside
from tests.worlds.hub_api import Api
from tests.worlds.incoming_world import (
    STRIPE,
    Signed,
    seed,
)


class Door:
    """A tenant of a running host, with integrations stored beside it and requests sent as providers send them."""

    def __init__(self, host: HostProcess) -> None:
        self.host = host
        self.tenant, self.user = uuid4(), uuid4()
        self.api = Api(host, host.token("--tenant", str(self.tenant), "--user", str(self.user)))
        self.hub = hub_beside(host.home)

    def integration(self, provider: str = "Stripe", **configuration: Any) -> Integration:
        return seed(
            self.hub,
            tenant=self.tenant,
            user=self.user,
            provider=provider,
            configuration=configuration or STRIPE,
        )

    def public_url(self, integration: Integration) -> str:
        status, settings = self.api("GET", f"/integrations/{integration.integration_id}/incoming")
        assert status == 200, settings
        return str(settings["url"])

    def post(
        self, path: str, body: bytes, headers: dict[str, str], method: str = "POST"
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.host.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, named, answer.read()
        finally:
            connection.close()

    def send(self, integration: Integration, signed: Signed) -> tuple[int, Any]:
        path = f"/api/webhooks/incoming/{integration.integration_id}"
        status, _, body = self.post(path, signed.body, signed.headers)
        return status, json.loads(body)

    def events(self, integration: Integration, query: str = "") -> list[dict[str, Any]]:
        path = f"/webhooks/incoming/{integration.integration_id}/events?pageSize=200{query}"
        status, page = self.api("GET", path)
        assert status == 200, page
        return list(page["items"])


def now() -> datetime:
    return datetime.now(UTC)
