"""Many threads and processes over one database."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from queue import Empty, Queue
from uuid import UUID

import pytest

from domain.core.errors import RuleViolation, Unavailable
from domain.core.paging import PageRequest
from domain.core.principal import Principal
from domain.core.transaction import repeated
from domain.journal.events import DomainEvent
from domain.journal.ports import EventRef
from domain.monitoring.alerts.model import AlertKind, Notification, Transition
from domain.webhooks.model import CreateWebhook, DeliveryStatus, WebhookState
from domain.webhooks.ports import ClaimedDelivery, DeliveryFilter, Due, NewDelivery
from domain.webhooks.rules import line_of
from domain.webhooks.service import EndpointVerification, WebhookLimits, WebhookService
from infra.sql.engine import DATABASE_FILE, Database, sqlite_database
from tests import ROOT
from tests.worlds.sql_drive_alerts import alert
from tests.worlds.sql_world import EXPIRY, START, SqlWorld, claim_in, world_under

_ROOT = ROOT
_CLAIMER = """
import json, sys
from pathlib import Path
from uuid import UUID, uuid4
from infra.sql.engine import DATABASE_FILE, sqlite_database
from infra.sql.transaction import SqlTransactions
from tests.worlds.sql_drive_alerts import alert
from tests.worlds.builders import FakeClock
from tests.worlds.sql_world import START, claim_in
home, webhook_id = Path(sys.argv[1]), UUID(sys.argv[2])
ids = [UUID(id_) for id_ in json.loads(sys.stdin.read())]
units = SqlTransactions(sqlite_database(home / DATABASE_FILE, pool_size=2), FakeClock(START), lambda refs: None)
won = []
for start in range(0, len(ids), 50):
    with units.write() as unit:
        claimed = claim_in(unit, webhook_id, ids[start:start + 50], uuid4(), START)
        unit.commit()
    won += [delivery.webhook_delivery_id.hex for delivery in claimed]
print(json.dumps(won))
"""
_BUSY_WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(2)
connection.execute("COMMIT")
"""


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqlWorld]:
    with world_under(tmp_path) as made:
        yield made


def test_eight_threads_claim_each_delivery_exactly_once(world: SqlWorld) -> None:
    webhook = world.webhook()
    ids = world.deliveries(webhook, 2_000)

    @repeated
    def take_some(some: list[UUID]) -> list[ClaimedDelivery]:
        with world.transactions.write() as tx:
            claimed = claim_in(tx, webhook.webhook_id, some, world.ids.new(), START)
            tx.commit()
        return claimed

    def take(worker: int) -> list[ClaimedDelivery]:
        return [
            delivery for start in range(0, len(ids), 100) for delivery in take_some(ids[start : start + 100])
        ]

    with ThreadPoolExecutor(8) as threads:
        claimed = [delivery.webhook_delivery_id for won in threads.map(take, range(8)) for delivery in won]
    assert len(claimed) == 2_000
    assert set(claimed) == set(ids)


