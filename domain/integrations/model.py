"""Integrations (section 2.1): a configured connection to an external system."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from domain.providers.contract import IntegrationType


class IntegrationStatus(IntEnum):
    Draft = 0
    PendingValidation = 1
    Active = 2
    Suspended = 3
    Disconnected = 4
    Error = 5


class HealthStatus(IntEnum):
    Healthy = 0
    Degraded = 1
    Unhealthy = 2
    Unknown = 3


class LogLevel(IntEnum):
    Debug = 0
    Information = 1
    Warning = 2
    Error = 3
    Critical = 4


class SuspensionCause(IntEnum):
    """Why an integration is suspended, which decides how it comes back."""

    Manual = 0  # a person suspended it, and a person ends the suspension
    Authentication = 1  # credentials refused: probed less and less often, resumes when they are accepted
    Grant = 2  # the OAuth grant was revoked; ends when it is authorised again


@dataclass(frozen=True, slots=True)
class Integration:
    """The aggregate of section 2.1.

    - `sealed_configuration`: everything but the secret fields, encrypted in the context `integration:<id>`.
    - `secret_name`: the name of the secret fields in the secret store, None when there are none.
    - `sealed_account`: what the provider said at the last validation, encrypted. `reason`: why it is not active.
    - `owner_id`: whose calendar it is; None: its creator's. Other types have no owner.
    - `account_hash`: which account at the provider it uses, as of the last validation; None before the first.
    - `client_hash`: the OAuth client that its grant was given to; None without a grant."""

    integration_id: UUID
    tenant_id: UUID
    name: str
    integration_type: IntegrationType
    provider: str
    status: IntegrationStatus
    sealed_configuration: str = field(repr=False)
    created_at: datetime
    created_by: UUID
    secret_name: str | None = None
    is_enabled: bool = True
    allow_tls_1_2: bool = False
    reason: str | None = None
    suspension: SuspensionCause | None = None
    validated_at: datetime | None = None
    sealed_account: str | None = field(default=None, repr=False)
    owner_id: UUID | None = None
    account_hash: str | None = None
    client_hash: str | None = None
    health_status: HealthStatus = HealthStatus.Unknown
    vitals: str | None = None
    consecutive_failures: int = 0
    probe_after: datetime | None = None
    last_health_check: datetime | None = None
    last_sync_time: datetime | None = None
    modified_at: datetime | None = None
    modified_by: UUID | None = None
    version: int = 1

    @property
    def owner(self) -> UUID:
        return self.owner_id or self.created_by


@dataclass(frozen=True, slots=True)
class IntegrationLog:
    """A log row (section 2.6). `details` is JSON text; neither it nor `message` holds a value of the configuration."""

    integration_log_id: UUID
    integration_id: UUID
    log_level: LogLevel
    message: str
    created_at: datetime
    details: str | None = None
    exception: str | None = None
    request_id: UUID | None = None


def configuration_context(integration_id: UUID) -> str:
    return f"integration:{integration_id}"
