"""Calls every method of the repositories of anomalies once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from domain.core.paging import PageRequest
from domain.journal.signals import SubjectKind, hour_of
from domain.monitoring.anomalies.model import (
    Anomaly,
    AnomalyFilter,
    AnomalyStatus,
    AnomalySubject,
    Direction,
    Expectation,
    Metric,
)
from domain.monitoring.anomalies.ports import Sighting, Trait
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("anomalies", "sightings")


def anomaly(world: SqlWorld) -> Anomaly:
    hour = hour_of(world.clock.now())
    return Anomaly(
        world.ids.new(),
        world.tenant,
        AnomalySubject(SubjectKind.Webhook, world.ids.new()),
        Metric.Traffic,
        Direction.Above,
        hour,
        hour,
        "900 attempts; 300 to 420 were expected.",
        900.0,
        Expectation(355.0, 300.0, 420.0),
        17.5,
    )


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    tenant, now = world.tenant, world.clock.now()
    later = now + timedelta(days=100)
    stored, fresh, newcomer = anomaly(world), anomaly(world), world.ids.new()
    with world.transactions.write() as tx:
        tx.anomalies.add(tenant, stored)
        tx.anomalies.set_watermark(tenant, hour_of(now), before=None)
        tx.commit()
    subject, id_ = stored.subject.subject_id, stored.anomaly_id
    ended = replace(stored, ended_at=now)
    decided = replace(
        stored, acknowledged_at=now, acknowledged_by=world.user, note="Mine.", snoozed_until=later
    )
    every = AnomalyFilter(AnomalyStatus.Ended, tuple(Metric), subject, True)
    seen = [Sighting(tenant, newcomer, trait, "192.0.2.0/24") for trait in Trait]

    def forgotten(tx: SqlTransaction) -> None:
        tx.anomalies.update(tenant, ended)
        tx.anomalies.delete_before(later, 10)

    def sightings_forgotten(tx: SqlTransaction) -> None:
        tx.sightings.see(seen, now)
        tx.sightings.delete_before(later, 10)

    return {
        "anomalies.add": [lambda tx: tx.anomalies.add(tenant, fresh)],
        "anomalies.get": [lambda tx: tx.anomalies.get(tenant, id_)],
        "anomalies.page": [
            lambda tx: tx.anomalies.page(tenant, AnomalyFilter(), PageRequest()),
            lambda tx: tx.anomalies.page(tenant, every, PageRequest(2, 50)),
        ],
        "anomalies.active": [lambda tx: tx.anomalies.active(tenant)],
        "anomalies.update": [lambda tx: tx.anomalies.update(tenant, ended)],
        "anomalies.decide": [lambda tx: tx.anomalies.decide(tenant, decided)],
        "anomalies.snoozed": [lambda tx: tx.anomalies.snoozed(tenant, now)],
        "anomalies.exists_since": [
            lambda tx: tx.anomalies.exists_since(tenant, subject, Metric.Traffic, now)
        ],
        "anomalies.watermarks": [lambda tx: tx.anomalies.watermarks()],
        "anomalies.set_watermark": [
            lambda tx: tx.anomalies.set_watermark(tenant, later, before=hour_of(now)),
            lambda tx: tx.anomalies.set_watermark(newcomer, later, before=None),
        ],
        "anomalies.delete_before": [forgotten],
        "sightings.see": [lambda tx: tx.sightings.see(seen, now)],
        "sightings.known_of": [lambda tx: tx.sightings.known_of([newcomer], Trait.Scope)],
        "sightings.known": [lambda tx: tx.sightings.known(newcomer, Trait.Network)],
        "sightings.delete_before": [sightings_forgotten],
    }
