"""Access tokens that are valid for some minutes more, refreshed by one caller at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from domain.core.errors import DomainError, Unavailable
from domain.core.ports import Clock
from domain.integrations.model import Integration
from domain.oauth.clients import OAuthClient, OAuthClients
from domain.oauth.grants import GrantStore, StaleGrant
from domain.oauth.model import Grant, GrantStatus, Tokens
from domain.oauth.ports import GrantLost
from domain.oauth.rules import (
    due_at,
    is_revoked,
    is_usable,
    refresh_failure,
    retry_at,
    tokens_of,
    wants_refresh,
)
from domain.providers.contract import ProviderFailure

logger = logging.getLogger("hub.oauth")

_POLL_SECONDS = 0.1
_POLLS = 250
_STORE_WAITS = (0.1, 0.3, 1.0, 3.0)
_AGAIN = "authorise the integration again."
_TOO_LONG = "The access token is being renewed, which took too long."


class OAuthTokens:
    """Implements AccessTokens. Blocks; not for an event loop.

    A refresh runs under a lease of the grant's row that only one caller of all processes gets, and counts only while
    its fence is the last one. The new tokens are in the secret store before anyone uses them. A refresher that dies
    leaves its lease to run out, and what it had stored already to the next."""

    def __init__(
        self,
        clients: OAuthClients,
        grants: GrantStore,
        clock: Clock,
        lost: GrantLost,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clients = clients
        self._grants = grants
        self._clock = clock
        self._lost = lost
        self._sleep = sleep

    def current(self, integration: Integration, plain: Mapping[str, Any] | None = None) -> str | None:
        try:
            for _ in range(_POLLS):
                grant = self._grants.get(integration.integration_id)
                if grant is None or not self._clients.may_get(integration, plain, grant.destination):
                    return None
                token = self._token(integration, grant)
                if token is not None:
                    return token
        except Unavailable as error:
            raise ProviderFailure("unavailable", error.detail) from error
        except DomainError as error:
            raise ProviderFailure("rejected", error.detail) from error
        raise ProviderFailure("unavailable", _TOO_LONG)

    def renewed(self, integration: Integration, refused: str) -> str | None:
        try:
            for _ in range(_POLLS):
                grant = self._grants.get(integration.integration_id)
                if grant is None:
                    return None
                tokens = self._stored(grant)
                if tokens.access_token != refused:
                    return tokens.access_token
                if not grant.renewable:
                    return None
                if not is_free(grant, self._clock.now()):
                    self._wait(grant)
                    continue
                with suppress(StaleGrant):
                    return self.renew(integration, grant).access_token
        except Unavailable as error:
            raise ProviderFailure("unavailable", error.detail) from error
        except DomainError as error:
            raise ProviderFailure("rejected", error.detail) from error
        raise ProviderFailure("unavailable", _TOO_LONG)

    def _token(self, integration: Integration, grant: Grant) -> str | None:
        """Return the access token, None while another caller refreshes it."""
        tokens = self._stored(grant)
        now = self._clock.now()
        if not wants_refresh(tokens, now):
            return tokens.access_token
        usable = tokens.access_token if is_usable(tokens, now) else None
        if not is_free(grant, now) or not grant.renewable:
            if usable is None:
                self._wait(grant)
            return usable
        try:
            return self.renew(integration, grant).access_token
        except StaleGrant:
            return None
        except ProviderFailure as failure:
            if usable and failure.kind in ("unavailable", "rate_limited"):
                return usable
            raise

    def _wait(self, grant: Grant) -> None:
        now = self._clock.now()
        if not grant.renewable:
            detail = f"The access token has expired and cannot be renewed; {_AGAIN}"
            raise _unauthorized(detail)
        if grant.retry_at is not None and grant.retry_at > now:
            detail = "The access token could not be renewed a moment ago; the next try is soon."
            seconds = (grant.retry_at - now).total_seconds()
            raise ProviderFailure("unavailable", detail, retry_after_seconds=seconds)
        self._sleep(_POLL_SECONDS)

    def _stored(self, grant: Grant) -> Tokens:
        if grant.status == GrantStatus.Revoked:
            raise _unauthorized(f"The grant was revoked; {_AGAIN}")
        tokens = self._grants.tokens(grant)
        if tokens is None:
            # The grant may have been replaced since its row was read; then this is not the end of it.
            current = self._grants.get(grant.integration_id)
            tokens = self._grants.tokens(current) if current is not None else None
        if tokens is None:
            raise _unauthorized(f"The tokens are not in the secret store; {_AGAIN}")
        return tokens

    # -- refreshing ---------------------------------------------------------------------------------------

    def renew(self, integration: Integration, grant: Grant) -> Tokens:
        """Refresh the tokens under the lease. Raises StaleGrant when another caller was first, and Unavailable.

        Raises ProviderFailure, `unauthorized` when the grant was revoked: then the integration is suspended."""
        claimed = self._grants.claim(grant)
        try:
            client = self._clients.of(integration)
            if not client.may_get(claimed.destination):
                raise _unauthorized(f"An address changed since the grant was given; {_AGAIN}")
            tokens = self._grants.newest(claimed)
            if tokens is None or tokens.refresh_token is None:
                raise _unauthorized(f"There is no refresh token; {_AGAIN}")
            if tokens.fence > claimed.token_fence and not wants_refresh(tokens, self._clock.now()):
                return self._keep(claimed, tokens)
            return self._refresh(claimed, client, tokens, tokens.refresh_token)
        except ProviderFailure as failure:
            if failure.kind != "unauthorized" or not self._is_gone(claimed):
                self._failed(claimed, failure)
            raise
        except DomainError as error:
            self._failed(claimed, ProviderFailure("unavailable", error.detail))
            raise

    def _refresh(self, claimed: Grant, client: OAuthClient, tokens: Tokens, refresh_token: str) -> Tokens:
        asked_at = self._clock.now()
        answer = client.refresh(refresh_token)
        if is_revoked(answer, client.profile):
            self._lose(claimed, client.integration, answer.detail)
        if answer.status != 200:
            raise refresh_failure(answer)
        renewed = tokens_of(answer, client.profile, asked_at=asked_at, fence=claimed.fence, before=tokens)
        return self._keep(claimed, renewed)

    def _keep(self, claimed: Grant, tokens: Tokens) -> Tokens:
        self._grants.check(claimed)
        tokens = replace(tokens, fence=claimed.fence)
        version = self._stored_for_sure(claimed.secret_name, tokens)
        now = self._clock.now()
        try:
            self._grants.change(
                claimed,
                lambda current: replace(
                    current,
                    version=version,
                    token_fence=tokens.fence,
                    scopes=tokens.scopes,
                    expires_at=tokens.expires_at,
                    due_at=due_at(tokens.obtained_at, tokens.expires_at),
                    renewable=tokens.refresh_token is not None,
                    refreshed_at=now,
                    lease_until=None,
                    retry_at=None,
                    failures=0,
                ),
            )
        except StaleGrant:
            self._drop_stale(claimed)
            raise
        return tokens

    def _stored_for_sure(self, name: str, tokens: Tokens) -> str:
        """Store the tokens, in several tries: the old refresh token may be invalid by now."""
        for seconds in _STORE_WAITS:
            try:
                return self._grants.put(name, tokens)
            except Unavailable:
                logger.warning("renewed tokens not stored yet, trying again", extra={"secret": name})
                self._sleep(seconds)
        return self._grants.put(name, tokens)

    def _drop_stale(self, claimed: Grant) -> None:
        """Discard the tokens just written if the caller that was first has destroyed their secret."""
        current = self._grants.get(claimed.integration_id)
        if current is None or current.secret_name != claimed.secret_name:
            self._grants.discard(claimed.secret_name)

    def _lose(self, claimed: Grant, integration: Integration, detail: str) -> None:
        """Suspend the integration, then revoke the grant, so that a crash between them repeats the rest."""
        self._grants.check(claimed)
        logger.warning(
            "grant revoked by the provider", extra={"integration": str(integration.integration_id)}
        )
        self._lost(integration, f"The grant was revoked. {detail}")
        self._grants.revoke(claimed)
        raise _unauthorized(f"The provider revoked the grant; {_AGAIN} {detail}")

    def _is_gone(self, claimed: Grant) -> bool:
        current = self._grants.get(claimed.integration_id)
        return current is None or current.status == GrantStatus.Revoked

    def _failed(self, claimed: Grant, failure: ProviderFailure) -> None:
        """Give the lease back, and let no caller retry at once against a server in trouble."""
        now = self._clock.now()
        about = {"integration": str(claimed.integration_id), "kind": failure.kind, "status": failure.status}
        logger.warning("token not renewed", extra=about)

        def later(current: Grant) -> Grant:
            failures = current.failures + 1
            again = retry_at(now, failures, failure.retry_after_seconds)
            due = max(again, current.due_at)
            return replace(current, lease_until=None, retry_at=again, failures=failures, due_at=due)

        try:
            self._grants.change(claimed, later)
        except (StaleGrant, Unavailable):
            logger.info("lease not given back, it runs out by itself")


def _unauthorized(detail: str) -> ProviderFailure:
    return ProviderFailure("unauthorized", detail, of_grant=True)


def is_free(grant: Grant, now: datetime) -> bool:
    """Return whether a refresh may begin: no other is running, and no failure is too recent."""
    return all(moment is None or moment <= now for moment in (grant.lease_until, grant.retry_at))
