"""Every step, page and batch by which the product goes through rows, made small, so that loops see a second one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import pytest

STEP = 2
#: By module: the names of its steps. The product reads them when it runs.
STEPS: Mapping[str, tuple[str, ...]] = {
    "domain.apikeys.expiry": ("PER_TRANSACTION",),
    "domain.apikeys.usage": ("PAGE", "ROWS"),
    "domain.authentication.key_usage_watch": ("PER_TRANSACTION",),
    "domain.authentication.user_limits": ("SCAN",),
    "domain.core.idempotency": ("SCAN",),
    "domain.incoming.service": ("PER_TRANSACTION",),
    "domain.integrations.credential_store": ("CHUNK",),
    "domain.integrations.health_history": ("PAGE", "CHUNK", "ROWS_PER_TRANSACTION"),
    "domain.journal.audit_check": ("CHUNK",),
    "domain.journal.audit_log": ("CHUNK",),
    "domain.journal.occurrences": ("BATCH",),
    "domain.journal.usage": ("ROWS", "TENANTS"),
    "domain.monitoring.alerts.evaluation": ("CHUNK",),
    "domain.monitoring.anomalies.watch": ("PER_TRANSACTION",),
    "domain.monitoring.signal_series": ("ADDED_UP", "FORGOTTEN"),
    "domain.oauth.revocation": ("PAGE",),
    "domain.privacy.places": (
        "RecordPlace.batch",
        "EventPlace.batch",
        "IncomingRequestPlace.batch",
        "LogPlace.batch",
        "RecordErrorPlace.batch",
    ),
    "domain.sync.exporting": ("PUSHES", "AT_ONCE"),
    "domain.sync.importing": ("SWEEP_RECORDS",),
    "domain.sync.record_service": ("CHUNK",),
    "domain.tenants.deletion": ("ENTITIES", "ROWS", "THINGS"),
    "domain.tenants.service": ("PER_TRANSACTION",),
    "domain.webhooks.fan_out": ("EVENTS_PER_TRANSACTION", "EVENTS_PER_LOOK"),
    "domain.webhooks.loop_brake": ("RELEASED_PER_TRANSACTION",),
    "domain.webhooks.sweep": ("PER_TRANSACTION", "DELETED_PER_TRANSACTION"),
    "infra.rotate_data_key": ("BATCH",),
    "infra.sql.privacy.personal_data": ("OWNERS",),
    "infra.sql.statements": ("CHUNK",),
}


def make_small(patching: pytest.MonkeyPatch) -> None:
    """Make every step that a test may reach STEP; a step that is gone raises."""
    for module, names in STEPS.items():
        for name in names:
            owner: Any = importlib.import_module(module)
            *classes, attribute = name.split(".")
            for inner in classes:
                owner = getattr(owner, inner)
            patching.setattr(owner, attribute, STEP)
