"""What the outbox and the delivery pipeline promise, on each database."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.journal.ports import EventRef
from domain.webhooks.model import AttemptOutcome, DeliveryStatus, WebhookState
from domain.webhooks.ports import EndpointTally, Fanned, NewDelivery, Released
from domain.webhooks.retry_policy import OutageHistory, history_of
from tests.worlds.sql_world import EXPIRY, START, SqlWorld

# -- outbox ---------------------------------------------------------------------------------------------------


def test_an_event_raised_again_is_stored_once_whether_in_one_batch_or_the_next(world: SqlWorld) -> None:
    twin = world.event("booking-1")
    with world.transactions.write() as tx:
        assert tx.outbox.append([twin, world.event("booking-2"), twin]) == 2
        assert tx.outbox.append([twin]) == 0
        tx.commit()
    with world.transactions.write() as tx:
        assert tx.outbox.append([twin, world.event("booking-3")]) == 1
        tx.commit()
    assert [ref.event_id for ref in world.announced] == ["booking-1", "booking-2", "booking-3"]


def test_the_same_event_id_in_two_tenants_is_two_events(world: SqlWorld) -> None:
    ours, theirs = world.event("same"), world.event("same", tenant=world.other_tenant)
    with world.transactions.write() as tx:
        assert tx.outbox.append([ours, theirs]) == 2
        tx.commit()
    with world.transactions.read() as tx:
        refs = [EventRef(world.tenant, "same"), EventRef(world.other_tenant, "same")]
        assert {event.tenant_id for event in tx.outbox.pending(refs)} == {world.tenant, world.other_tenant}


def test_event_ids_that_differ_in_case_are_two_events(world: SqlWorld) -> None:
    with world.transactions.write() as tx:
        assert tx.outbox.append([world.event("Ab"), world.event("aB")]) == 2


def test_an_event_comes_back_as_it_was_stored(world: SqlWorld) -> None:
    event = replace(
        world.event(), data='{"name":"Zoë 😀"}', traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    )
    with world.transactions.write() as tx:
        tx.outbox.append([event])
        tx.commit()
    with world.transactions.read() as tx:
        assert tx.outbox.pending([EventRef(event.tenant_id, event.event_id)]) == [event]


def test_a_thousand_events_are_appended_found_and_marked_in_chunks(world: SqlWorld) -> None:
    events = world.events(1_200)
    refs = [EventRef(event.tenant_id, event.event_id) for event in events]
    with world.transactions.write() as tx:
        assert tx.outbox.append(events) == 0
        assert len(tx.outbox.pending(refs)) == 1_200
        tx.outbox.mark_fanned_out(refs, START)
        assert tx.outbox.pending(refs) == []


def test_events_fanned_out_by_their_raiser_are_neither_announced_nor_pending(world: SqlWorld) -> None:
    event = world.event()
    with world.transactions.write() as tx:
        tx.outbox.append([event], fanned_out_at=START)
        tx.commit()
    assert world.announced == []
    with world.transactions.read() as tx:
        assert tx.outbox.pending([EventRef(event.tenant_id, event.event_id)]) == []


def test_the_sweeper_finds_lost_announcements_once_per_interval_and_at_most_as_many_as_asked(
    world: SqlWorld,
) -> None:
    world.events(5)
    later = world.clock.advance(seconds=60)
    with world.transactions.write() as tx:
        assert tx.outbox.unannounced(START, later, 10) == []
        first = tx.outbox.unannounced(later, later, 3)
        second = tx.outbox.unannounced(later, later, 3)
        assert (len(first), len(second)) == (3, 2)
        assert not set(first) & set(second)
        assert tx.outbox.unannounced(later, later, 3) == []


def test_old_events_go_in_bounded_steps_and_stay_while_a_delivery_refers_to_them(world: SqlWorld) -> None:
    webhook = world.webhook()
    kept = world.deliveries(webhook, 2)
    gone = world.events(5)
    pending = world.events(1)
    cutoff = world.clock.advance(days=31)
    with world.transactions.write() as tx:
        tx.outbox.mark_fanned_out([EventRef(event.tenant_id, event.event_id) for event in gone], cutoff)
        assert tx.outbox.delete_before(cutoff, 3) == 3
        assert tx.outbox.delete_before(cutoff, 3) == 2
        assert tx.outbox.delete_before(cutoff, 3) == 0
        assert len(tx.outbox.pending([EventRef(world.tenant, pending[0].event_id)])) == 1
        assert tx.deliveries.get(world.tenant, webhook.webhook_id, kept[0]).payload is not None


# -- fan-out --------------------------------------------------------------------------------------------------


def test_a_repeated_fan_out_adds_nothing_not_even_within_one_batch(world: SqlWorld) -> None:
    webhook, event = world.webhook(), world.events(1)[0]
    with world.transactions.write() as tx:
        twice = [NewDelivery(world.ids.new(), webhook.webhook_id, event, False) for _ in range(2)]
        times = {"now": START, "expires_at": START + EXPIRY, "requeue_at": START}
        assert tx.pipeline.add_deliveries(twice, **times).new == twice[:1]
        again = NewDelivery(world.ids.new(), webhook.webhook_id, event, False)
        assert tx.pipeline.add_deliveries([again], **times) == Fanned([], [])


def test_held_deliveries_are_stored_and_not_handed_to_the_queue(world: SqlWorld) -> None:
    webhook, event = world.webhook(), world.events(1)[0]
    held = NewDelivery(world.ids.new(), webhook.webhook_id, event, is_held=True)
    with world.transactions.write() as tx:
        times = {"now": START, "expires_at": START + EXPIRY, "requeue_at": START}
        assert tx.pipeline.add_deliveries([held], **times) == Fanned([], [])
        assert tx.deliveries.get(world.tenant, webhook.webhook_id, held.webhook_delivery_id).is_held


def test_subscribers_are_those_of_the_tenant_by_exact_name_and_say_whether_they_hold(world: SqlWorld) -> None:
    active = world.webhook("BookingConfirmed", "*")
    paused = world.webhook("BookingConfirmed", state=WebhookState.Paused)
    world.webhook("bookingconfirmed")
    world.webhook("BookingConfirmed", tenant=world.other_tenant)
    with world.transactions.read() as tx:
        found = tx.pipeline.subscribers([(world.tenant, "BookingConfirmed"), (world.tenant, "*")])
    assert sorted(
        (subscriber.webhook_id, subscriber.event_type, subscriber.holds) for subscriber in found
    ) == sorted(
        [
            (active.webhook_id, "BookingConfirmed", False),
            (active.webhook_id, "*", False),
            (paused.webhook_id, "BookingConfirmed", True),
        ]
    )


# -- claims and results -----------------------------------------------------------------------------------------


def test_a_claim_takes_what_waits_and_leaves_the_rest(world: SqlWorld) -> None:
    webhook = world.webhook()
    waiting, sending, held = (world.deliveries(webhook)[0] for _ in range(3))
    world.claim(webhook, [sending])
    with world.transactions.write() as tx:
        tx.pipeline.hold([webhook.webhook_id], [held])
        tx.commit()
    claimed = world.claim(webhook, [waiting, sending, held])
    assert [(delivery.webhook_delivery_id, delivery.attempt_number) for delivery in claimed] == [(waiting, 1)]
    assert claimed[0].event.data == '{"booking":42}'
    assert claimed[0].expires_at == START + EXPIRY


def test_what_is_parked_is_looked_at_when_its_time_has_come_or_it_expires(world: SqlWorld) -> None:
    webhook = world.webhook()
    short, long, sending, held = (world.deliveries(webhook)[0] for _ in range(4))
    world.claim(webhook, [sending])
    with world.transactions.write() as tx:
        tx.pipeline.hold([webhook.webhook_id], [held])
        tx.pipeline.park([short, sending, held], START + timedelta(hours=1))
        tx.pipeline.park([long], START + 2 * EXPIRY)
        tx.commit()

    def looked_at(moment: datetime) -> set[UUID]:
        with world.transactions.write() as tx:
            found = tx.pipeline.requeue_due(now=moment, again_at=moment + 2 * EXPIRY, limit=100)
            tx.commit()
        return {due for _, due, _ in found.due} | {each.webhook_delivery_id for each in found.expired}

    assert looked_at(START + timedelta(minutes=59)) == {sending}  # by its lease: it was not parked
    assert looked_at(START + timedelta(hours=1)) == {short}
    assert looked_at(START + EXPIRY) == {long, held}


def test_a_retry_is_claimed_when_it_is_due_with_five_seconds_of_grace_for_clocks(world: SqlWorld) -> None:
    webhook = world.webhook()
    ids = world.deliveries(webhook)
    world.record(world.claim(webhook, ids), DeliveryStatus.Retrying)
    world.clock.advance(seconds=54)
    assert world.claim(webhook, ids) == []
    world.clock.advance(seconds=2)
    assert [delivery.attempt_number for delivery in world.claim(webhook, ids)] == [2]


def test_an_expired_delivery_is_not_claimed(world: SqlWorld) -> None:
    webhook = world.webhook()
    ids = world.deliveries(webhook)
    world.clock.advance(hours=24)
    assert world.claim(webhook, ids) == []


def test_a_result_under_a_stale_lease_changes_nothing(world: SqlWorld) -> None:
    webhook = world.webhook()
    ids = world.deliveries(webhook)
    stale = world.claim(webhook, ids)
    world.clock.advance(seconds=60)
    with world.transactions.write() as tx:
        tx.pipeline.requeue_due(now=world.clock.now(), again_at=world.clock.now(), limit=10)
        tx.commit()
    current = world.claim(webhook, ids)
    assert world.record(stale, DeliveryStatus.Failed) == []
    assert world.status(webhook, ids[0]) == DeliveryStatus.Sending
    assert len(world.record(current, DeliveryStatus.Delivered)) == 1
    assert world.record(current, DeliveryStatus.Failed) == [], "a lease is good for one result"
    with world.transactions.read() as tx:
        delivery = tx.deliveries.get(world.tenant, webhook.webhook_id, ids[0])
    assert delivery.delivery_status == DeliveryStatus.Delivered
    assert [attempt.outcome for attempt in delivery.attempts] == [
        AttemptOutcome.Interrupted,
        AttemptOutcome.Delivered,
    ]


def test_results_of_several_leases_are_recorded_together(world: SqlWorld) -> None:
    webhook = world.webhook()
    ids = world.deliveries(webhook, 4)
    claimed = [delivery for pair in (ids[:2], ids[2:]) for delivery in world.claim(webhook, pair)]
    crossed = replace(claimed[0], lease_id=claimed[3].lease_id)
    assert len(world.record([crossed, *claimed[1:]], DeliveryStatus.Delivered)) == 3
    assert world.status(webhook, crossed.webhook_delivery_id) == DeliveryStatus.Sending


def test_tallies_add_up_and_a_success_ends_the_row_of_failures(world: SqlWorld) -> None:
    webhook = world.webhook()
    with world.transactions.write() as tx:
        id_, later = webhook.webhook_id, START + timedelta(hours=1)
        [health] = tx.pipeline.tally([EndpointTally(id_, attempts_failed=2)], START - timedelta(days=1))
        assert (health.consecutive_failures, health.failing_since) == (0, None), "no delivery has failed"
        [health] = tx.pipeline.tally(
            [EndpointTally(id_, attempts_failed=3, failed_for_good=2, real_failures=2)], START
        )
        assert (health.consecutive_failures, health.failing_since) == (2, START)
        [health] = tx.pipeline.tally(
            [EndpointTally(id_, attempts_failed=1, failed_for_good=1, real_failures=1)], later
        )
        assert (health.consecutive_failures, health.failing_since) == (3, START)
        [health] = tx.pipeline.tally([EndpointTally(id_, attempts_failed=1)], later)
        assert (health.consecutive_failures, health.failing_since) == (3, START)
        assert (health.tenant_id, health.url) == (world.tenant, webhook.url)
        health = tx.pipeline.tally(
            [EndpointTally(webhook.webhook_id, delivered=2, failed_for_good=1)], later
        )[0]
        assert (health.consecutive_failures, health.failing_since) == (0, None)
        [health] = tx.pipeline.tally([EndpointTally(id_, delivered=1, real_failures=2)], later)
        assert (health.consecutive_failures, health.failing_since) == (2, later), "since that success"
        now = tx.webhooks.get(world.tenant, webhook.webhook_id)
        assert (now.success_count, now.failure_count, now.last_triggered_at) == (3, 4, later)
        assert now.version == webhook.version, "counters are no change of the webhook"


def test_disabling_happens_once_and_raises_the_version(world: SqlWorld) -> None:
    webhook = world.webhook()
    with world.transactions.write() as tx:
        assert tx.pipeline.disable(webhook.webhook_id, "x" * 1_000)
        assert not tx.pipeline.disable(webhook.webhook_id, "again")
        now = tx.webhooks.get(world.tenant, webhook.webhook_id)
    assert (now.state, now.version, now.disabled_reason) == (WebhookState.Disabled, 2, "x" * 400)


def test_a_rotated_secret_signs_beside_the_new_one_until_it_expires(world: SqlWorld) -> None:
    webhook = world.webhook()
    world.saved(
        replace(
            webhook,
            sealed_secret="new",
            previous_sealed_secret="old",
            previous_secret_expires_at=START + timedelta(hours=1),
        )
    )
    with world.transactions.read() as tx:
        before, after = (
            tx.pipeline.endpoints([webhook.webhook_id], START + timedelta(minutes=minutes))[0]
            for minutes in (59, 60)
        )
    assert (before.sealed_secrets, after.sealed_secrets) == (("new", "old"), ("new",))


# -- sweeps ---------------------------------------------------------------------------------------------------


def test_the_retry_processor_requeues_what_is_due_and_looks_again_later(world: SqlWorld) -> None:
    webhook = world.webhook()
    lost, retrying, ended = (world.deliveries(webhook)[0] for _ in range(3))
    world.record(world.claim(webhook, [retrying]), DeliveryStatus.Retrying)
    world.record(world.claim(webhook, [ended]), DeliveryStatus.Delivered)
    now = world.clock.advance(seconds=130)
    again_at = now + timedelta(seconds=120)
    with world.transactions.write() as tx:
        found = tx.pipeline.requeue_due(now=now, again_at=again_at, limit=10)
        assert {delivery_id for _, delivery_id, _ in found.due} == {lost, retrying}
        assert tx.pipeline.requeue_due(now=now, again_at=again_at, limit=10).due == []
        assert len(tx.pipeline.requeue_due(now=again_at, again_at=again_at, limit=1).due) == 1


def test_a_lapsed_lease_is_recorded_as_an_interrupted_attempt_and_tried_again(world: SqlWorld) -> None:
    webhook = world.webhook()
    ids = world.deliveries(webhook)
    world.claim(webhook, ids)
    with world.transactions.write() as tx:
        early = world.clock.advance(seconds=39)
        assert tx.pipeline.requeue_due(now=early, again_at=early, limit=10).interrupted == 0
        late = world.clock.advance(seconds=1)
        found = tx.pipeline.requeue_due(now=late, again_at=late, limit=10)
        assert found.interrupted == 1
        [(webhook_id, delivery_id, size)] = found.due
        assert (webhook_id, delivery_id) == (webhook.webhook_id, ids[0])
        assert size > 0
        tx.commit()
    assert [delivery.attempt_number for delivery in world.claim(webhook, ids)] == [2]


def test_what_ran_out_of_time_expires_and_says_whether_it_was_held(world: SqlWorld) -> None:
    webhook = world.webhook()
    waiting, held = world.deliveries(webhook)[0], world.deliveries(webhook, held=True)[0]
    now = world.clock.advance(hours=24)
    with world.transactions.write() as tx:
        found = tx.pipeline.requeue_due(now=now, again_at=now, limit=10)
        assert {delivery.webhook_delivery_id: delivery.was_held for delivery in found.expired} == {
            waiting: False,
            held: True,
        }
        assert found.due == []
        assert tx.pipeline.requeue_due(now=now, again_at=now, limit=10).expired == []
        tx.commit()
    assert world.status(webhook, waiting) == world.status(webhook, held) == DeliveryStatus.Expired


def test_held_deliveries_wait_for_their_release_and_go_at_once(world: SqlWorld) -> None:
    webhook = world.webhook()
    held = world.deliveries(webhook, 2, held=True)
    world.clock.advance(hours=23)
    with world.transactions.write() as tx:
        now = world.clock.now()
        assert tx.pipeline.requeue_due(now=now, again_at=now, limit=10).due == []
        assert tx.deliveries.release_held(world.tenant, webhook.webhook_id, now=now) == Released(2)
        due = tx.pipeline.requeue_due(now=now, again_at=now, limit=10).due
        assert {delivery_id for _, delivery_id, _ in due} == set(held)


def test_old_deliveries_go_in_bounded_steps_with_their_attempts_unless_they_still_wait(
    world: SqlWorld,
) -> None:
    webhook = world.webhook()
    world.ended(webhook, 5)
    waiting = world.deliveries(webhook)[0]
    cutoff = world.clock.advance(days=31)
    with world.transactions.write() as tx:
        assert [tx.pipeline.delete_before(cutoff, 3) for _ in range(3)] == [3, 2, 0]
        tx.commit()
    assert world.status(webhook, waiting) == DeliveryStatus.Pending
    with world.database.read() as connection:
        assert connection.exec_driver_sql('SELECT COUNT(*) FROM "WebhookDeliveryAttempts"').scalar() == 0


def test_an_outage_that_ends_is_learned_where_retries_are_adaptive(world: SqlWorld) -> None:
    learning, other = world.webhook(), world.webhook()
    with world.transactions.write() as tx:
        for endpoint in (learning, other):
            failed = EndpointTally(
                endpoint.webhook_id, attempts_failed=1, outages=1, learns=endpoint is learning
            )
            tx.pipeline.tally([failed], START)
        later = START + timedelta(seconds=600)
        tx.pipeline.tally([EndpointTally(learning.webhook_id, delivered=1, learns=True)], later)
        tx.pipeline.tally([EndpointTally(learning.webhook_id, delivered=1, learns=True)], later)
        tx.pipeline.tally([EndpointTally(other.webhook_id, delivered=1)], later)
        learned = history_of(tx.webhooks.get(world.tenant, learning.webhook_id).retry_history)
        assert learned.seen == 1, "a success outside an outage teaches nothing"
        assert learned.weights == history_of(OutageHistory().learned(0, 600).text()).weights
        assert tx.webhooks.get(world.tenant, other.webhook_id).retry_history is None


def test_throttling_and_refusals_are_no_outages(world: SqlWorld) -> None:
    webhook = world.webhook()
    with world.transactions.write() as tx:
        throttled = EndpointTally(webhook.webhook_id, attempts_failed=3, learns=True)
        tx.pipeline.tally([throttled], START)
        tx.pipeline.tally(
            [EndpointTally(webhook.webhook_id, delivered=1, learns=True)], START + timedelta(hours=1)
        )
        assert tx.webhooks.get(world.tenant, webhook.webhook_id).retry_history is None


def test_an_outage_begins_with_its_first_attempt_and_not_with_what_was_refused_before(
    world: SqlWorld,
) -> None:
    webhook = world.webhook()
    away = EndpointTally(webhook.webhook_id, attempts_failed=1, outages=1, learns=True)
    with world.transactions.write() as tx:
        tx.pipeline.tally([EndpointTally(webhook.webhook_id, attempts_failed=1, learns=True)], START)
        for minutes in (60, 70, 80):
            tx.pipeline.tally([away], START + timedelta(minutes=minutes))
        tx.pipeline.tally(
            [EndpointTally(webhook.webhook_id, delivered=1, learns=True)], START + timedelta(minutes=82)
        )
        learned = history_of(tx.webhooks.get(world.tenant, webhook.webhook_id).retry_history)
    assert (learned.seen, learned.since) == (1, None)
    assert 1_000 < (learned.typical() or 0) < 1_500, "from the 60th minute on"
