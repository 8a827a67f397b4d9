"""Random lives of keys against a small model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.apikeys.expiry import KeyExpiry
from domain.apikeys.model import RotateApiKey, UpdateApiKey
from domain.apikeys.rules import VerificationCode
from domain.apikeys.service import ApiKeyService, Issued
from domain.core.errors import Conflict, RuleViolation
from domain.journal.audit_log import AuditService
from tests.worlds.apikey_world import ApiKeyWorld

SCOPES = ["events:read", "bookings:write", "customers:read"]
LIMIT = 4


@dataclass
class Modelled:
    issued: Issued
    scopes: set[str]
    expires_at: datetime | None
    revoked: bool = False
    ended: bool = False
    successor: int | None = None
    predecessor: int | None = None


class KeyLives(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.world = ApiKeyWorld(Path(self.directory.name), api_key_limit_per_tenant=LIMIT)
        self.keys: list[Modelled] = []

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.hub.database.close()
            self.directory.cleanup()

    # -- the model ----------------------------------------------------------------------------------------

    def code(self, key: Modelled) -> VerificationCode:
        if key.ended:
            return VerificationCode.EXPIRED
        if key.revoked:
            return VerificationCode.REVOKED
        expired = key.expires_at is not None and self.world.clock.now() >= key.expires_at
        return VerificationCode.EXPIRED if expired else VerificationCode.VALID

    def alive(self, index: int | None) -> bool:
        return index is not None and self.code(self.keys[index]) is VerificationCode.VALID

    def active(self) -> int:
        return sum(self.alive(index) for index in range(len(self.keys)))

    def attempt(self, action: Any) -> tuple[Any, str | None]:
        try:
            return action(), None
        except (RuleViolation, Conflict) as refusal:
            return None, refusal.code

    # -- what may happen ----------------------------------------------------------------------------------

    @rule(scopes=st.sets(st.sampled_from(SCOPES), min_size=1), life=st.none() | st.integers(1, 5))
    def create(self, scopes: set[str], life: int | None) -> None:
        expires_at = self.world.clock.now() + timedelta(hours=life) if life else None
        room = self.active() < LIMIT
        issued, refusal = self.attempt(lambda: self.world.issue(scopes=sorted(scopes), expiresAt=expires_at))
        assert refusal == (None if room else "BR-AK-03")
        if issued:
            self.keys.append(Modelled(issued, scopes, expires_at))

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), scopes=st.sets(st.sampled_from(SCOPES), min_size=1))
    def restrict(self, data: st.DataObject, scopes: set[str]) -> None:
        key = self.keys[data.draw(st.integers(0, len(self.keys) - 1))]
        command = UpdateApiKey(scopes=sorted(scopes))
        _, refusal = self.attempt(
            lambda: self.world.hub.use(ApiKeyService).update(
                self.world.admin, key.issued.key.api_key_id, command, None
            )
        )
        if self.code(key) is not VerificationCode.VALID:
            assert refusal == "BR-AK-07"
        elif not scopes <= key.scopes:
            assert refusal == "BR-AK-06"
        else:
            assert refusal is None
            key.scopes = scopes

    @precondition(lambda self: self.keys)
    @rule(data=st.data(), grace=st.integers(0, 3))
    def rotate(self, data: st.DataObject, grace: int) -> None:
        index = data.draw(st.integers(0, len(self.keys) - 1))
        key = self.keys[index]
        pending = self.alive(key.successor) or self.alive(key.predecessor)
        issued, refusal = self.attempt(
            lambda: self.world.hub.use(ApiKeyService).rotate(
                self.world.admin,
                key.issued.key.api_key_id,
                RotateApiKey(grace_period_seconds=grace * 3600),
                None,
            )
        )
        if self.code(key) is not VerificationCode.VALID:
            assert refusal == "BR-AK-07"
        elif pending:
            assert refusal == "rotation-pending"
        else:
            assert refusal is None
            self.keys.append(Modelled(issued, set(key.scopes), key.expires_at, predecessor=index))
            key.successor = len(self.keys) - 1
            end = self.world.clock.now() + timedelta(hours=grace)
            key.expires_at = end if key.expires_at is None else min(end, key.expires_at)
            key.revoked = grace == 0

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.keys) - 1))
        key = self.keys[index]
        if key.successor is not None and not key.revoked:
            old, new = index, key.successor
        elif key.predecessor is not None:
            old, new = key.predecessor, index
        else:
            old, new = index, -1 if key.successor is None else key.successor
        _, refusal = self.attempt(
            lambda: self.world.hub.use(ApiKeyService).confirm_rotation(
                self.world.admin, key.issued.key.api_key_id
            )
        )
        if new < 0 or not self.alive(new) or self.keys[old].revoked:
            assert refusal == "no-rotation"
        else:
            assert refusal is None
            self.keys[old].revoked = True

    @precondition(lambda self: self.keys)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        key = self.keys[data.draw(st.integers(0, len(self.keys) - 1))]
        self.world.hub.use(ApiKeyService).revoke(self.world.admin, key.issued.key.api_key_id, "Test", None)
        key.revoked = True

    @rule(hours=st.integers(1, 3))
    def wait(self, hours: int) -> None:
        self.world.clock.advance(hours=hours)

    @rule()
    def expire(self) -> None:
        expired = [key for key in self.keys if self.code(key) is VerificationCode.EXPIRED]
        due = [key for key in expired if not key.revoked]
        assert self.world.hub.use(KeyExpiry).revoke_expired() == len(due)
        for key in due:
            key.revoked = key.ended = True

    # -- what always holds --------------------------------------------------------------------------------

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "world"):
            return
        for key in self.keys:
            assert self.world.verify(key.issued.plain, consume=False).code is self.code(key)
            stored = self.world.hub.use(ApiKeyService).get(self.world.admin, key.issued.key.api_key_id)
            assert set(stored.scopes) == key.scopes
            assert stored.is_active is not key.revoked

    @invariant()
    def the_audit_chain_is_whole(self) -> None:
        if hasattr(self, "world"):
            assert self.world.hub.use(AuditService).verify(self.world.admin).intact


KeyLives.TestCase.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestKeyLives = KeyLives.TestCase
