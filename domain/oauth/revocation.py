"""Ending a grant at its provider (RFC 7009), and saying in the integration's log what became of it."""

from __future__ import annotations

import logging
from uuid import UUID

from domain.core.errors import DomainError, Unavailable
from domain.core.transaction import Transactions
from domain.integrations.changes import ChangeRecorder
from domain.integrations.model import Integration, LogLevel
from domain.integrations.ports import IntegrationTransaction
from domain.oauth.clients import OAuthClient, OAuthClients
from domain.oauth.grants import GrantStore
from domain.oauth.model import Grant, GrantStatus
from domain.providers.contract import ProviderFailure

logger = logging.getLogger("hub.oauth")

PAGE = 200
_SETTINGS = "remove it in the account's settings there."
_REVOKED = "The access was revoked at the provider."
_NO_ENDPOINT = f"The provider has no way to revoke access from here; {_SETTINGS}"
_NOT_REVOKED = f"The provider did not confirm that the access was revoked; {_SETTINGS}"
_SHARED = (
    "The access was not revoked at the provider, because another integration uses the same account by the same OAuth "
    "client and would lose its access too; the tokens here were destroyed."
)


class GrantRevoker:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        clients: OAuthClients,
        grants: GrantStore,
        *,
        changes: ChangeRecorder,
    ) -> None:
        self._transactions = transactions
        self._clients = clients
        self._grants = grants
        self._changes = changes

    def revoke(self, integration: Integration, client: OAuthClient, grant: Grant) -> bool | None:
        """Revoke the grant's tokens at the provider; return whether it did, None where it cannot.

        A provider may revoke all that the account granted to the client, as Google does. So where another live grant
        has the same client and account, this one is only forgotten here. Never raises for what the provider does."""
        message, is_revoked = self._outcome(integration, client, grant)
        self._tell(integration, message, is_done=is_revoked is True)
        return is_revoked

    def forget(self, integration: Integration) -> None:
        """Revoke and destroy the tokens of an integration that was just disconnected; `integration` is as it was.

        Leaves to the timer what a store that does not answer prevents."""
        try:
            withdrawn = self.withdraw(integration)
            if withdrawn is not None:
                self._grants.remove(withdrawn)
        except Unavailable:
            about = {"integration": str(integration.integration_id)}
            logger.warning("tokens not destroyed, left to the timer", extra=about)

    def withdraw(self, integration: Integration) -> Grant | None:
        """Revoke and destroy the tokens; return the grant as it was, None without one. Raises Unavailable."""
        grant = self._grants.get(integration.integration_id)
        if grant is not None and grant.status == GrantStatus.Active:
            self._end(integration, grant)
        return self._grants.withdraw(integration.integration_id) if grant is not None else None

    def clean_up(self, grant: Grant) -> None:
        """Destroy tokens that a crash left of a disconnected integration, whose client is not known any more."""
        self._grants.remove(grant)
        with self._transactions.read() as tx:
            integration = tx.integrations.find(grant.integration_id)
        if integration is not None and grant.status == GrantStatus.Active:
            self._tell(integration, _NOT_REVOKED, is_done=False)

    # -- steps --------------------------------------------------------------------------------------------

    def _tell(self, integration: Integration, message: str, *, is_done: bool) -> None:
        """Write what became of the access into the integration's log. Raises Unavailable."""
        level = LogLevel.Information if is_done else LogLevel.Warning
        with self._transactions.write() as tx:
            self._changes.log(tx, integration, message, level=level)
            tx.commit()

    def _end(self, integration: Integration, grant: Grant) -> None:
        try:
            client = self._clients.of(integration)
        except (ProviderFailure, DomainError) as error:
            about = {"integration": str(grant.integration_id), "error": type(error).__name__}
            logger.warning("grant not revoked at the provider", extra=about)
            self._tell(integration, _NOT_REVOKED, is_done=False)
            return
        self.revoke(integration, client, grant)

    def _outcome(
        self, integration: Integration, client: OAuthClient, grant: Grant
    ) -> tuple[str, bool | None]:
        if client.profile.revoke_url is None:
            return _NO_ENDPOINT, None
        try:
            if not client.may_get(grant.destination):
                return _NOT_REVOKED, False
            if self._is_shared(integration, client, grant):
                return _SHARED, False
            tokens = self._grants.newest(grant)
            is_revoked = client.revoke(tokens) if tokens is not None else False
            return (_REVOKED, True) if is_revoked else (_NOT_REVOKED, False)
        except (ProviderFailure, DomainError, ValueError) as error:
            about = {"integration": str(grant.integration_id), "error": type(error).__name__}
            logger.warning("grant not revoked at the provider", extra=about)
            return _NOT_REVOKED, False

    def _is_shared(self, integration: Integration, client: OAuthClient, grant: Grant) -> bool:
        """Return whether another live grant has the same client and account; an unknown account may be any."""
        client_hash, after = integration.client_hash or client.hash, None
        # Until the authorization is finished the stored account may be that of an earlier one.
        account = integration.account_hash if grant.finished else None
        while others := self._page(client_hash, account, after):
            after = others[-1].integration_id
            if any(self._is_live(other) for other in others if not _is_same(other, integration)):
                return True
        return False

    def _page(self, client_hash: str, account: str | None, after: UUID | None) -> list[Integration]:
        with self._transactions.read() as tx:
            return tx.integrations.of_client(client_hash, account, after=after, limit=PAGE)

    def _is_live(self, other: Integration) -> bool:
        grant = self._grants.get(other.integration_id)
        return grant is not None and grant.status == GrantStatus.Active and not grant.withdrawn


def _is_same(one: Integration, other: Integration) -> bool:
    return one.integration_id == other.integration_id
