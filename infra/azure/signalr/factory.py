"""SignalR Service as the settings name it."""

from __future__ import annotations

from domain.core.ports import Clock
from infra.app.settings import Settings
from infra.azure.signalr.access import Access, IdentityAccess, KeyAccess
from infra.azure.signalr.realtime import AzureSignalR


def azure_signalr(settings: Settings, clock: Clock) -> AzureSignalR:
    """Return SignalR Service as the settings name it. Raises ValueError for a connection string that is none."""
    access: Access
    if settings.signalr_connection is not None:
        access = KeyAccess(settings.signalr_connection.get_secret_value())
    else:
        assert settings.signalr_endpoint is not None
        access = IdentityAccess(settings.signalr_endpoint, client_id=settings.managed_identity_client_id)
    return AzureSignalR(access, clock)
