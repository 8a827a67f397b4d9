"""Azure SignalR Service on loopback: its data-plane REST API, and its clients' side.

    with running() as service:
        KeyAccess(service.connection_string)

What it does and does not do is in docs/testing-azure.md.
"""

from tests.loopback.signalr.server import ENTRA_TOKEN, SignalRService, running

__all__ = ["ENTRA_TOKEN", "SignalRService", "running"]
