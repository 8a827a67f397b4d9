"""A hub over a fresh directory, with a clock that stands still until it is moved."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from domain.apikeys.key_format import PlainKey
from domain.apikeys.model import CreateApiKey
from domain.apikeys.service import ApiKeyService, Issued
from domain.apikeys.verifier import KeyVerifier, VerificationRequest, VerificationResult
from domain.authentication.service import Authenticator, Credentials
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal, RequestOrigin
from infra.app.build import build
from infra.sql.journal.tables import domain_events
from tests.worlds.builders import FakeClock, new_database, settings_at

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class ApiKeyWorld:
    def __init__(self, home: Path, **settings: Any) -> None:
        new_database(home)
        self.clock = FakeClock(START)
        self.hub = build(settings_at(home, **settings), clock=self.clock)
        self.admin = self.user()

    def user(self, *permissions: str, tenant: UUID | None = None) -> Principal:
        """Add a user of a new tenant, or of `tenant`, with every permission of an administrator unless given others."""
        granted = frozenset(permissions or PERMISSIONS.keys() - {"apikey:verify"})
        user = Principal(
            tenant or uuid4(),
            uuid4(),
            granted,
            "Ada",
            origin=RequestOrigin("192.0.2.1", "request-1", "ab" * 16),
        )
        with self.hub.transactions.write() as tx:
            tx.users.see(user.tenant_id, user.user_id, user.name, self.clock.now())
            tx.commit()
        return user

    def issue(self, principal: Principal | None = None, **fields: Any) -> Issued:
        command = CreateApiKey.model_validate({"keyName": "Key", "scopes": ["events:read"], **fields})
        return self.hub.use(ApiKeyService).create(principal or self.admin, command)

    def caller(self, issued: Issued) -> Principal:
        """Return who a request with this key comes from."""
        return self.hub.use(Authenticator).authenticate(Credentials(api_key=issued.plain.text)).require()

    def verify(
        self, plain: PlainKey, *scopes: str, ip: str | None = None, consume: bool = True
    ) -> VerificationResult:
        return self.hub.use(KeyVerifier).verify(VerificationRequest(plain.hash, scopes, ip, consume))

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        with self.hub.database.read() as connection:
            rows = connection.execute(domain_events.select().order_by(domain_events.c.Sequence)).mappings()
            return [(row["EventType"], json.loads(row["Payload"])) for row in rows]
