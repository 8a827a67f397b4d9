"""Use cases of incoming webhooks: list and read them, set the allow list, rotate the address; the clean-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.apikeys.bounds import check_addresses
from domain.core.errors import check_version
from domain.core.paging import Page, PageRequest
from domain.core.permissions import INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.core.ports import Cipher, Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions, in_steps, repeated
from domain.incoming.model import (
    IncomingEndpoint,
    IncomingSettings,
    IncomingWebhook,
    RotateIncomingUrl,
    UpdateIncoming,
    body_context,
)
from domain.incoming.ports import IncomingFilter, IncomingTransaction
from domain.incoming.rules import closed_because, new_token, read_request, shown_headers, token_hash
from domain.integrations.configuration import given_fields
from domain.integrations.connection import Catalogue
from domain.integrations.model import Integration, configuration_context
from domain.journal.audit import AuditEntry

#: Rows that one transaction deletes.
PER_TRANSACTION = 1_000


@dataclass(frozen=True, slots=True)
class IncomingContent:
    """An event of the inbox with the request that brought it; `body` is None once it is past its retention."""

    webhook: IncomingWebhook
    headers: Mapping[str, str]
    body: bytes | None = field(repr=False)


class IncomingService:
    def __init__(
        self,
        transactions: Transactions[IncomingTransaction],
        cipher: Cipher,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._cipher = cipher
        self._catalogue = catalogue
        self._clock = clock

    def page(
        self, principal: Principal, integration_id: UUID, filter_: IncomingFilter, page: PageRequest
    ) -> Page[IncomingWebhook]:
        """Return a page of events, newest first. Raises Forbidden, NotFound."""
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.read() as tx:
            tx.integrations.get(principal.tenant_id, integration_id)
            return tx.incoming.page(principal.tenant_id, integration_id, filter_, page)

    def get(self, principal: Principal, integration_id: UUID, incoming_webhook_id: UUID) -> IncomingContent:
        """Return an event with the raw body of its request. Raises Forbidden, NotFound."""
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.read() as tx:
            webhook = tx.incoming.get(principal.tenant_id, integration_id, incoming_webhook_id)
            stored = tx.incoming.body(principal.tenant_id, webhook.incoming_body_id)
        if stored is None:
            return IncomingContent(webhook, {}, None)
        text = self._cipher.open(stored.sealed, context=body_context(stored.incoming_body_id))
        request = read_request(text, stored.received_at)
        return IncomingContent(webhook, shown_headers(request.headers), request.body)

    def settings(self, principal: Principal, integration_id: UUID) -> IncomingSettings:
        """Return how the integration receives webhooks. Raises Forbidden, NotFound."""
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.read() as tx:
            integration = tx.integrations.get(principal.tenant_id, integration_id)
            endpoint = tx.incoming.endpoint(principal.tenant_id, integration_id)
        return self._settings(integration, endpoint)

    @repeated
    def update(
        self, principal: Principal, integration_id: UUID, command: UpdateIncoming, if_match: int | None
    ) -> IncomingSettings:
        """Replace the allow list, and the repeat window where it is given.

        Raises Forbidden, NotFound, PreconditionFailed."""
        principal.require(INTEGRATION_ADMIN)
        with self._transactions.write() as tx:
            integration = tx.integrations.get(principal.tenant_id, integration_id)
            before = tx.incoming.endpoint(principal.tenant_id, integration_id)
            check_version("incoming address", if_match, before.version)
            check_addresses(principal, before.allowed_ips, command.allowed_ips)
            after = replace(before, allowed_ips=command.allowed_ips)
            if "repeat_window" in command.model_fields_set:
                after = replace(after, repeat_window_seconds=command.repeat_window)
            tx.incoming.save_endpoint(principal.tenant_id, after)
            old, new = (
                {"allowedIps": endpoint.allowed_ips, "repeatWindow": endpoint.repeat_window_seconds}
                for endpoint in (before, after)
            )
            _audit(tx, principal, "incoming.updated", integration_id, before=old, after=new)
            tx.commit()
        return self._settings(integration, replace(after, version=after.version + 1))

    @repeated
    def rotate(
        self, principal: Principal, integration_id: UUID, command: RotateIncomingUrl
    ) -> tuple[IncomingSettings, str]:
        """Give the integration a new address and return its token, which is shown this once.

        The current address stays valid for the overlap, the one before it ends at once. Raises Forbidden, NotFound."""
        principal.require(INTEGRATION_ADMIN)
        now, token = self._clock.now(), new_token()
        with self._transactions.write() as tx:
            integration = tx.integrations.get(principal.tenant_id, integration_id)
            before = tx.incoming.endpoint(principal.tenant_id, integration_id)
            ends = now + timedelta(hours=command.overlap_hours)
            after = replace(
                before,
                token_hash=token_hash(token),
                previous_token_hash=before.token_hash or "",
                previous_expires_at=ends,
                rotated_at=now,
            )
            tx.incoming.save_endpoint(principal.tenant_id, after)
            old = {"rotatedAt": before.rotated_at, "previousUrlExpiresAt": before.previous_expires_at}
            new = {"rotatedAt": now, "previousUrlExpiresAt": ends}
            _audit(tx, principal, "incoming.url-rotated", integration_id, before=old, after=new)
            tx.commit()
        return self._settings(integration, replace(after, version=after.version + 1)), token

    def _settings(self, integration: Integration, endpoint: IncomingEndpoint) -> IncomingSettings:
        profile = self._catalogue.get(integration.provider).profile
        context = configuration_context(integration.integration_id)
        given = given_fields(self._cipher.open(integration.sealed_configuration, context=context))
        closed = closed_because(integration, profile, self._catalogue.disabled_types, given)
        return IncomingSettings(endpoint, profile.webhook_scheme, closed)


class IncomingCleanup:
    """Deletes bodies past their retention (section 17.2), and, much later, the events by which repeats are known."""

    def __init__(
        self,
        transactions: Transactions[IncomingTransaction],
        clock: Clock,
        *,
        retention: timedelta,
        repeats_known_for: timedelta,
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._retention = retention
        self._repeats_known_for = max(retention, repeats_known_for)

    def delete_expired(self, *, transactions: int = 500) -> tuple[int, int]:
        """Delete in at most `transactions` transactions for each; return how many (bodies, events)."""
        now = self._clock.now()

        def drain(delete: Callable[[IncomingTransaction], int]) -> int:
            return in_steps(self._transactions, delete, PER_TRANSACTION, most=transactions)

        bodies_before, events_before = now - self._retention, now - self._repeats_known_for
        return (
            drain(lambda tx: tx.incoming.delete_bodies_before(bodies_before, PER_TRANSACTION)),
            drain(lambda tx: tx.incoming.forget_before(events_before, PER_TRANSACTION)),
        )


def _audit(
    tx: IncomingTransaction,
    principal: Principal,
    action: str,
    target: UUID,
    *,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    entry = AuditEntry(action, "integration", target, principal, before=before, after=after)
    tx.audit.append(principal.tenant_id, entry)
