"""Calls every method of the repositories of anomalies once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from domain.anomalies.model import (
    Anomaly,
    AnomalyFilter,
    AnomalyStatus,
    Direction,
    Expectation,
    Metric,
    Subject,
)
from domain.anomalies.ports import Sighting, Trait
from domain.insights.model import SubjectKind, hour_of
from domain.paging import PageRequest
from infra.sql.unit_of_work import SqlUnitOfWork
from tests.contract.sql_world import World

Call = Callable[[SqlUnitOfWork], object]
REPOSITORIES = ("anomalies", "sightings")


def anomaly(world: World) -> Anomaly:
    hour = hour_of(world.clock.now())
    return Anomaly(
        world.ids.new(),
        world.tenant,
        Subject(SubjectKind.Webhook, world.ids.new()),
        Metric.Traffic,
        Direction.Above,
        hour,
        hour,
        "900 attempts; 300 to 420 were expected.",
        900.0,
        Expectation(355.0, 300.0, 420.0),
        17.5,
    )


def calls(world: World) -> dict[str, list[Call]]:
    tenant, now = world.tenant, world.clock.now()
    later = now + timedelta(days=100)
    stored, fresh, newcomer = anomaly(world), anomaly(world), world.ids.new()
    with world.units.write() as unit:
        unit.anomalies.add(tenant, stored)
        unit.anomalies.set_watermark(tenant, hour_of(now), before=None)
        unit.commit()
    subject, id_ = stored.subject.subject_id, stored.anomaly_id
    ended = replace(stored, ended_at=now)
    decided = replace(
        stored, acknowledged_at=now, acknowledged_by=world.user, note="Mine.", snoozed_until=later
    )
    every = AnomalyFilter(AnomalyStatus.Ended, tuple(Metric), subject, True)
    seen = [Sighting(tenant, newcomer, trait, "192.0.2.0/24") for trait in Trait]

    def forgotten(unit: SqlUnitOfWork) -> None:
        unit.anomalies.update(tenant, ended)
        unit.anomalies.delete_before(later, 10)

    def sightings_forgotten(unit: SqlUnitOfWork) -> None:
        unit.sightings.see(seen, now)
        unit.sightings.delete_before(later, 10)

    return {
        "anomalies.add": [lambda unit: unit.anomalies.add(tenant, fresh)],
        "anomalies.get": [lambda unit: unit.anomalies.get(tenant, id_)],
        "anomalies.page": [
            lambda unit: unit.anomalies.page(tenant, AnomalyFilter(), PageRequest()),
            lambda unit: unit.anomalies.page(tenant, every, PageRequest(2, 50)),
        ],
        "anomalies.active": [lambda unit: unit.anomalies.active(tenant)],
        "anomalies.update": [lambda unit: unit.anomalies.update(tenant, ended)],
        "anomalies.decide": [lambda unit: unit.anomalies.decide(tenant, decided)],
        "anomalies.snoozed": [lambda unit: unit.anomalies.snoozed(tenant, now)],
        "anomalies.exists_since": [
            lambda unit: unit.anomalies.exists_since(tenant, subject, Metric.Traffic, now)
        ],
        "anomalies.watermarks": [lambda unit: unit.anomalies.watermarks()],
        "anomalies.set_watermark": [
            lambda unit: unit.anomalies.set_watermark(tenant, later, before=hour_of(now)),
            lambda unit: unit.anomalies.set_watermark(newcomer, later, before=None),
        ],
        "anomalies.delete_before": [forgotten],
        "sightings.see": [
            lambda unit: unit.sightings.see(seen, now),
            lambda unit: [unit.sightings.see(seen, now), unit.sightings.see(seen, later)],
        ],
        "sightings.known_of": [lambda unit: unit.sightings.known_of([newcomer], Trait.Scope)],
        "sightings.known": [lambda unit: unit.sightings.known(newcomer, Trait.Network)],
        "sightings.delete_before": [sightings_forgotten],
    }
