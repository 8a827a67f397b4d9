"""What shows that an anomaly or a security violation is over: usual hours with traffic, and accepted webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.core.errors import Unauthenticated
from domain.core.paging import PageRequest
from domain.journal.signals import hour_of
from domain.monitoring.alerts.evaluation import AlertEvaluator
from domain.monitoring.alerts.model import Alert, AlertFilter, AlertStatus
from domain.monitoring.alerts.service import AlertService
from tests.worlds.alert_world import HOOK, AlertWorld
from tests.worlds.incoming_desk import OWNER, Desk
from tests.worlds.incoming_world import Signed

ABOUT = {"subjectType": "webhook", "subject": str(HOOK), "metric": "error-rate", "detail": "Odd."}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AlertWorld]:
    made = AlertWorld(tmp_path)
    made.webhook()
    yield made
    made.close()


def hours(world: AlertWorld, count: int, *, traffic: int) -> Alert:
    """Let hours pass that the search for anomalies examines and finds usual; return the alert after them."""
    for _ in range(count):
        world.attempts(HOOK, traffic, 0)
        world.clock.advance(hours=1)
        examined(world)
        world.evaluator.evaluate()
    [alert] = world.listed(kinds=[])
    return alert


def examined(world: AlertWorld) -> None:
    tenant_id, hour = world.principal.tenant_id, hour_of(world.clock.now())
    with world.transactions.write() as tx:
        tx.anomalies.set_watermark(tenant_id, hour, before=tx.anomalies.watermarks().get(tenant_id))
        tx.commit()


def test_an_anomaly_is_over_after_three_usual_hours_with_traffic(world: AlertWorld) -> None:
    world.happen("anomaly", ABOUT)
    assert hours(world, 5, traffic=0).status == AlertStatus.Open, "silent hours show nothing"
    assert hours(world, 2, traffic=10).status == AlertStatus.Open
    over = hours(world, 1, traffic=10)
    assert (over.status, over.recovery) == (
        AlertStatus.Recovered,
        "3 hours with traffic in a row were as usual since 2026-03-01 14:00 UTC.",
    )


def test_hours_that_nobody_examined_show_nothing(world: AlertWorld) -> None:
    world.happen("anomaly", ABOUT)
    examined(world)
    for _ in range(6):
        world.clock.advance(hours=1)
        world.attempts(HOOK, 10, 0)
    assert world.evaluator.evaluate() == (0, 0)
    examined(world)
    assert world.evaluator.evaluate() == (0, 1)


@pytest.mark.parametrize("metric", ["new-network", "new-country", "new-client"])
def test_that_a_key_is_used_on_shows_nothing_about_who_uses_it_but_its_end_does(
    world: AlertWorld, metric: str
) -> None:
    key_id = world.key()
    about = {"subjectType": "apikey", "subject": str(key_id), "metric": metric, "detail": "New."}
    world.happen("key-anomaly", about)
    assert hours(world, 5, traffic=10).status == AlertStatus.Open
    world.revoke(key_id)
    assert world.evaluator.evaluate() == (0, 1)
    assert world.listed()[0].recovery == "The API key was revoked."


# -- incoming webhooks ------------------------------------------------------------------------------------


def refused(desk: Desk, count: int) -> None:
    for _ in range(count):
        with pytest.raises(Unauthenticated):
            desk.receive(Signed(b"{}", {"stripe-signature": "t=1,v1=00"}))


def accepted(desk: Desk, count: int) -> None:
    for number in range(count):
        sent = desk.stripe_sends(f"evt_{desk.clock.now():%H%M}_{number}")
        assert desk.receive(sent).accepted == 1


def only(desk: Desk) -> Alert:
    [alert] = desk.hub.use(AlertService).page(OWNER, AlertFilter(), PageRequest()).items
    return alert


def test_refused_webhooks_are_over_when_three_requests_in_a_row_are_accepted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    evaluator = desk.hub.use(AlertEvaluator)
    accepted(desk, 5)
    refused(desk, 12)
    desk.clock.advance(minutes=1)
    assert evaluator.evaluate() == (1, 0)
    desk.clock.advance(minutes=90)
    assert evaluator.evaluate() == (0, 0)
    accepted(desk, 2)
    refused(desk, 1)  # one wrong signature begins the row anew
    desk.clock.advance(minutes=1)
    accepted(desk, 2)
    assert evaluator.evaluate() == (0, 0)
    desk.clock.advance(minutes=1)
    accepted(desk, 1)
    assert evaluator.evaluate() == (0, 1)
    assert only(desk).recovery == (
        "3 requests with incoming webhooks in a row were accepted since 2026-03-01 10:32 UTC."
    )
