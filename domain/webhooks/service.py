"""Manage webhooks (UC-WH-01, sections 5.3 and 6.3), and verify their addresses."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from domain.core.acting_for import acting_for
from domain.core.errors import (
    FieldError,
    PreconditionFailed,
    RuleViolation,
    Unavailable,
    ValidationFailed,
    check_version,
)
from domain.core.paging import Page, PageRequest
from domain.core.permissions import WEBHOOK_MANAGE
from domain.core.ports import Cipher, Clock, IdGenerator, OutboundError, OutboundHttp
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.core.wire import rfc3339, sent_fields
from domain.webhooks.attempt_rows import redirect_note
from domain.webhooks.deliver import secret_context
from domain.webhooks.model import (
    VERIFICATION_EVENT,
    CreateWebhook,
    RotateSecret,
    UpdateWebhook,
    Webhook,
    WebhookState,
)
from domain.webhooks.notices import record_change
from domain.webhooks.ports import Released, WebhookFilter, WebhookTransaction
from domain.webhooks.retry_policy import effective_max_retries
from domain.webhooks.rules import check_url, set_active
from domain.webhooks.signing import new_secret, signed_headers
from domain.webhooks.sweep import RetryProcessor


@dataclass(frozen=True, slots=True)
class EndpointVerification:
    """How a verification ended; `detail` tells the owner of the receiver what to change."""

    verified: bool
    detail: str
    http_status_code: int | None = None


class EndpointVerifier:
    def __init__(
        self,
        http: OutboundHttp,
        clock: Clock,
        ids: IdGenerator,
        *,
        demand: Literal["challenge", "any-2xx"],
        timeout_seconds: float,
    ) -> None:
        self._http = http
        self._clock = clock
        self._ids = ids
        self._demand = demand
        self._timeout_seconds = timeout_seconds

    async def check_address(self, url: str) -> None:
        """Raise ValidationFailed for an address never called; a name that does not resolve yet is no reason."""
        try:
            await self._http.check(url)
        except OutboundError as error:
            if error.kind == "blocked":
                errors = [FieldError("/url", error.detail)]
                raise ValidationFailed(error.detail, errors, code="address-not-allowed") from error

    async def verify(self, webhook_id: UUID, url: str, secret: str) -> EndpointVerification:
        """Post `webhook.verification`; the receiver answers 2xx and `{"challenge": "..."}`."""
        challenge = secrets.token_urlsafe(32)
        now = self._clock.now()
        message_id = str(self._ids.new())
        event = {
            "type": VERIFICATION_EVENT,
            "timestamp": rfc3339(now),
            "id": message_id,
            "origin": {"kind": "hub"},
            "data": {"challenge": challenge, "webhookId": str(webhook_id)},
        }
        body = json.dumps(event, separators=(",", ":")).encode()
        headers = signed_headers([secret], message_id, now, body)
        try:
            response = await self._http.post(url, headers, body, self._timeout_seconds)
        except OutboundError as error:
            detail = f"The receiver could not be reached ({error.kind}): {error.detail}"
            return EndpointVerification(False, detail)
        status, note = response.status, f"{response.flaw}." if response.flaw else None
        if not 200 <= status < 300:
            why = redirect_note(url, response)
            detail = " ".join(filter(None, (f"The receiver answered {status}; a 2xx is needed.", why, note)))
            return EndpointVerification(False, detail, status)
        if self._demand == "challenge" and _echoed(response.body) != challenge:
            detail = 'The receiver must answer with JSON {"challenge": "..."} holding data.challenge of the request.'
            return EndpointVerification(False, " ".join(filter(None, (detail, note))), status)
        return EndpointVerification(True, "Verified.", status)


def _echoed(body: bytes) -> object:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer.get("challenge") if isinstance(answer, dict) else None


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """Limits of the settings; a rotated secret goes on signing for `secret_overlap`."""

    per_tenant: int
    max_retries: int
    secret_overlap: timedelta
    allow_localhost: bool


@dataclass(frozen=True, slots=True)
class WebhookWithSecret:
    """A webhook with its secret, which is shown this once; `verification` when one was tried."""

    webhook: Webhook
    secret: str
    verification: EndpointVerification | None = None


class ChangedWebhook(NamedTuple):
    """A webhook after a request: `verification` when it was tried, `released` when this activated the webhook."""

    webhook: Webhook
    verification: EndpointVerification | None = None
    released: Released | None = None


class WebhookService:
    def __init__(
        self,
        transactions: Transactions[WebhookTransaction],
        verifier: EndpointVerifier,
        retries: RetryProcessor,
        cipher: Cipher,
        *,
        clock: Clock,
        ids: IdGenerator,
        limits: WebhookLimits,
    ) -> None:
        self._transactions = transactions
        self._verifier = verifier
        self._retries = retries
        self._cipher = cipher
        self._clock = clock
        self._ids = ids
        self._limits = limits

    def effective_max_retries(self, webhook: Webhook) -> int:
        """Return how many retries a delivery gets, for display."""
        return effective_max_retries(webhook.retry_policy, platform_cap=self._limits.max_retries)

    async def create(self, principal: Principal, command: CreateWebhook) -> WebhookWithSecret:
        """Store a webhook as PendingVerification, then verify it. Raises ValidationFailed, RuleViolation."""
        principal.require(WEBHOOK_MANAGE)
        await self._check_target(principal, command.url)
        secret = new_secret()
        webhook = await asyncio.to_thread(self._insert, principal, command, secret)
        verified = await self._verify(principal, webhook, secret)
        return WebhookWithSecret(verified.webhook, secret, verified.verification)

    def page(self, principal: Principal, filter_: WebhookFilter, page: PageRequest) -> Page[Webhook]:
        principal.require(WEBHOOK_MANAGE)
        with self._transactions.read() as tx:
            return tx.webhooks.page(principal.tenant_id, filter_, page)

    def get(self, principal: Principal, webhook_id: UUID) -> Webhook:
        """Return a webhook. Raises NotFound."""
        principal.require(WEBHOOK_MANAGE)
        with self._transactions.read() as tx:
            return tx.webhooks.get(principal.tenant_id, webhook_id)

    async def update(
        self, principal: Principal, webhook_id: UUID, command: UpdateWebhook, if_match: int | None
    ) -> ChangedWebhook:
        """Replace the fields sent. A new URL must be verified again; events are held until it is.

        Raises NotFound, PreconditionFailed, ValidationFailed, Conflict."""
        principal.require(WEBHOOK_MANAGE)
        if command.url is not None:
            await self._check_target(principal, command.url)
        changed, then = await asyncio.to_thread(self._change, principal, webhook_id, command, if_match)
        if then is None:
            return changed
        return await self._verify(principal, changed.webhook, self._open(changed.webhook), then)

    @repeated
    def delete(self, principal: Principal, webhook_id: UUID, if_match: int | None) -> None:
        """Remove a webhook with its deliveries. Raises NotFound, PreconditionFailed."""
        principal.require(WEBHOOK_MANAGE)
        with self._transactions.write() as tx:
            webhook = tx.webhooks.get(principal.tenant_id, webhook_id)
            check_version("webhook", if_match, webhook.version)
            tx.webhooks.delete(principal.tenant_id, webhook_id)
            record_change(tx, principal, "webhook.deleted", before=webhook, after=None)
            tx.commit()

    async def verify(self, principal: Principal, webhook_id: UUID) -> ChangedWebhook:
        """Try the verification again; a webhook that is verified already stays as it is. Raises NotFound."""
        principal.require(WEBHOOK_MANAGE)
        webhook = await asyncio.to_thread(self.get, principal, webhook_id)
        if webhook.state != WebhookState.PendingVerification:
            return ChangedWebhook(webhook, EndpointVerification(True, "Verified already."))
        return await self._verify(principal, webhook, self._open(webhook))

    @repeated
    def rotate_secret(
        self, principal: Principal, webhook_id: UUID, command: RotateSecret
    ) -> WebhookWithSecret:
        """Give the webhook a new secret; the old one signs beside it for the overlap. Raises NotFound."""
        principal.require(WEBHOOK_MANAGE)
        asked = command.overlap_seconds
        overlap = self._limits.secret_overlap if asked is None else timedelta(seconds=asked)
        now = self._clock.now()
        secret = new_secret()
        with self._transactions.write() as tx:
            webhook = tx.webhooks.get(principal.tenant_id, webhook_id)
            rotated = replace(
                webhook,
                sealed_secret=self._seal(webhook.webhook_id, secret),
                previous_sealed_secret=webhook.sealed_secret if overlap else None,
                previous_secret_expires_at=now + overlap if overlap else None,
                modified_at=now,
            )
            saved = _save(tx, rotated)
            record_change(tx, principal, "webhook.secret-rotated", before=webhook, after=saved)
            tx.commit()
        return WebhookWithSecret(saved, secret)

    # -- steps --------------------------------------------------------------------------------------------

    async def _check_target(self, principal: Principal, url: str) -> None:
        check_url(url, allow_localhost=self._limits.allow_localhost)
        with acting_for(principal.tenant_id):
            await self._verifier.check_address(url)

    @repeated
    def _insert(self, principal: Principal, command: CreateWebhook, secret: str) -> Webhook:
        webhook_id = self._ids.new()
        webhook = Webhook(
            webhook_id=webhook_id,
            tenant_id=principal.tenant_id,
            url=command.url,
            event_types=command.event_types,
            sealed_secret=self._seal(webhook_id, secret),
            state=WebhookState.PendingVerification,
            retry_policy=command.retry_policy.to_policy(),
            timeout_seconds=command.timeout_seconds,
            created_at=self._clock.now(),
            created_by=principal.user_id,
            integration_id=command.integration_id,
            description=command.description,
            rate_limit_per_second=command.rate_limit_per_second,
            ordering=command.ordering,
        )
        with self._transactions.write() as tx:
            tx.users.lock_tenant(principal.tenant_id)
            granted = tx.standings.of(principal.tenant_id).limits.webhooks
            most = self._limits.per_tenant if granted is None else granted
            if tx.webhooks.count(principal.tenant_id) >= most:
                detail = f"The tenant has its {most} webhooks already; delete one first."
                raise RuleViolation(detail, code="BR-WH-07")
            _check_integration(tx, webhook)
            tx.webhooks.add(principal.tenant_id, webhook)
            record_change(tx, principal, "webhook.created", before=None, after=webhook)
            tx.commit()
        return webhook

    @repeated
    def _change(
        self, principal: Principal, webhook_id: UUID, command: UpdateWebhook, if_match: int | None
    ) -> tuple[ChangedWebhook, WebhookState | None]:
        """Change the webhook; return it, and for a new URL the state it takes once verified: a paused one stays so."""
        now = self._clock.now()
        with self._transactions.write() as tx:
            before = tx.webhooks.get(principal.tenant_id, webhook_id)
            check_version("webhook", if_match, before.version)
            after = replace(before, modified_at=now, **_fields(command))
            _check_integration(tx, after)
            then: WebhookState | None = None
            if after.url != before.url:
                pauses = command.is_active is False
                stays_paused = before.state == WebhookState.Paused and command.is_active is None
                then = WebhookState.Paused if pauses or stays_paused else WebhookState.Active
                after = replace(after, state=WebhookState.PendingVerification)
            elif command.is_active is not None:
                after = set_active(after, command.is_active)
            saved = _save(tx, after)
            if after.ordering != before.ordering:
                _reorder(tx, after, now)
            resumes = after.state == WebhookState.Active != before.state
            released = tx.deliveries.release_held(before.tenant_id, webhook_id, now=now) if resumes else None
            record_change(tx, principal, "webhook.updated", before=before, after=saved)
            tx.commit()
        if after.ordering != before.ordering or (released and released.sent):
            self._send_due()
        return ChangedWebhook(saved, released=released), then

    async def _verify(
        self, principal: Principal, webhook: Webhook, secret: str, then: WebhookState = WebhookState.Active
    ) -> ChangedWebhook:
        with acting_for(webhook.tenant_id):
            verification = await self._verifier.verify(webhook.webhook_id, webhook.url, secret)
        if not verification.verified:
            return ChangedWebhook(webhook, verification)
        try:
            active = await asyncio.to_thread(self._activate, principal, webhook, then)
            return active._replace(verification=verification)
        except (PreconditionFailed, Unavailable) as error:
            # The webhook is stored, and a new secret is shown only in this answer: it must not be lost.
            detail = f"It answered well, but: {error.detail} POST to its /verify."
            return ChangedWebhook(webhook, EndpointVerification(False, detail))

    @repeated
    def _activate(self, principal: Principal, webhook: Webhook, then: WebhookState) -> ChangedWebhook:
        now = self._clock.now()
        with self._transactions.write() as tx:
            current = tx.webhooks.get(webhook.tenant_id, webhook.webhook_id)
            if current.url != webhook.url:
                raise PreconditionFailed("The webhook's URL was changed while it was verified.")
            if current.state != WebhookState.PendingVerification:
                return ChangedWebhook(current)  # another verification came first; what was done since stands
            active = replace(
                current,
                state=then,
                verified_at=now,
                disabled_reason=None,
                consecutive_failures=0,
                failing_since=None,
            )
            saved = _save(tx, active)
            released = None
            if then == WebhookState.Active:
                released = tx.deliveries.release_held(webhook.tenant_id, webhook.webhook_id, now=now)
            record_change(tx, principal, "webhook.verified", before=current, after=saved)
            tx.commit()
        if released and released.sent:
            self._send_due()
        return ChangedWebhook(saved, released=released)

    def _send_due(self) -> None:
        """Queue what was held, or waited in line, and is due now; else the retry processor does within a minute."""
        with suppress(Unavailable):
            self._retries.sweep()

    def _seal(self, webhook_id: UUID, secret: str) -> str:
        return self._cipher.seal(secret, context=secret_context(webhook_id))

    def _open(self, webhook: Webhook) -> str:
        return self._cipher.open(webhook.sealed_secret, context=secret_context(webhook.webhook_id))


def _save(tx: WebhookTransaction, webhook: Webhook) -> Webhook:
    tx.webhooks.update(webhook.tenant_id, webhook)
    return replace(webhook, version=webhook.version + 1)


def _reorder(tx: WebhookTransaction, webhook: Webhook, now: datetime) -> None:
    if webhook.ordering == "perSubject":
        tx.deliveries.line_up(webhook.tenant_id, webhook.webhook_id, now=now)
    else:
        tx.deliveries.dissolve_lines(webhook.tenant_id, webhook.webhook_id, now=now)


def _check_integration(tx: WebhookTransaction, webhook: Webhook) -> None:
    id_ = webhook.integration_id
    if id_ is not None and not tx.webhooks.integration_exists(webhook.tenant_id, id_):
        detail = "There is no such integration."
        raise ValidationFailed(detail, [FieldError("/integrationId", detail)])


def _fields(command: UpdateWebhook) -> dict[str, Any]:
    fields = sent_fields(command, nullable=("description", "integration_id", "rate_limit_per_second"))
    fields.pop("is_active", None)
    if command.retry_policy is not None:
        fields["retry_policy"] = command.retry_policy.to_policy()
    return fields
