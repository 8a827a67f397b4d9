"""Builds the use cases of integrations."""

from __future__ import annotations

from datetime import timedelta

from domain.integrations.changes import ChangeRecorder
from domain.integrations.connection import ConnectionCache, Connector
from domain.integrations.credential_store import CredentialStore
from domain.integrations.credentials import CredentialService
from domain.integrations.health import HealthMonitor
from domain.integrations.health_history import HealthSamples, IntegrationHistory
from domain.integrations.health_record import HealthRecorder
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.oauth_apps import OAuthApp, OAuthApps
from domain.integrations.service import IntegrationNotifier, IntegrationService, IntegrationTester
from domain.integrations.validation import CredentialValidator
from domain.journal.occurrences import OccurrenceSender
from domain.oauth.revocation import GrantRevoker
from infra.app.hub import Hub, builds


@builds
def credential_store(hub: Hub) -> CredentialStore:
    return CredentialStore(hub.secrets, hub.cipher, hub.clock)


@builds
def connector(hub: Hub) -> Connector:
    return Connector(
        hub.catalogue,
        hub.use(CredentialStore),
        hub.access_tokens,
        hub.open_http,
        apps=hub.use(OAuthApps),
        work=hub.untrusted_work,
        clock=hub.clock,
    )


@builds
def oauth_apps(hub: Hub) -> OAuthApps:
    apps = {
        provider: OAuthApp(app.client_id, app.client_secret_name, app.scopes, app.configuration)
        for provider, app in hub.settings.oauth_apps.items()
    }
    return OAuthApps(apps, hub.secrets)


@builds
def connection_cache(hub: Hub) -> ConnectionCache:
    return ConnectionCache(hub.use(Connector))


@builds
def change_recorder(hub: Hub) -> ChangeRecorder:
    return ChangeRecorder(hub.clock, hub.ids)


@builds
def credential_validator(hub: Hub) -> CredentialValidator:
    return CredentialValidator(hub.use(Connector))


@builds
def lifecycle(hub: Hub) -> Lifecycle:
    return Lifecycle(
        hub.transactions,
        hub.use(CredentialValidator),
        hub.use(CredentialStore),
        hub.use(ChangeRecorder),
        occurrences=hub.use(OccurrenceSender),
        clock=hub.clock,
        disabled_types=hub.catalogue.disabled_types,
        on_disconnect=hub.use(GrantRevoker).forget,
    )


@builds
def integration_service(hub: Hub) -> IntegrationService:
    return IntegrationService(
        hub.transactions,
        hub.catalogue,
        hub.use(CredentialStore),
        apps=hub.use(OAuthApps),
        lifecycle=hub.use(Lifecycle),
        changes=hub.use(ChangeRecorder),
        clock=hub.clock,
        ids=hub.ids,
        allow_loopback=hub.settings.is_development,
    )


@builds
def credential_service(hub: Hub) -> CredentialService:
    return CredentialService(
        hub.transactions,
        hub.catalogue,
        hub.use(CredentialStore),
        hub.use(CredentialValidator),
        apps=hub.use(OAuthApps),
        lifecycle=hub.use(Lifecycle),
        changes=hub.use(ChangeRecorder),
        occurrences=hub.use(OccurrenceSender),
        on_moved=hub.use(GrantRevoker).withdraw,
        allow_loopback=hub.settings.is_development,
    )


@builds
def integration_tester(hub: Hub) -> IntegrationTester:
    return IntegrationTester(
        hub.transactions,
        hub.use(CredentialValidator),
        lifecycle=hub.use(Lifecycle),
        changes=hub.use(ChangeRecorder),
        clock=hub.clock,
    )


@builds
def health_samples(hub: Hub) -> HealthSamples:
    return HealthSamples(hub.tables, retention=timedelta(days=hub.settings.health_sample_days))


@builds
def health_monitor(hub: Hub) -> HealthMonitor:
    recorder = HealthRecorder(
        hub.transactions,
        hub.use(Lifecycle),
        hub.use(ChangeRecorder),
        ids=hub.ids,
        realtime=hub.realtime,
    )
    return HealthMonitor(
        hub.transactions,
        hub.use(Connector),
        recorder,
        hub.use(HealthSamples),
        occurrences=hub.use(OccurrenceSender),
        clock=hub.clock,
        concurrency=hub.settings.health_check_concurrency,
        disabled_types=hub.catalogue.disabled_types,
        tracer=hub.tracer,
    )


@builds
def integration_history(hub: Hub) -> IntegrationHistory:
    retention = timedelta(days=hub.settings.integration_log_days)
    return IntegrationHistory(hub.transactions, hub.use(HealthSamples), hub.clock, log_retention=retention)


@builds
def integration_notifier(hub: Hub) -> IntegrationNotifier:
    return IntegrationNotifier(hub.transactions, hub.use(Connector), hub.use(Lifecycle))