def test_eight_threads_send_a_line_one_after_another_and_no_turn_is_lost(world: SqlWorld) -> None:
    """Some fan out, others claim and record: each stores what the others have not seen when they began."""
    webhook = world.webhook(ordering="perSubject")
    events = world.events(60)
    queue: Queue[UUID] = Queue()
    sent: list[str] = []
    deadline = time.monotonic() + 20

    def queued(due: Sequence[Due]) -> None:
        for _, delivery_id, _ in due:
            queue.put(delivery_id)

    @repeated
    def fan_out(some: Sequence[DomainEvent]) -> None:
        refs = [EventRef(event.tenant_id, event.event_id) for event in some]
        with world.transactions.write() as tx:
            stored = tx.outbox.pending(refs)
            line = line_of(webhook.webhook_id, "booking/42")
            new = [
                NewDelivery(world.ids.new(), webhook.webhook_id, event, False, line=line) for event in stored
            ]
            times = {"now": START, "expires_at": START + EXPIRY, "requeue_at": START}
            due = tx.pipeline.add_deliveries(new, **times).due
            tx.commit()
        queued(due)

    @repeated
    def take(delivery_id: UUID) -> list[ClaimedDelivery]:
        with world.transactions.write() as tx:
            claimed = claim_in(tx, webhook.webhook_id, [delivery_id], world.ids.new(), START)
            under_way = DeliveryFilter(statuses=[DeliveryStatus.Sending])
            assert tx.deliveries.page(world.tenant, webhook.webhook_id, under_way, PageRequest()).total <= 1
            tx.commit()
        return claimed

    @repeated
    def record(claimed: list[ClaimedDelivery]) -> Sequence[Due]:
        results = [world.result(delivery, DeliveryStatus.Delivered) for delivery in claimed]
        with world.transactions.write() as tx:
            due = tx.pipeline.record(results, now=START, requeue_at=START).due
            tx.commit()
        return due

    def work(worker: int) -> None:
        if worker < 4:
            for first in range(3 * worker, 60, 12):
                fan_out(events[first : first + 3])
            return
        while len(sent) < 60 and time.monotonic() < deadline:
            with suppress(Empty):
                if claimed := take(queue.get(timeout=0.05)):
                    sent.append(claimed[0].event.event_id)
                    queued(record(claimed))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert sorted(sent) == sorted(event.event_id for event in events)


def _in_eight_threads(take: Callable[[], list[UUID]]) -> list[UUID]:
    """What all of them took, each until there is nothing left."""

    def drain(worker: int) -> list[UUID]:
        taken: list[UUID] = []
        while some := take():
            taken += some
        return taken

    with ThreadPoolExecutor(8) as threads:
        return [notification for taken in threads.map(drain, range(8)) for notification in taken]


def test_eight_sweepers_take_each_due_delivery_exactly_once(world: SqlWorld) -> None:
    ids = world.deliveries(world.webhook(), 600)
    now = world.clock.advance(minutes=5)

    @repeated
    def take() -> list[UUID]:
        with world.transactions.write() as tx:
            found = tx.pipeline.requeue_due(now=now, again_at=now + timedelta(hours=1), limit=40)
            tx.commit()
        return [delivery_id for _, delivery_id, _ in found.due]

    assert sorted(_in_eight_threads(take)) == sorted(ids)


def test_eight_sweepers_announce_each_lost_event_exactly_once(world: SqlWorld) -> None:
    events = world.events(600)
    now = world.clock.advance(minutes=5)

    @repeated
    def take() -> list[UUID]:
        with world.transactions.write() as tx:
            refs = tx.outbox.unannounced(now - timedelta(minutes=1), now, 40)
            tx.commit()
        return [UUID(ref.event_id) for ref in refs]

    assert sorted(_in_eight_threads(take)) == sorted(UUID(event.event_id) for event in events)


def test_eight_senders_claim_each_message_exactly_once(world: SqlWorld) -> None:
    now = world.clock.now()
    one, integration_id = alert(world, AlertKind.SyncFailed, world.ids.new()), world.ids.new()
    messages = [
        Notification(
            world.ids.new(),
            world.tenant,
            one.alert_id,
            Transition.Raised,
            integration_id,
            f"{n}@b.example",
            now,
            now,
        )
        for n in range(300)
    ]
    with world.transactions.write() as tx:
        tx.alerts.add(world.tenant, one)
        tx.notifications.append(messages)
        tx.commit()

    @repeated
    def take() -> list[UUID]:
        with world.transactions.write() as tx:
            claimed = tx.notifications.claim(now, now + timedelta(minutes=5), 20)
            tx.commit()
        assert {notification.attempts for notification in claimed} <= {1}
        return [delivery.notification_id for delivery in claimed]

    assert sorted(_in_eight_threads(take)) == sorted(message.notification_id for message in messages)


def test_two_processes_claim_each_delivery_exactly_once(sqlite: SqlWorld, tmp_path: Path) -> None:
    webhook = sqlite.webhook()
    ids = sqlite.deliveries(webhook, 2_000)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _CLAIMER, tmp_path, str(webhook.webhook_id)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps([str(id_) for id_ in ids]))
        process.stdin.close()
    won: list[UUID] = []
    for process in processes:
        assert process.stdout is not None
        won += [UUID(load) for load in json.loads(process.stdout.read())]
        process.wait(60)
    assert len(won) == 2_000
    assert set(won) == set(ids)


