"""Who is calling, and what they may do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from domain.core.errors import Forbidden

#: Every permission the product checks; API key scopes are drawn from the same names (section 8.1).
PERMISSIONS: dict[str, str] = {
    "integration:manage": "Manage API keys; operate integrations: test, sync, health, logs",
    "integration:admin": "Create integrations and change their configuration and credentials",
    "webhook:manage": "Manage webhook subscriptions, their secrets and deliveries",
    "events:write": "Raise events",
    "insights:read": "Read signals, anomalies, the overview and the dashboard",
    "insights:manage": "Acknowledge and snooze anomalies",
    "audit:read": "Read and verify the audit log",
    "privacy:manage": "Export and erase the data of a person",
    "alerts:read": "Read alerts and their rules",
    "alerts:manage": "Acknowledge alerts and change their rules",
    "alerts:platform": "See the hub's own alerts, which are no tenant's",
    "metrics:read": "Read the hub's own metrics, which are of all tenants together",
    "apikey:verify": "Verify API keys of every tenant, as sibling services of the platform do",
}


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Where a request came from, for the audit log. `client` is its User-Agent, `country` that of the address, where
    a proxy tells it."""

    ip: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    client: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: a user of a tenant, or an API key acting for the user who created it. `expires_at` is
    when the token or key that it came with does; None where it does not, or does not say."""

    tenant_id: UUID
    user_id: UUID
    permissions: frozenset[str]
    name: str = ""
    api_key_id: UUID | None = None
    origin: RequestOrigin = field(default=RequestOrigin(), compare=False)
    expires_at: datetime | None = field(default=None, compare=False)

    def require(self, permission: str) -> None:
        """Raises Forbidden, naming the missing permission."""
        if permission not in self.permissions:
            raise Forbidden(
                f"This needs the permission '{permission}', which the caller does not have.",
                scopes=(permission,),
            )


_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def guid(value: object) -> UUID | None:
    """The GUID a claim holds in its one canonical spelling (8-4-4-4-12 hexadecimal digits), else None.

    Stricter than `UUID()`, which also takes braces, URNs and digits of other scripts: one tenant must
    not have several names."""
    return UUID(value) if isinstance(value, str) and _GUID.fullmatch(value) else None
