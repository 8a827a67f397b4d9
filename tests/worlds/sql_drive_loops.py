"""Calls every method of the repository of loops once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from domain.core.paging import PageRequest
from domain.journal.ports import EventRef
from domain.webhooks.loops import LoopBrake, LoopState
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("loops",)


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    now, tenant = world.clock.now(), world.tenant
    since = now - timedelta(minutes=2)
    refs = {EventRef(tenant, event.event_id) for event in world.events(600)}
    brake = LoopBrake(world.ids.new(), tenant, "BookingConfirmed", LoopState.Suspected, now, now)
    stored = LoopBrake(world.ids.new(), tenant, "Stored", LoopState.Released, now, now)
    with world.transactions.write() as tx:
        tx.loops.save(stored)
        tx.commit()

    def saved_twice(tx: SqlTransaction) -> None:
        tx.loops.save(brake)
        tx.loops.save(replace(brake, state=LoopState.Released, trusted_until=now, probe_event_id="e"))

    def held(then: Call) -> Call:
        def call(tx: SqlTransaction) -> object:
            tx.outbox.mark_fanned_out(list(refs), now)
            tx.loops.hold(refs, now)
            return then(tx)

        return call

    return {
        "loops.delivered": [
            lambda tx: tx.loops.delivered(tenant, range(600), {f"e{n}" for n in range(600)}, since=since)
        ],
        "loops.going_round": [lambda tx: tx.loops.going_round(tenant, since)],
        "loops.note_laps": [
            lambda tx: tx.loops.note_laps({ref: index % 3 for index, ref in enumerate(refs)})
        ],
        "loops.hold": [lambda tx: tx.loops.hold(refs, now)],
        "loops.of_types": [lambda tx: tx.loops.of_types(tenant, {"BookingConfirmed", "Stored"})],
        "loops.get": [lambda tx: tx.loops.get(tenant, stored.loop_brake_id)],
        "loops.save": [saved_twice],
        "loops.page": [lambda tx: tx.loops.page(tenant, PageRequest(2, 5))],
        "loops.unsettled": [lambda tx: tx.loops.unsettled()],
        "loops.let_one_pass": [held(lambda tx: tx.loops.let_one_pass(brake, now))],
        "loops.let_go": [held(lambda tx: tx.loops.let_go(tenant, "BookingConfirmed", now, 50))],
        "loops.discard": [held(lambda tx: tx.loops.discard(tenant, "BookingConfirmed"))],
    }