class _NoVerification:
    """Leaves every webhook unverified."""

    async def check_address(self, url: str) -> None: ...

    async def verify(self, webhook_id: UUID, url: str, secret: str) -> EndpointVerification:
        return EndpointVerification(False, "Not asked.")


class _OpenCipher:
    def seal(self, plaintext: str, *, context: str) -> str:
        return plaintext

    def open(self, sealed: str, *, context: str) -> str:
        return sealed


async def test_of_fifty_creations_at_once_exactly_the_limit_succeeds__BR_WH_07(world: SqlWorld) -> None:
    limits = WebhookLimits(
        per_tenant=20, max_retries=5, secret_overlap=timedelta(hours=24), allow_localhost=False
    )
    service = WebhookService(
        world.transactions,
        _NoVerification(),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type] # nothing is released here
        _OpenCipher(),
        clock=world.clock,
        ids=world.ids,
        limits=limits,
    )
    principal = Principal(world.tenant, world.user, frozenset({"webhook:manage"}))
    command = CreateWebhook(url="https://receiver.example/", event_types=["*"])
    outcomes = await asyncio.gather(
        *(service.create(principal, command) for _ in range(50)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert {type(error) for error in refused} == {RuleViolation}
    assert len(refused) == 30
    with world.transactions.read() as tx:
        assert tx.webhooks.count(world.tenant) == 20


def test_a_writer_that_holds_the_file_for_two_seconds_fails_nobody(sqlite: SqlWorld, tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _BUSY_WRITER, tmp_path / DATABASE_FILE], stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline().strip() == "locked"
    began = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: sqlite.webhook(), range(4)))
    assert time.monotonic() - began > 1, "the other writer was waited for"
    assert other.wait(10) == 0
    assert {webhook.state for webhook in made} == {WebhookState.Active}


def test_readers_are_not_kept_waiting_by_a_writer(world: SqlWorld) -> None:
    webhook = world.webhook()
    with world.transactions.write() as writer:
        writer.webhooks.delete(world.tenant, webhook.webhook_id)
        with world.transactions.read() as reader:
            assert reader.webhooks.get(world.tenant, webhook.webhook_id) == webhook


def test_a_busy_file_is_unavailable_once_patience_ends(tmp_path: Path) -> None:
    with world_under(tmp_path):
        pass
    database = sqlite_database(tmp_path / DATABASE_FILE, pool_size=1, busy_seconds=0.05)
    holder = sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable), database.write() as connection:
        connection.exec_driver_sql('DELETE FROM "Users"')
    holder.execute("ROLLBACK")
    holder.close()
    database.close()


def test_writers_who_queue_behind_one_that_waits_in_vain_give_up_with_it(tmp_path: Path) -> None:
    with world_under(tmp_path):
        pass
    database = sqlite_database(tmp_path / DATABASE_FILE, pool_size=4, busy_seconds=1.0)
    holder = sqlite3.connect(tmp_path / DATABASE_FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    def write(_: int) -> str:
        try:
            with database.write() as connection:
                connection.exec_driver_sql('DELETE FROM "Users"')
        except Unavailable as error:
            return error.detail
        return "written"

    begun = time.monotonic()
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(write, range(4)))
    assert answers == ["The database does not answer; try again shortly."] * 4
    assert time.monotonic() - begun < 2.5, "one after another they would take four seconds"
    holder.execute("ROLLBACK")
    assert write(0) == "written"
    holder.close()
    database.close()


def test_when_every_connection_is_taken_the_next_is_unavailable_in_time() -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import QueuePool

    engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05)
    database = Database(engine)
    with database.read(), pytest.raises(Unavailable), database.read():
        raise AssertionError("there was one connection only")


def test_a_lock_left_by_a_failed_write_is_free_again(world: SqlWorld) -> None:
    with pytest.raises(RuntimeError), world.transactions.write() as tx:
        tx.users.tenants()
        raise RuntimeError("the use case failed")
    done = threading.Event()

    def write() -> None:
        world.webhook()
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(5)
