"""What webhooks, deliveries and the unit of work promise, on each database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError

from domain.core.errors import NotFound, PreconditionFailed, Unavailable
from domain.core.paging import PageRequest
from domain.journal.ports import EventRef
from domain.webhooks.model import DeliveryStatus, WebhookState
from domain.webhooks.ports import DeliveryFilter, WebhookFilter
from infra.sql.apikeys.tables import api_keys
from tests.worlds.sql_drive_sync import integration_of, job_of
from tests.worlds.sql_world import EXPIRY, START, SqlWorld

# -- webhooks and deliveries -------------------------------------------------------------------------------------


def test_a_webhook_comes_back_as_it_was_stored(world: SqlWorld) -> None:
    webhook = replace(
        world.webhook("a.*", "B"), description="Zoë", rate_limit_per_second=7, modified_at=START
    )
    saved = world.saved(webhook)
    with world.transactions.read() as tx:
        assert tx.webhooks.get(world.tenant, webhook.webhook_id) == saved


def test_of_two_changes_to_one_version_the_second_is_refused(world: SqlWorld) -> None:
    webhook = world.webhook()
    world.saved(replace(webhook, description="first"))
    with pytest.raises(PreconditionFailed):
        world.saved(replace(webhook, description="second"))
    with world.transactions.read() as tx:
        assert tx.webhooks.get(world.tenant, webhook.webhook_id).description == "first"


def test_an_update_replaces_the_subscriptions(world: SqlWorld) -> None:
    webhook = world.webhook("a", "b")
    world.saved(replace(webhook, event_types=["b", "c", "c"]))
    with world.transactions.read() as tx:
        found = tx.pipeline.subscribers([(world.tenant, name) for name in "abc"])
    assert sorted(job.event_type for job in found) == ["b", "c"]


def test_deleting_a_webhook_takes_subscriptions_deliveries_and_attempts_along(world: SqlWorld) -> None:
    webhook = world.webhook()
    world.ended(webhook, 2)
    with world.transactions.write() as tx:
        tx.webhooks.delete(world.tenant, webhook.webhook_id)
        tx.commit()
    with world.database.read() as connection:
        for table in ("WebhookSubscriptions", "WebhookDeliveries", "WebhookDeliveryAttempts"):
            assert connection.exec_driver_sql(f'SELECT COUNT(*) FROM "{table}"').scalar() == 0, table


def test_webhooks_are_paged_in_order_and_filtered(world: SqlWorld) -> None:
    made = []
    for index in range(5):
        world.clock.advance(seconds=1)
        made.append(world.webhook("a" if index % 2 else "b"))
    with world.transactions.read() as tx:
        page = tx.webhooks.page(world.tenant, WebhookFilter(), PageRequest(page=2, page_size=2))
        assert ([item.webhook_id for item in page.items], page.total) == (
            [webhook.webhook_id for webhook in made[2:4]],
            5,
        )
        named = tx.webhooks.page(world.tenant, WebhookFilter(event_type="a"), PageRequest())
        assert [webhook.webhook_id for webhook in named.items] == [made[1].webhook_id, made[3].webhook_id]
        none = tx.webhooks.page(world.tenant, WebhookFilter(state=WebhookState.Paused), PageRequest())
        assert (none.items, none.total) == ([], 0)


def test_deliveries_are_paged_newest_first_and_filtered(world: SqlWorld) -> None:
    webhook = world.webhook()
    old = world.ended(webhook, 1)[0]
    moment = world.clock.advance(minutes=1)
    new = world.deliveries(webhook)[0]
    with world.transactions.read() as tx:

        def listed(filter_: DeliveryFilter) -> list[object]:
            page = tx.deliveries.page(world.tenant, webhook.webhook_id, filter_, PageRequest())
            assert page.total == len(page.items)
            return [item.webhook_delivery_id for item in page.items]

        assert listed(DeliveryFilter()) == [new, old]
        assert listed(DeliveryFilter(since=moment)) == [new]
        assert listed(DeliveryFilter(until=moment)) == [old]
        assert listed(DeliveryFilter(statuses=[DeliveryStatus.Delivered])) == [old]
        assert listed(DeliveryFilter(event_types=["Other"])) == []
        assert listed(DeliveryFilter(is_held=False)) == [new, old]
        found = tx.deliveries.find(world.tenant, webhook.webhook_id, DeliveryFilter(), 1)
        assert found == [old], "a replay begins with the oldest"


def test_resetting_gives_a_fresh_budget_to_what_is_not_being_sent(world: SqlWorld) -> None:
    webhook = world.webhook()
    ended, sending = world.ended(webhook, 1)[0], world.deliveries(webhook)[0]
    world.claim(webhook, [sending])
    expires_at = world.clock.advance(hours=1) + EXPIRY
    with world.transactions.write() as tx:
        now = world.clock.now()
        times = {"now": now, "expires_at": expires_at, "requeue_at": now}
        reset = tx.deliveries.reset(world.tenant, [ended, sending], ordering="none", **times)
        assert [delivery_id for _, delivery_id, _ in reset.due] == [ended]
        assert reset.changed == 1
        tx.commit()
    claimed = world.claim(webhook, [ended])[0]
    assert (claimed.attempt_number, claimed.retries_used, claimed.expires_at) == (2, 0, expires_at)


# -- unit of work ---------------------------------------------------------------------------------------------


def test_leaving_without_a_commit_undoes_everything_and_announces_nothing(world: SqlWorld) -> None:
    event = world.event()
    with world.transactions.write() as tx:
        tx.outbox.append([event])
    with world.transactions.read() as tx:
        assert tx.outbox.pending([EventRef(event.tenant_id, event.event_id)]) == []
    assert world.announced == []


def test_a_job_that_began_meanwhile_is_not_taken_for_one_the_queue_was_told_of(world: SqlWorld) -> None:
    """Put off again, it is still to be announced for its new moment."""
    now, integration_id = world.clock.now(), integration_of(world)
    begun, waiting = job_of(world, integration_id), job_of(world, integration_id)
    with world.transactions.write() as tx:
        tx.sync_jobs.add(world.tenant, begun)
        tx.sync_jobs.add(world.tenant, waiting)
        assert tx.sync_jobs.claim(begun.data_sync_job_id, 0, now)
        tx.sync_jobs.mark_queued([begun.data_sync_job_id, waiting.data_sync_job_id], now)
        found = [tx.sync_jobs.find(job.data_sync_job_id) for job in (begun, waiting)]
    assert [job.queued_at for job in found if job] == [None, now]


def test_an_error_after_some_writes_undoes_them(world: SqlWorld) -> None:
    event = world.event()
    with pytest.raises(NotFound), world.transactions.write() as tx:
        tx.outbox.append([event])
        tx.webhooks.delete(world.tenant, world.ids.new())
    with world.transactions.write() as tx:
        assert tx.outbox.append([event]) == 1


def test_events_are_announced_after_the_transaction_and_its_lock_are_gone(world: SqlWorld) -> None:
    def announce_and_write(refs: Sequence[EventRef]) -> None:
        with world.transactions.write() as nested:
            nested.outbox.append([world.event("raised-by-the-announcement")], fanned_out_at=START)
            nested.commit()
        world.announced += refs

    world.transactions._announce = announce_and_write
    world.events(1)
    assert len(world.announced) == 1


def test_a_lost_announcement_fails_nothing_because_the_sweeper_repeats_it(world: SqlWorld) -> None:
    world.queue_is_down = True
    event = world.events(1)[0]
    later = world.clock.advance(minutes=1)
    with world.transactions.write() as tx:
        assert tx.outbox.unannounced(later, later, 10) == [EventRef(world.tenant, event.event_id)]


def test_a_reader_sees_one_moment_while_others_write(world: SqlWorld) -> None:
    with world.transactions.read() as reader:
        before = reader.webhooks.count(world.tenant)
        world.webhook()
        assert reader.webhooks.count(world.tenant) == before
    with world.transactions.read() as reader:
        assert reader.webhooks.count(world.tenant) == before + 1


def test_a_row_that_another_request_stored_meanwhile_asks_for_a_repeat() -> None:
    from sqlalchemy import create_engine, text

    from infra.sql.statements import guarded_by_unique_key

    with create_engine("sqlite://").connect() as connection:
        connection.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"))
        connection.execute(text("INSERT INTO t VALUES (1, 1)"))
        with pytest.raises(Unavailable), guarded_by_unique_key():
            connection.execute(text("INSERT INTO t VALUES (1, 1)"))


def test_an_error_of_the_database_repeats_no_value_of_its_statement(world: SqlWorld) -> None:
    """Whatever is logged with its stack: a payload, an address with a token, the hash of a key."""
    with pytest.raises(DBAPIError) as raised, world.database.write() as connection:
        connection.execute(insert(api_keys).values(APIKeyId=world.ids.new(), KeyHash="f00d" * 16))
    assert "f00d" not in str(raised.value)
