"""Calls every method of the integrations' repositories once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from domain.core.paging import PageRequest
from domain.integrations.model import HealthStatus, Integration, IntegrationLog, IntegrationStatus, LogLevel
from domain.integrations.ports import HealthUpdate, IntegrationFilter, LogFilter
from domain.providers.contract import IntegrationType
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("integrations", "integration_logs")


def integration_calls(world: SqlWorld) -> dict[str, list[Call]]:
    now = world.clock.now()
    stored = Integration(
        world.ids.new(),
        world.tenant,
        "Payments",
        IntegrationType.PaymentGateway,
        "Stripe",
        IntegrationStatus.Active,
        "sealed",
        now,
        world.user,
        secret_name="integration-1",
    )
    log = IntegrationLog(world.ids.new(), stored.integration_id, LogLevel.Error, "Failed.", now)
    with world.transactions.write() as tx:
        tx.integrations.add(world.tenant, stored)
        tx.integration_logs.append([log])
        tx.commit()
    return _integrations(world, stored) | _logs(world, log)


def _integrations(world: SqlWorld, stored: Integration) -> dict[str, list[Call]]:
    tenant, id_, now = world.tenant, stored.integration_id, world.clock.now()
    other = replace(stored, integration_id=world.ids.new(), status=IntegrationStatus.Draft, secret_name=None)
    every = IntegrationFilter(
        list(IntegrationType),
        list(IntegrationStatus),
        ["Stripe"],
        list(HealthStatus),
        "50%_[a",
        "lastHealthCheck",
        True,
        calendars_of=world.user,
    )
    checks = [
        HealthUpdate(checked, HealthStatus.Healthy, "{}", 0, None, now)
        for checked in (stored, replace(stored, secret_name=None), other)
    ]
    before = now - timedelta(minutes=2)
    return {
        "integrations.add": [lambda tx: tx.integrations.add(tenant, other)],
        "integrations.get": [lambda tx: tx.integrations.get(tenant, id_)],
        "integrations.find": [lambda tx: tx.integrations.find(id_)],
        "integrations.page": [
            lambda tx: tx.integrations.page(tenant, every, PageRequest(2, 50)),
            lambda tx: tx.integrations.page(tenant, IntegrationFilter(), PageRequest()),
        ],
        "integrations.update": [lambda tx: tx.integrations.update(tenant, replace(stored, name="Renamed"))],
        "integrations.count": [lambda tx: tx.integrations.count(tenant)],
        "integrations.slot_holder": [lambda tx: tx.integrations.slot_holder(tenant, "PaymentGateway")],
        "integrations.due_for_check": [
            lambda tx: tx.integrations.due_for_check(now, after=None, checked_before=before, limit=500),
            lambda tx: tx.integrations.due_for_check(now, after=id_, checked_before=before, limit=500),
        ],
        "integrations.record_checks": [lambda tx: tx.integrations.record_checks(checks)],
        "integrations.secret_names": [
            lambda tx: tx.integrations.secret_names([f"integration-{n}" for n in range(1_200)])
        ],
        "integrations.note_client": [lambda tx: tx.integrations.note_client(id_, "c" * 64)],
        "integrations.of_client": [
            lambda tx: tx.integrations.of_client("c" * 64, None, after=None, limit=10),
            lambda tx: tx.integrations.of_client("c" * 64, "a" * 64, after=id_, limit=10),
        ],
        "integrations.all_ids": [
            lambda tx: tx.integrations.all_ids(after=None, limit=10),
            lambda tx: tx.integrations.all_ids(after=id_, limit=10),
        ],
    }


def _logs(world: SqlWorld, log: IntegrationLog) -> dict[str, list[Call]]:
    now = world.clock.now()
    every = LogFilter(list(LogLevel), now, now + timedelta(days=1), "50%_[a")
    new = replace(log, integration_log_id=world.ids.new())
    return {
        "integration_logs.append": [lambda tx: tx.integration_logs.append([new])],
        "integration_logs.page": [
            lambda tx: tx.integration_logs.page(log.integration_id, every, PageRequest())
        ],
        "integration_logs.delete_before": [
            lambda tx: tx.integration_logs.delete_before(now + timedelta(days=1), 100)
        ],
    }
