"""Every permission that the product checks; apart from other files because use cases and routes name the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

INTEGRATION_MANAGE: Final = "integration:manage"
INTEGRATION_ADMIN: Final = "integration:admin"
CALENDAR_CONNECT: Final = "calendar:connect"
WEBHOOK_MANAGE: Final = "webhook:manage"
EVENTS_WRITE: Final = "events:write"
INSIGHTS_READ: Final = "insights:read"
INSIGHTS_MANAGE: Final = "insights:manage"
AUDIT_READ: Final = "audit:read"
PRIVACY_MANAGE: Final = "privacy:manage"
ALERTS_READ: Final = "alerts:read"
ALERTS_MANAGE: Final = "alerts:manage"
ALERTS_PLATFORM: Final = "alerts:platform"
METRICS_READ: Final = "metrics:read"
APIKEY_VERIFY: Final = "apikey:verify"
PLATFORM_ADMIN: Final = "platform:admin"

#: What each permission lets its holder do; the scopes of API keys are drawn from the same names (section 8.1).
PERMISSIONS: Final[Mapping[str, str]] = {
    INTEGRATION_MANAGE: "Manage API keys; operate integrations: test, sync, health, logs",
    INTEGRATION_ADMIN: "Create integrations and change their configuration and credentials",
    CALENDAR_CONNECT: "Connect, read, synchronise and disconnect one's own calendars, and nothing else",
    WEBHOOK_MANAGE: "Manage webhook subscriptions, their secrets and deliveries",
    EVENTS_WRITE: "Raise events",
    INSIGHTS_READ: "Read signals, anomalies, the overview and the dashboard",
    INSIGHTS_MANAGE: "Acknowledge and snooze anomalies",
    AUDIT_READ: "Read and verify the audit log",
    PRIVACY_MANAGE: "Export and erase the data of a person",
    ALERTS_READ: "Read alerts and their rules",
    ALERTS_MANAGE: "Acknowledge alerts and change their rules",
    ALERTS_PLATFORM: "See the hub's own alerts, which belong to no tenant",
    METRICS_READ: "Read the hub's metrics over all tenants",
    APIKEY_VERIFY: "Verify API keys of every tenant, as sibling services of the platform do",
    PLATFORM_ADMIN: "List, limit, suspend and delete tenants; only in tokens of people of the platform's own tenant",
}
#: What no API key ever has, and nobody of a tenant but the platform's own (HUB_PLATFORM_TENANT).
PLATFORM_ONLY: Final = frozenset({PLATFORM_ADMIN})
