"""Where grants are stored: a row each in the table store, their tokens in the secret store and nowhere else."""

from __future__ import annotations

import json
import logging
import re
import secrets as randomness
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal, cast
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import (
    Clock,
    EntityExists,
    EtagMismatch,
    SecretStore,
    TableEntity,
    TableStore,
    TableValue,
    TableWrite,
)
from domain.oauth.model import Grant, GrantStatus, Tokens
from domain.oauth.rules import LEASE

logger = logging.getLogger("hub.oauth")

TABLE = "OAuthGrants"
_SHARDS = "0123456789abcdef"
_ROW, _DUE = "grant-", "due-"
_SECRET = re.compile(r"oauth-(?P<id>[0-9a-f]{32})-(?P<seconds>[0-9a-f]{8,10})-[0-9a-f]{12}")
_SECRET_PREFIX = "oauth-"  # noqa: S105 - the start of a name
_ORPHAN_AFTER = timedelta(minutes=15)


class StaleGrant(Exception):
    """Another caller renewed, claimed, replaced or revoked the grant since it was read."""


class GrantStore:
    """Stores grants. A grant's row and its place in the index of due grants change in one transaction.

    Tokens are written before the row that points to their version: a crash in between leaves a version that the next
    holder of the lease finds (`newest`), and no row ever points to tokens that are not there."""

    def __init__(self, tables: TableStore, secrets: SecretStore, clock: Clock) -> None:
        self._tables = tables
        self._secrets = secrets
        self._clock = clock

    # -- reading ------------------------------------------------------------------------------------------

    def get(self, integration_id: UUID) -> Grant | None:
        """Return the grant, None when the integration was never authorised. Raises Unavailable."""
        found = self._tables.get(TABLE, _shard(integration_id), _row(integration_id))
        return None if found is None else _grant_of(found)

    def tokens(self, grant: Grant) -> Tokens | None:
        """Return the tokens that the row points to. Raises Unavailable."""
        text = self._secrets.get(grant.secret_name, grant.version) if grant.secret_name else None
        return None if text is None else Tokens.of_text(text)

    def newest(self, grant: Grant) -> Tokens | None:
        """Return the tokens that the row points to, or newer ones whose refresher died before the row named them."""
        text = self._secrets.get(grant.secret_name) if grant.secret_name else None
        newest = None if text is None else Tokens.of_text(text)
        if newest is not None and newest.fence > grant.token_fence:
            return newest
        return self.tokens(grant)

    def due(self, limit: int) -> list[Grant]:
        """Return up to `limit` grants that are due, the longest due of each shard first."""
        horizon = f"{_DUE}{int(self._clock.now().timestamp()) + 1:012d}"
        per_shard = max(1, limit // len(_SHARDS))
        found = (
            self.get(UUID(hex=entity.row_key.rpartition("-")[2]))
            for shard in _SHARDS
            for entity in self._tables.query(
                TABLE, shard, row_key_from=_DUE, row_key_to=horizon, limit=per_shard
            )
        )
        return [grant for grant in found if grant is not None]

    # -- writing ------------------------------------------------------------------------------------------

    def claim(self, grant: Grant) -> Grant:
        """Take the lease of a grant that is still as it was read; the fence counts up. Raises StaleGrant."""
        claimed = replace(grant, fence=grant.fence + 1, lease_until=self._clock.now() + LEASE)
        entity = TableEntity(
            _shard(grant.integration_id), _row(grant.integration_id), _properties_of(claimed)
        )
        try:
            etag = self._tables.replace(TABLE, entity, etag=grant.etag)
        except EtagMismatch:
            raise StaleGrant from None
        return replace(claimed, etag=etag)

    def check(self, claimed: Grant) -> None:
        """Raise StaleGrant unless the lease's fence is still the last one."""
        self._still(claimed)

    def change(self, claimed: Grant, change: Callable[[Grant], Grant]) -> Grant:
        """Store a change as long as the fence is that of `claimed`. Raises StaleGrant."""
        while True:
            current = self._still(claimed)
            changed = change(current)
            # Something beside the fence may have changed; then the next look decides.
            if self._write(current, changed):
                return changed

    def put(self, name: str, tokens: Tokens) -> str:
        """Store tokens; return their version, for the row to point to."""
        return self._secrets.set(name, tokens.to_text())

    def establish(self, fresh: Grant, tokens: Tokens) -> Grant:
        """Store a new authorization in place of any earlier one, whose tokens are destroyed. Raises Unavailable.

        A refresh of the earlier tokens that is running gets StaleGrant."""
        name = self._new_name(fresh.integration_id)
        while True:
            before = self.get(fresh.integration_id)
            fence = before.fence + 1 if before else 1
            version = self.put(name, replace(tokens, fence=fence))
            grant = replace(fresh, secret_name=name, version=version, token_fence=fence, fence=fence)
            if self._write(before, grant):
                if before is not None:
                    self.discard(before.secret_name)
                return grant

    def revoke(self, grant: Grant) -> None:
        """Mark the grant as gone and destroy its tokens. Raises StaleGrant when its fence is another by now."""
        self.change(grant, lambda current: _gone(current, current.fence))
        self.discard(grant.secret_name)

    def begin_withdrawal(self, integration_id: UUID) -> None:
        """Let the timer finish the withdrawal after one lease's time, in case of a crash."""
        while (before := self.get(integration_id)) is not None and before.status == GrantStatus.Active:
            if self._write(before, replace(before, withdrawn=True, due_at=self._clock.now() + LEASE)):
                return

    def withdraw(self, integration_id: UUID) -> Grant | None:
        """Revoke the grant whatever its fence, so that a running refresh gets StaleGrant; return it as it was."""
        while (before := self.get(integration_id)) is not None:
            if self._write(before, _gone(before, before.fence + 1)):
                self.discard(before.secret_name)
                return before
        return None

    def remove(self, grant: Grant) -> None:
        """Forget a grant whose integration is gone, its tokens first."""
        if grant.secret_name:
            self._secrets.delete(grant.secret_name)
        current = self.get(grant.integration_id)
        if current is None:
            return
        shard = _shard(grant.integration_id)
        rows = [TableWrite("delete", TableEntity(shard, _row(grant.integration_id), {}), current.etag)]
        if current.status == GrantStatus.Active:
            rows.append(TableWrite("delete", TableEntity(shard, _due(current), {})))
        try:
            self._tables.transact(TABLE, rows)
        except EtagMismatch:
            logger.info("grant changed while it was removed, left to the next sweep")

    def discard(self, name: str) -> None:
        """Destroy tokens that no row points to; leave them to the sweep when the store does not answer."""
        try:
            if name:
                self._secrets.delete(name)
        except Unavailable:
            logger.warning("tokens not destroyed, left to the sweep", extra={"secret": name})

    def sweep(self) -> int:
        """Destroy tokens that no row points to, as a crash may leave them; return how many."""
        horizon = self._clock.now() - _ORPHAN_AFTER
        return sum(self._secrets.delete(name) for name in self._orphans(horizon))

    # -- steps --------------------------------------------------------------------------------------------

    def _orphans(self, horizon: datetime) -> Iterator[str]:
        for name in self._secrets.names(_SECRET_PREFIX):
            match = _SECRET.fullmatch(name)
            if match is None or datetime.fromtimestamp(int(match["seconds"], 16), UTC) > horizon:
                continue
            grant = self.get(UUID(hex=match["id"]))
            if grant is None or grant.secret_name != name:
                yield name

    def _still(self, claimed: Grant) -> Grant:
        current = self.get(claimed.integration_id)
        if current is None or current.fence != claimed.fence or current.status != GrantStatus.Active:
            raise StaleGrant
        return current

    def _write(self, before: Grant | None, after: Grant) -> bool:
        """Store `after` with its place in the index; return False when the row is not as in `before` any more."""
        shard = _shard(after.integration_id)
        entity = TableEntity(shard, _row(after.integration_id), _properties_of(after))
        kind: Literal["insert", "replace"] = "insert" if before is None else "replace"
        writes = [TableWrite(kind, entity, before.etag if before else None)]
        old = _due(before) if before is not None and before.status == GrantStatus.Active else None
        new = _due(after) if after.status == GrantStatus.Active else None
        if old != new:
            writes += [TableWrite("delete", TableEntity(shard, old, {}))] if old else []
            writes += [TableWrite("upsert", TableEntity(shard, new, {}))] if new else []
        try:
            self._tables.transact(TABLE, writes)
        except (EtagMismatch, EntityExists):
            return False
        return True

    def _new_name(self, integration_id: UUID) -> str:
        seconds = int(self._clock.now().timestamp())
        return f"{_SECRET_PREFIX}{integration_id.hex}-{seconds:08x}-{randomness.token_hex(6)}"


def _gone(grant: Grant, fence: int) -> Grant:
    return replace(
        grant, status=GrantStatus.Revoked, fence=fence, secret_name="", version="", lease_until=None
    )


def _shard(integration_id: UUID) -> str:
    return integration_id.hex[-1]


def _row(integration_id: UUID) -> str:
    return f"{_ROW}{integration_id.hex}"


def _due(grant: Grant) -> str:
    return f"{_DUE}{int(grant.due_at.timestamp()):012d}-{grant.integration_id.hex}"


def _properties_of(grant: Grant) -> dict[str, TableValue]:
    stored: dict[str, TableValue | None] = {
        "integrationId": str(grant.integration_id),
        "tenantId": str(grant.tenant_id),
        "userId": str(grant.user_id),
        "status": grant.status.value,
        "authorizedAt": grant.authorized_at,
        "expiresAt": grant.expires_at,
        "dueAt": grant.due_at,
        "scopes": " ".join(grant.scopes),
        "requestedScopes": " ".join(grant.requested_scopes),
        "renewable": grant.renewable,
        "secretName": grant.secret_name,
        "secretVersion": grant.version,
        "tokenFence": grant.token_fence,
        "fence": grant.fence,
        "leaseUntil": grant.lease_until,
        "refreshedAt": grant.refreshed_at,
        "retryAt": grant.retry_at,
        "failures": grant.failures,
        "finished": grant.finished,
        "withdrawn": grant.withdrawn,
        "destination": None if grant.destination is None else json.dumps(dict(grant.destination)),
    }
    return {name: value for name, value in stored.items() if value is not None}


def _grant_of(entity: TableEntity) -> Grant:
    stored = entity.properties
    return Grant(
        integration_id=UUID(str(stored["integrationId"])),
        tenant_id=UUID(str(stored["tenantId"])),
        user_id=UUID(str(stored["userId"])),
        status=GrantStatus(str(stored["status"])),
        authorized_at=cast(datetime, stored["authorizedAt"]),
        expires_at=cast(datetime, stored["expiresAt"]),
        due_at=cast(datetime, stored["dueAt"]),
        scopes=tuple(str(stored["scopes"]).split()),
        requested_scopes=tuple(str(stored["requestedScopes"]).split()),
        renewable=bool(stored["renewable"]),
        secret_name=str(stored["secretName"]),
        version=str(stored["secretVersion"]),
        token_fence=cast(int, stored["tokenFence"]),
        fence=cast(int, stored["fence"]),
        lease_until=cast("datetime | None", stored.get("leaseUntil")),
        refreshed_at=cast("datetime | None", stored.get("refreshedAt")),
        retry_at=cast("datetime | None", stored.get("retryAt")),
        failures=cast(int, stored["failures"]),
        finished=bool(stored["finished"]),
        withdrawn=bool(stored.get("withdrawn", False)),
        destination=json.loads(str(stored["destination"])) if "destination" in stored else None,
        etag=entity.etag,
    )
