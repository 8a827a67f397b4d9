"""The timer of OAuth: refresh tokens ahead of expiry, and finish what a crash left unfinished."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from domain.core.errors import DomainError
from domain.core.ports import Clock
from domain.core.tracing import UNTRACED, Tracer
from domain.core.transaction import Transactions
from domain.integrations.events import integration_span
from domain.integrations.model import Integration, IntegrationStatus
from domain.integrations.ports import IntegrationTransaction
from domain.oauth.completion import CallbackHandler
from domain.oauth.grants import GrantStore, StaleGrant
from domain.oauth.model import CompletionStatus, Grant
from domain.oauth.states import StateStore
from domain.oauth.tokens import OAuthTokens, is_free
from domain.providers.contract import ProviderFailure

logger = logging.getLogger("hub.oauth")

_PER_RUN = 480
_AT_ONCE = 8
#: How long an authorization is tried to be finished while its provider does not answer.
_FINISH_WITHIN = timedelta(hours=24)
_FINISH_AGAIN = timedelta(minutes=5)
_LOOK_AGAIN = timedelta(days=1)
#: A tenant that is suspended needs no token, and must not take the place of one that is due.
_SUSPENDED = timedelta(minutes=15)
_FAILURES = ("revoked", "failed", "unfinished")


class TokenRefresher:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        grants: GrantStore,
        states: StateStore,
        tokens: OAuthTokens,
        *,
        callback_handler: CallbackHandler,
        finish_withdrawal: Callable[[Integration, Grant], None],
        clean_up: Callable[[Grant], None],
        clock: Clock,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._transactions = transactions
        self._grants = grants
        self._states = states
        self._tokens = tokens
        self._callback_handler = callback_handler
        self._finish_withdrawal = finish_withdrawal
        self._clean_up = clean_up
        self._clock = clock
        self._tracer = tracer

    async def refresh_due(self) -> Mapping[str, int]:
        """Work on up to 480 grants that are due, 8 at a time; return how many had which result. Raises Unavailable.

        Safe when two runs overlap: the lease decides."""
        due = await asyncio.to_thread(self._grants.due, _PER_RUN)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def work(grant: Grant) -> str:
            async with gate:
                return await self._work_on(grant)

        return Counter(await asyncio.gather(*(work(grant) for grant in due)))

    def sweep(self) -> tuple[int, int]:
        """Destroy tokens that no row points to, and expired states; return how many of each."""
        return self._grants.sweep(), self._states.forget_expired()

    async def _work_on(self, grant: Grant) -> str:
        with integration_span(self._tracer, "refresh_oauth_token", grant.integration_id) as span:
            result = await self._result_of(grant)
            if result in _FAILURES:
                span.fail(result)
        return result

    async def _result_of(self, grant: Grant) -> str:
        try:
            integration = await asyncio.to_thread(self._integration, grant)
            if integration is None:
                await asyncio.to_thread(self._clean_up, grant)
                return "removed"
            if await asyncio.to_thread(self._is_suspended, integration):
                await asyncio.to_thread(self._put_off, grant)
                return "suspended"
            if grant.withdrawn:
                await asyncio.to_thread(self._finish_withdrawal, integration, grant)
                return "withdrawn"
            if not grant.finished:
                return await self._finish(grant)
            result = await asyncio.to_thread(self._refresh, integration, grant)
            if result == "refreshed" and integration.client_hash is None:
                await self._callback_handler.recognise(grant)
            return result
        except StaleGrant:
            return "elsewhere"
        except ProviderFailure as failure:
            return "revoked" if failure.kind == "unauthorized" else "failed"
        except DomainError as error:
            logger.warning("grant not attended to", extra={"code": error.code})
            return "failed"

    def _integration(self, grant: Grant) -> Integration | None:
        with self._transactions.read() as tx:
            found = tx.integrations.find(grant.integration_id)
        return found if found is not None and found.status != IntegrationStatus.Disconnected else None

    def _is_suspended(self, integration: Integration) -> bool:
        with self._transactions.read() as tx:
            return tx.standings.of(integration.tenant_id).is_suspended

    def _put_off(self, grant: Grant) -> None:
        due_at = self._clock.now() + _SUSPENDED
        self._grants.change(grant, lambda current: replace(current, due_at=due_at))

    def _refresh(self, integration: Integration, grant: Grant) -> str:
        now = self._clock.now()
        if not grant.renewable:
            self._grants.change(grant, lambda current: replace(current, due_at=now + _LOOK_AGAIN))
            return "kept"
        if not is_free(grant, now):
            return "elsewhere"
        self._tokens.renew(integration, grant)
        return "refreshed"

    async def _finish(self, grant: Grant) -> str:
        now = self._clock.now()
        completion = await self._callback_handler.resume(grant)
        if completion.status == CompletionStatus.Connected:
            return "finished"
        current = await asyncio.to_thread(self._grants.get, grant.integration_id)
        if current is None or current.finished:
            return "unfinished"
        is_late = now - grant.authorized_at > _FINISH_WITHIN

        def later(grant: Grant) -> Grant:
            return replace(grant, due_at=now + _FINISH_AGAIN, finished=is_late)

        await asyncio.to_thread(self._grants.change, current, later)
        return "unfinished"
