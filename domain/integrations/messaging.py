"""Messages to people, sent through a tenant's own e-mail or SMS integration."""

from __future__ import annotations

import asyncio
from typing import Protocol, runtime_checkable
from uuid import UUID

from domain.core.messages import OutgoingMessage
from domain.core.transaction import Transactions
from domain.integrations.connection import Connector
from domain.integrations.model import Integration, IntegrationStatus
from domain.integrations.ports import IntegrationTransaction
from domain.providers.contract import Connection, ProviderFailure


@runtime_checkable
class MessageProvider(Protocol):
    """A provider adapter that sends for real."""

    async def send(self, connection: Connection, message: OutgoingMessage) -> str:
        """Returns the provider's id of the message. Raises ProviderFailure."""


class IntegrationNotifier:
    """Satisfies `domain.monitoring.alerts.ports.Notifier`."""

    def __init__(self, transactions: Transactions[IntegrationTransaction], connector: Connector) -> None:
        self._transactions = transactions
        self._connector = connector

    async def send(self, tenant_id: UUID, integration_id: UUID, message: OutgoingMessage) -> None:
        """As the port says. No integration is tried that is not active: its credentials may be refused, and
        repeated wrong logins lock accounts."""
        integration = await asyncio.to_thread(self._load, tenant_id, integration_id)
        if integration.status != IntegrationStatus.Active or not integration.is_enabled:
            raise ProviderFailure("rejected", "The integration is not active.")
        provider, connection = await asyncio.to_thread(self._connector.connect, integration)
        if not isinstance(provider, MessageProvider):
            raise ProviderFailure("rejected", "The integration's provider sends no messages.")
        await provider.send(connection, message)

    def _load(self, tenant_id: UUID, integration_id: UUID) -> Integration:
        with self._transactions.read() as tx:
            return tx.integrations.get(tenant_id, integration_id)
