"""Writing a change of an integration: its row, events, log row and audit entry together, and its alerts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from domain.core.errors import DomainError
from domain.core.ports import Clock, IdGenerator
from domain.core.principal import Principal, guid
from domain.integrations.configuration import MASK
from domain.integrations.events import status_events
from domain.integrations.model import Integration, IntegrationLog, IntegrationStatus, LogLevel
from domain.integrations.ports import IntegrationTransaction, SlotTaken
from domain.integrations.rules import slot_taken
from domain.journal.audit import AuditEntry
from domain.journal.occurrences import occurrence

_LEVELS: Mapping[IntegrationStatus, LogLevel] = {
    IntegrationStatus.Suspended: LogLevel.Warning,
    IntegrationStatus.Error: LogLevel.Error,
}


class ChangeRecorder:
    """Writes into a transaction of the caller. Without a principal the hub itself made the change."""

    def __init__(self, clock: Clock, ids: IdGenerator) -> None:
        self._clock = clock
        self._ids = ids

    def add(self, tx: IntegrationTransaction, integration: Integration, principal: Principal) -> None:
        tx.integrations.add(integration.tenant_id, integration)
        self.log(tx, integration, "Created as a draft.", principal=principal)
        _audit(tx, "integration.created", None, integration, principal=principal)

    def save(
        self,
        tx: IntegrationTransaction,
        before: Integration,
        after: Integration,
        action: str,
        *,
        principal: Principal | None = None,
        changed: Sequence[str] = (),
        note: str | None = None,
        level: LogLevel | None = None,
    ) -> Integration:
        """Store `after` and return it with its new version. Raises PreconditionFailed, RuleViolation (BR-IM-01).

        `changed` are pointers to the changed fields of the configuration, `note` is what a person wrote about it."""
        now = self._clock.now()
        if principal is not None:
            after = replace(after, modified_at=now, modified_by=principal.user_id)
        try:
            tx.integrations.update(after.tenant_id, after)
        except SlotTaken:
            raise slot_taken(after) from None
        by = principal.user_id if principal else None
        tx.outbox.append(status_events(self._ids, before, after, by, now=now))
        if before.status != after.status or note is not None:
            message = note or after.reason or f"{after.status.name}."
            details = {"previousStatus": before.status.name, "status": after.status.name, "action": action}
            level = level if level is not None else _LEVELS.get(after.status, LogLevel.Information)
            self.log(tx, after, message, level=level, details=details, principal=principal)
        _audit(tx, action, before, after, principal=principal, changed=changed, note=note)
        return replace(after, version=after.version + 1)

    def log(
        self,
        tx: IntegrationTransaction,
        integration: Integration,
        message: str,
        *,
        level: LogLevel = LogLevel.Information,
        details: Mapping[str, Any] | None = None,
        principal: Principal | None = None,
    ) -> None:
        """Add an IntegrationLogs row. Neither message nor details may hold a value of the configuration."""
        row = IntegrationLog(
            self._ids.new(),
            integration.integration_id,
            level,
            message,
            created_at=self._clock.now(),
            details=json.dumps(details) if details else None,
            request_id=guid(principal.origin.request_id) if principal else None,
        )
        tx.integration_logs.append([row])

    def alert(self, tx: IntegrationTransaction, kind: str, integration: Integration, detail: str) -> None:
        """Raise an alert; the caller flushes the occurrences after the commit."""
        data = {
            "integrationId": str(integration.integration_id),
            "name": integration.name,
            "integrationType": integration.integration_type.name,
            "provider": integration.provider,
            "status": integration.status.name,
            "healthStatus": integration.health_status.name,
            "consecutiveFailures": integration.consecutive_failures,
            "detail": detail,
        }
        tx.occurrences.append(occurrence(kind, data, self._clock.now(), tenant_id=integration.tenant_id))

    def tell_moved(
        self,
        tx: IntegrationTransaction,
        integration: Integration,
        fields: Sequence[str],
        principal: Principal,
    ) -> None:
        """Alert that secrets of an integration in use go elsewhere, or otherwise, from now on; no value is told."""
        named = ", ".join(pointer[1:] for pointer in fields)
        detail = f"Its secrets travel otherwise than before: {principal.user_id} changed {named}."
        self.alert(tx, "integration-moved", integration, detail)
        details = {"fields": list(fields)}
        self.log(tx, integration, detail, level=LogLevel.Warning, details=details, principal=principal)

    def note_refusal(
        self,
        tx: IntegrationTransaction,
        integration: Integration,
        refused: DomainError,
        *,
        asked: Sequence[str],
        principal: Principal,
    ) -> None:
        """Write an attempt that was refused or failed into log and audit log: the fields asked for, and why."""
        after = {"refused": refused.code, "configuration": dict.fromkeys(asked, MASK)}
        target = integration.integration_id
        entry = AuditEntry("integration.change-refused", "integration", target, principal, after=after)
        tx.audit.append(integration.tenant_id, entry)
        message = f"A change was refused: {refused.detail}"
        self.log(tx, integration, message, level=LogLevel.Warning, details=after, principal=principal)


def _audit(
    tx: IntegrationTransaction,
    action: str,
    before: Integration | None,
    after: Integration,
    *,
    principal: Principal | None,
    changed: Sequence[str] = (),
    note: str | None = None,
) -> None:
    old = _state(before, changed) if before else None
    new = _state(after, changed) | ({"note": note} if note is not None else {})
    entry = AuditEntry(action, "integration", after.integration_id, principal, old, new)
    tx.audit.append(after.tenant_id, entry)


def _state(integration: Integration, changed: Sequence[str]) -> dict[str, Any]:
    """Return what the audit log shows, which is not encrypted: changed configuration fields, no value (BR-IM-06)."""
    state: dict[str, Any] = {
        "name": integration.name,
        "integrationType": integration.integration_type.name,
        "provider": integration.provider,
        "status": integration.status.name,
        "reason": integration.reason,
        "isEnabled": integration.is_enabled,
        "allowTls12": integration.allow_tls_1_2,
    }
    if changed:
        state["configuration"] = {pointer.removeprefix("/configuration/"): MASK for pointer in changed}
    return state
