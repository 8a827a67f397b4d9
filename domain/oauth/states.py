"""Where authorizations that were begun are stored; each is valid for one callback."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from datetime import UTC, datetime
from hmac import compare_digest
from uuid import UUID

from domain.core.ports import Cipher, Clock, EtagMismatch, TableEntity, TableStore, TableValue
from domain.oauth.model import PendingState
from domain.oauth.rules import STATE_LIFETIME

TABLE = "OAuthStates"
_PARTITION = "states"
_STATE = re.compile(r"(?P<expires>[0-9a-f]{8,10})\.(?P<random>[A-Za-z0-9_-]{43})")


class StateRefused(Exception):
    """The state is unknown, used or expired; the text tells people which."""


class StateStore:
    """Stores states by expiry and hash.

    A reader of the table can neither finish an authorization nor learn its PKCE verifier, which is encrypted."""

    def __init__(self, tables: TableStore, cipher: Cipher, clock: Clock) -> None:
        self._tables = tables
        self._cipher = cipher
        self._clock = clock

    def expiry(self) -> datetime:
        """Return when a state made now expires, to the second."""
        return (self._clock.now() + STATE_LIFETIME).replace(microsecond=0)

    def begin(self, pending: PendingState) -> str:
        """Store the authorization; return the state parameter."""
        state = f"{int(pending.expires_at.timestamp()):x}.{secrets.token_urlsafe(32)}"
        row = _row(state)
        properties: dict[str, TableValue] = {
            "tenantId": str(pending.tenant_id),
            "userId": str(pending.user_id),
            "integrationId": str(pending.integration_id),
            "verifier": self._cipher.seal(pending.verifier, context=_context(row)),
            "browser": pending.browser_hash,
            "redirectAfter": pending.redirect_after or "",
            "destination": json.dumps(None if pending.destination is None else dict(pending.destination)),
        }
        self._tables.insert(TABLE, TableEntity(_PARTITION, row, properties))
        return state

    def take(self, state: str) -> PendingState:
        """Use up the state and return its authorization: one of many callbacks at once gets it. Raises StateRefused."""
        match = _STATE.fullmatch(state)
        if match is None:
            raise StateRefused("The link is not valid, or is incomplete.")
        row = _row(state)
        found = self._tables.get(TABLE, _PARTITION, row)
        if found is None or not self._delete(found):
            raise StateRefused("The link was used already, or does not exist.")
        expires_at = datetime.fromtimestamp(int(match["expires"], 16), UTC)
        if self._clock.now() >= expires_at:
            raise StateRefused("The link has expired; it is valid for ten minutes.")
        values = {name: str(value) for name, value in found.properties.items()}
        return PendingState(
            tenant_id=UUID(values["tenantId"]),
            user_id=UUID(values["userId"]),
            integration_id=UUID(values["integrationId"]),
            verifier=self._cipher.open(values["verifier"], context=_context(row)),
            browser_hash=values["browser"],
            expires_at=expires_at,
            redirect_after=values["redirectAfter"] or None,
            destination=json.loads(values.get("destination", "null")),
        )

    def forget_expired(self) -> int:
        """Delete expired states, at most 1,000; return how many."""
        now = f"{int(self._clock.now().timestamp()):010x}"
        expired = self._tables.query(TABLE, _PARTITION, row_key_to=now, limit=1_000)
        return sum(self._delete(entity) for entity in expired)

    def _delete(self, entity: TableEntity) -> bool:
        try:
            return self._tables.delete(TABLE, _PARTITION, entity.row_key, etag=entity.etag)
        except EtagMismatch:
            return False


def browser_name(state: str) -> str:
    return f"hub-oauth-{hashlib.sha256(state.encode()).hexdigest()[:12]}"


def browser_hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def is_same_browser(pending: PendingState, secret: str) -> bool:
    """Return whether the cookie is the one given to the browser that began the authorization."""
    return compare_digest(pending.browser_hash, browser_hash(secret))


def _row(state: str) -> str:
    expires = state.partition(".")[0]
    return f"{expires:0>10}-{hashlib.sha256(state.encode()).hexdigest()}"


def _context(row: str) -> str:
    return f"oauth-state:{row}"
