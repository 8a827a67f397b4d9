"""Storing a change of an integration with everything that follows from it, in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from domain.alerts.occurring import occurrence
from domain.audit.model import AuditEntry
from domain.identity.model import Principal
from domain.identity.rules import guid
from domain.integrations.configuration import MASK
from domain.integrations.events import status_events
from domain.integrations.model import Integration, IntegrationLog, IntegrationStatus, LogLevel
from domain.integrations.ports import SlotTaken
from domain.integrations.rules import slot_taken
from domain.ports import Clock, IdGenerator
from domain.unit_of_work import UnitOfWork

_LEVELS: Mapping[IntegrationStatus, LogLevel] = {
    IntegrationStatus.Suspended: LogLevel.Warning,
    IntegrationStatus.Error: LogLevel.Error,
}


class Changes:
    """Row, events, log row and audit entry, together or not at all."""

    def __init__(self, clock: Clock, ids: IdGenerator) -> None:
        self._clock = clock
        self._ids = ids

    def add(self, unit: UnitOfWork, integration: Integration, principal: Principal) -> None:
        """Store a new integration."""
        unit.integrations.add(integration.tenant_id, integration)
        self.log(unit, integration, "Created as a draft.", principal=principal)
        self._audit(unit, "integration.created", None, integration, principal, ())

    def save(
        self,
        unit: UnitOfWork,
        before: Integration,
        after: Integration,
        action: str,
        *,
        principal: Principal | None = None,
        changed: Sequence[str] = (),
        note: str | None = None,
        level: LogLevel | None = None,
    ) -> Integration:
        """Store `after`. `changed` are pointers into the configuration; `note` is a person's. Without a principal
        the hub itself did it. Raises PreconditionFailed, RuleViolation (BR-IM-01)."""
        now = self._clock.now()
        if principal is not None:
            after = replace(after, modified_at=now, modified_by=principal.user_id)
        try:
            unit.integrations.update(after.tenant_id, after)
        except SlotTaken:
            raise slot_taken(after) from None
        by = principal.user_id if principal else None
        unit.outbox.append(status_events(self._ids, before, after, by, now))
        if before.status != after.status or note is not None:
            message = note or after.reason or f"{after.status.name}."
            details = {"previousStatus": before.status.name, "status": after.status.name, "action": action}
            level = level if level is not None else _LEVELS.get(after.status, LogLevel.Information)
            self.log(unit, after, message, level=level, details=details, principal=principal)
        self._audit(unit, action, before, after, principal, changed, note)
        return replace(after, version=after.version + 1)

    def log(
        self,
        unit: UnitOfWork,
        integration: Integration,
        message: str,
        *,
        level: LogLevel = LogLevel.Information,
        details: Mapping[str, Any] | None = None,
        principal: Principal | None = None,
    ) -> None:
        """An IntegrationLogs row. Neither text nor details may hold a value of the configuration."""
        unit.integration_logs.append(
            [
                IntegrationLog(
                    integration_log_id=self._ids.new(),
                    integration_id=integration.integration_id,
                    log_level=level,
                    message=message,
                    created_at=self._clock.now(),
                    details=json.dumps(details) if details else None,
                    request_id=_request_id(principal),
                )
            ]
        )

    def alert(self, unit: UnitOfWork, kind: str, integration: Integration, detail: str) -> None:
        """Tell the administrators; goes to the queue after the commit."""
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
        unit.occurrences.append(occurrence(kind, data, self._clock.now(), tenant_id=integration.tenant_id))

    def _audit(
        self,
        unit: UnitOfWork,
        action: str,
        before: Integration | None,
        after: Integration,
        principal: Principal | None,
        changed: Sequence[str],
        note: str | None = None,
    ) -> None:
        new = _state(after, changed)
        if note is not None:
            new["note"] = note
        old = _state(before, changed) if before else None
        entry = AuditEntry(action, "integration", after.integration_id, principal, old, new)
        unit.audit.append(after.tenant_id, entry)


def _state(integration: Integration, changed: Sequence[str]) -> dict[str, Any]:
    """What the audit log shows. The configuration is encrypted at rest (BR-IM-06) and the audit log is not, so
    of the configuration it names the fields that changed and never a value."""
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


def _request_id(principal: Principal | None) -> UUID | None:
    return guid(principal.origin.request_id) if principal else None
