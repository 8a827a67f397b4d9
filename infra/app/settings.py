"""Settings, read from the environment once and validated at start. Unset means embedded."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.providers.contract import IntegrationType


class OAuthAppSetting(BaseModel):
    """One OAuth client of HUB_OAUTH_APPS; its secret is in the secret store under `clientSecretName`."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    client_id: str = Field(min_length=1, max_length=300)
    client_secret_name: str = Field(pattern=r"^[A-Za-z0-9-]{1,127}$")
    scopes: list[str] = []
    configuration: dict[str, str] = {}


class Settings(BaseSettings):
    """Every setting with its unit and default.

    Names on the environment are `HUB_` + the upper-case name, except the few that Azure fixes
    (`ServiceBusConnection`, `APPLICATIONINSIGHTS_CONNECTION_STRING`)."""

    model_config = SettingsConfigDict(env_prefix="HUB_", extra="ignore", frozen=True)

    home: Path = Field(Path(".hub"), description="Directory of the embedded state")
    environment: Literal["development", "production"] = Field(
        "development",
        description="`development` allows http webhooks and outbound calls to loopback, and the development issuer",
    )
    public_url: str = Field(
        "http://localhost:7071", description="Address under which clients reach the API, without /api"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level logged"
    )

    # Dependencies: unset means the embedded twin under `home`.
    sql_connection: SecretStr | None = Field(
        None,
        description="ODBC connection string of Azure SQL. Without credentials the managed identity enters; without "
        "a driver the newest installed one is taken. Unset: SQLite under HUB_HOME",
    )
    sql_pool_size: int = Field(
        8, ge=1, le=100, description="SQL connections a process keeps; under load it opens as many more"
    )
    tables_endpoint: str | None = Field(
        None, description="Azure Tables endpoint (https://<account>.table.core.windows.net)"
    )
    tables_connection: SecretStr | None = Field(
        None, description="Azure Tables connection string, instead of the endpoint"
    )
    key_vault_url: str | None = Field(None, description="Key Vault address (https://<vault>.vault.azure.net)")
    signalr_endpoint: str | None = Field(
        None,
        description="Azure SignalR Service (https://<name>.service.signalr.net), entered with the managed identity; "
        "or set AzureSignalRConnectionString. Unset: messages go through the state directory",
    )
    managed_identity_client_id: str | None = Field(
        None, description="Client id of the user-assigned managed identity"
    )

    # Identity
    auth_issuer: str | None = Field(None, description="Token issuer; unset: the development issuer")
    auth_audience: str = Field("api://integration-hub", description="Audience a token must name")
    auth_jwks_url: str | None = Field(
        None, description="Where the issuer's keys are; unset: found by OpenID discovery"
    )
    auth_tenant_claim: str = Field("tid", description="Claim that holds the tenant id")
    auth_user_claim: str = Field("oid", description="Claim that holds the user id")
    auth_scp: Literal["needs-role", "grants"] = Field(
        "needs-role",
        description="What the scopes of a token (`scp`) do: `needs-role`: they bound what the user's roles allow; "
        "`grants`: they are permissions of their own, whatever the user may do",
    )
    auth_jwks_cache_seconds: int = Field(3600, ge=60, description="Seconds a key set is kept")
    auth_app_service: bool = Field(
        False,
        description="Trust X-MS-CLIENT-PRINCIPAL of App Service Authentication; only where it is switched on",
    )

    platform_tenant: UUID | None = Field(
        None,
        description="Tenant whose people may have the permission `platform:admin`, over all tenants; unset: nobody",
    )

    trusted_proxy_hops: int = Field(
        1,
        ge=0,
        le=10,
        description="Entries at the end of X-Forwarded-For that our own proxies wrote: 1 for the Functions front "
        "end, one more for each gateway before it; 0 believes none, and every client address is unknown",
    )

    # API keys and audit
    api_key_limit_per_tenant: int = Field(
        100, ge=1, le=10_000, description="Active API keys a tenant may have (BR-AK-03)"
    )
    api_key_scopes: str = Field(
        "bookings:read bookings:write customers:read customers:write events:read invoices:read "
        "payments:read reports:read tickets:read tickets:write venues:read",
        description="Scopes of the platform's other modules, for the catalogue; separated by spaces",
    )
    api_key_scopes_closed: bool = Field(
        False, description="Refuse scopes that are neither the hub's permissions nor in HUB_API_KEY_SCOPES"
    )
    api_key_usage_days: int = Field(92, ge=1, description="Days the hour buckets of usage are kept")
    user_rate_limit_per_hour: int = Field(
        360_000,
        ge=0,
        le=100_000_000,
        description="Requests a person's tokens may make in a tenant in 60 minutes; 0: any number",
    )
    rate_limit_fail: Literal["open", "closed"] = Field(
        "open",
        description="While the table store is down, requests with a key pass unlimited (open), or get 503 (closed)",
    )
    client_country_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]{1,60}$",
        description="Header in which our own proxy tells the country of a client's address, such as CF-IPCountry; "
        "only where every request passes that proxy. Unset: countries are unknown",
    )
    audit_checkpoints_url: str | None = Field(
        None,
        description="Container of the storage account that keeps signed heads of the audit log, with an "
        "immutability policy; unset: files in HUB_HOME",
    )
    audit_retention_days: int = Field(365, ge=1, description="Days the audit log is kept (17.2)")

    # Events and webhooks
    webhook_limit_per_tenant: int = Field(
        50, ge=1, le=500, description="Webhooks a tenant may have (BR-WH-07)"
    )
    webhook_max_retries: int = Field(5, ge=0, le=10, description="Platform cap on retries (BR-WH-03)")
    webhook_expiry_hours: int = Field(
        24, ge=1, le=168, description="Hours until an undelivered delivery expires (BR-WH-05)"
    )
    webhook_secret_overlap_hours: int = Field(
        24, ge=0, le=168, description="Hours the old secret signs beside the new one after a rotation"
    )
    webhook_verification: Literal["challenge", "any-2xx"] = Field(
        "challenge", description="What a receiver must answer to be verified: echo the challenge, or any 2xx"
    )
    webhook_verification_timeout_seconds: float = Field(
        10.0, gt=0, le=60, description="Seconds a receiver has to answer the verification"
    )
    webhook_retention_days: int = Field(30, ge=1, description="Days deliveries and events are kept (17.2)")
    incoming_repeat_days: int = Field(
        365, ge=1, description="Days the ids of incoming webhooks are kept, so that repeats are known"
    )
    webhook_disable_after_days: int = Field(
        5,
        ge=1,
        description="Days between failed deliveries, none succeeding, until a webhook is disabled",
    )
    webhook_disable_after_failures: int = Field(
        50, ge=5, description="Failed deliveries in a row, over an hour at least, until a webhook is disabled"
    )
    delivery_concurrency: int = Field(4000, ge=1, description="Posts in flight per process")
    delivery_concurrency_per_endpoint: int = Field(
        1000, ge=1, description="Posts in flight per webhook and process"
    )
    delivery_handoff_seconds: float = Field(
        0.05,
        gt=0,
        description="Seconds a queue batch waits for its posts; slower ones go on in the background under their lease",
    )
    delivery_lease_margin_seconds: int = Field(
        30, ge=5, description="Seconds a delivery's lease outlasts its timeout"
    )
    loop_echoes_per_minute: int = Field(
        100,
        ge=0,
        description="Events a minute of one type that went round 8 times before they are held as a loop; 0: never",
    )
    event_max_bytes: int = Field(1024 * 1024, ge=1024, description="Bytes of an event's payload (BR-WH-08)")
    request_max_bytes: int = Field(
        8 * 1024 * 1024,
        ge=1024,
        description="Bytes of the largest request body, a batch of events; above 16 MiB the host's "
        "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT must grow with it",
    )
    bodies_max_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of request bodies that a process works on at a time; beyond, 503 with Retry-After",
    )

    # Integrations
    disabled_integration_types: str = Field(
        "", description="Integration types switched off, separated by commas, such as `CRM,Storage` (16.2)"
    )
    health_check_concurrency: int = Field(
        100, ge=1, le=1000, description="Integrations of a tenant checked at a time"
    )
    health_sample_days: int = Field(8, ge=7, le=90, description="Days health check results are kept")
    integration_log_days: int = Field(90, ge=1, description="Days integration logs are kept (17.2)")
    oauth_apps: dict[str, OAuthAppSetting] = Field(
        {},
        description="JSON of the installation's own OAuth clients by provider, for integrations that bring none: "
        '`{"Google": {"clientId": "...", "clientSecretName": "oauth-app-google"}}` (docs/oauth.md)',
    )
    oauth_same_browser: bool | None = Field(
        None,
        description="Refuse an OAuth callback without the cookie that the asking browser was given; unset: in "
        "production only",
    )

    # Data synchronisation
    sync_concurrency: int = Field(
        50, ge=1, le=1000, description="Sync jobs running at a time, over all tenants (9.2)"
    )
    sync_batch_records: int = Field(
        1000, ge=1, le=10_000, description="Most records of one sync batch (BR-DS-03)"
    )
    sync_log_days: int = Field(180, ge=1, description="Days sync jobs and their logs are kept (17.2)")

    # What others wrote
    parse_processes: int = Field(
        2, ge=1, le=16, description="Processes that read large or costly answers of providers"
    )
    parse_seconds: float = Field(
        30.0, gt=0, le=300, description="Seconds such a process has for one answer, or one batch of mappings"
    )
    parse_memory_mb: int = Field(1024, ge=256, description="Megabytes such a process may have")

    # Alerts
    alert_days: int = Field(90, ge=1, le=3650, description="Days alerts are kept after they recovered")

    # Insights
    signal_days: int = Field(90, ge=8, le=732, description="Days hourly signals are kept")
    usage_days: int = Field(
        92, ge=1, le=732, description="Days the hours of a tenant's usage are kept (GET /api/usage)"
    )
    usage_months: int = Field(36, ge=1, le=120, description="Months the months of a tenant's usage are kept")
    usage_store_seconds: float = Field(
        5.0,
        ge=0,
        le=300,
        description="Seconds for which a process gathers usage before it stores it; 0: until it is read or the end",
    )
    openai_endpoint: str | None = Field(
        None,
        description="Azure OpenAI (https://<name>.openai.azure.com) that ranks and words recommendations; unset: the "
        "rules do",
    )
    openai_deployment: str = Field(
        "recommendations", description="Deployment of the model at HUB_OPENAI_ENDPOINT"
    )
    openai_key: SecretStr | None = Field(
        None, description="Key of HUB_OPENAI_ENDPOINT; unset: entered with the managed identity"
    )
    openai_reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = Field(
        None, description="Sent to models that reason; unset: not sent, which other models need"
    )
    openai_timeout_seconds: float = Field(
        10.0, gt=0, le=60, description="Seconds the model has; then recommendations come in the rules' words"
    )
    openai_tokens_per_day: int = Field(
        100_000, ge=0, description="Tokens a tenant's recommendations may cost per day (UTC)"
    )

    idempotency_hours: int = Field(24, ge=1, description="Hours an Idempotency-Key is remembered")

    @field_validator("platform_tenant", mode="before")
    @classmethod
    def _takes_empty_for_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("disabled_integration_types")
    @classmethod
    def _knows_the_types(cls, value: str) -> str:
        for name in _names(value):
            if name not in IntegrationType.__members__:
                raise ValueError(
                    f"{name!r} is no integration type; there are {', '.join(IntegrationType.__members__)}"
                )
        return value

    @field_validator("oauth_apps")
    @classmethod
    def _knows_the_providers(cls, value: dict[str, OAuthAppSetting]) -> dict[str, OAuthAppSetting]:
        if value:
            from infra.providers.registry import all_providers  # here: its modules take long to import

            providers = all_providers()
            for name in value:
                if name not in providers or providers[name].profile.oauth is None:
                    raise ValueError(f"{name!r} is no provider that is authorised by OAuth")
        return value

    @cached_property
    def disabled_types(self) -> frozenset[IntegrationType]:
        """`disabled_integration_types` as such."""
        return frozenset(IntegrationType[name] for name in _names(self.disabled_integration_types))

    @property
    def is_development(self) -> bool:
        return self.environment == "development"

    @property
    def needs_same_browser(self) -> bool:
        """`oauth_same_browser`, or what it is when unset."""
        return not self.is_development if self.oauth_same_browser is None else self.oauth_same_browser

    @cached_property
    def service_bus_connection(self) -> str | None:
        """`ServiceBusConnection`, the connection setting the triggers name too."""
        return os.environ.get("ServiceBusConnection") or None  # noqa: SIM112 - the binding fixes the name's case

    @cached_property
    def service_bus_namespace(self) -> str | None:
        """`ServiceBusConnection__fullyQualifiedNamespace`, for managed identity."""
        return os.environ.get("ServiceBusConnection__fullyQualifiedNamespace") or None  # noqa: SIM112

    @cached_property
    def application_insights(self) -> SecretStr | None:
        """`APPLICATIONINSIGHTS_CONNECTION_STRING`, the name that the Functions host uses too."""
        text = os.environ.get("APPLICATIONINSIGHTS_CONNECTION_STRING")
        return SecretStr(text) if text else None

    @cached_property
    def otlp_endpoint(self) -> str | None:
        """`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`, OpenTelemetry's own names."""
        names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        return next((value for name in names if (value := os.environ.get(name))), None)

    @cached_property
    def signalr_connection(self) -> SecretStr | None:
        """`AzureSignalRConnectionString`, the name that Azure's own SignalR bindings use."""
        text = os.environ.get("AzureSignalRConnectionString")  # noqa: SIM112
        return SecretStr(text) if text else None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
