"""What each act leaves in a tenant's audit log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.core.principal import Principal
from infra.app.hub import Hub


@dataclass(frozen=True)
class Expected:
    """An entry: `before` and `after` hold at least these members; without `by_hub` the caller did it.

    `target` is None where the entry has an id of its own."""

    action: str
    target: UUID | str | None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    by_hub: bool = False


class AuditTrail:
    """Follows the log of the principal's tenant; `seen` are the actions that came so far."""

    def __init__(self, hub: Hub, principal: Principal) -> None:
        self._hub, self._principal = hub, principal
        self.seen: set[str] = set()
        self.skip()

    def skip(self) -> None:
        """Go to the end of the log."""
        with self._hub.transactions.read() as tx:
            self._last = tx.audit.ends(self._principal.tenant_id).head_sequence

    def leaves(self, *expected: Expected) -> None:
        """Check that exactly these entries came since the last check, in this order."""
        with self._hub.transactions.read() as tx:
            rows = tx.audit.chain(self._principal.tenant_id, self._last, 1_000)
        records = [row for row in rows if not isinstance(row, int)]
        assert [row.action for row in records] == [entry.action for entry in expected]
        for row, entry in zip(records, expected, strict=True):
            if entry.target is not None:
                assert row.target_id == str(entry.target), entry.action
            assert row.target_type, entry.action
            assert row.actor_user_id == (None if entry.by_hub else self._principal.user_id), entry.action
            assert row.occurred_at <= self._hub.clock.now(), entry.action
            for kept, wanted in ((row.before, entry.before), (row.after, entry.after)):
                assert (kept is None) == (wanted is None), entry.action
                found = json.loads(kept or "{}")
                assert {name: found.get(name) for name in wanted or {}} == (wanted or {}), entry.action
            assert not entry.before or row.before != row.after, entry.action
            self.seen.add(entry.action)
        self.skip()
