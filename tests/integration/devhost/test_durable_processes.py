"""Several processes over one file, crashes, and leases."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devhost.durable.control import Control
from devhost.durable.engine import DurableHost
from devhost.durable.episode import Episode, NewInstance, advance
from devhost.durable.events import EventKind, event
from devhost.durable.presence import Presence
from devhost.durable.sdk import DurableFunction
from devhost.durable.store import Store
from infra.clock import SystemClock
from tests import ROOT
from tests.worlds.durable_app import START, ManualClock, SampleApp, running, until

NOW = START.timestamp()
_WORKER = """
import asyncio, sys
from pathlib import Path
from infra.clock import SystemClock
from tests.worlds.durable_app import SampleApp, running

async def main(home, instance):
    app = SampleApp(home / "journal")
    async with running(home / "durable.db", app.functions(), SystemClock(), worker="crashing", lease_seconds=60) as hub:
        await hub.start("sequence", {"cities": [f"c{n}" for n in range(100)]}, instance)
        print("started", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


class Wall:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _claimed(store: Store, lease: str) -> Episode:
    (episode,) = store.claim_episodes(10, NOW, lease)
    return episode


def _started(path: Path, wall: Wall, function: str = "sequence") -> tuple[Store, dict[str, DurableFunction]]:
    store = Store(path / "durable.db", lease_seconds=10, wall=wall)
    payload = json.dumps(json.dumps({"cities": ["Cairo"]}))
    assert Control(store).start(NewInstance("i", function, payload), NOW)
    return store, SampleApp().functions()


def test_a_claimed_orchestration_is_claimed_by_nobody_else(tmp_path: Path) -> None:
    store, _ = _started(tmp_path, Wall())
    assert _claimed(store, "a/1").instance_id == "i"
    assert store.claim_episodes(10, NOW, "b/1") == []


def test_a_stale_episode_is_discarded(tmp_path: Path) -> None:
    wall = Wall()
    store, functions = _started(tmp_path, wall)
    stale = _claimed(store, "a/1")
    outcome = advance(stale, functions["sequence"], START)
    wall.now += 11
    fresh = _claimed(store, "b/1")
    assert not store.finish_episode(stale, outcome, NOW)
    assert store.claim_activities(10, "a/2") == []
    assert store.finish_episode(fresh, advance(fresh, functions["sequence"], START), NOW)
    assert len(store.claim_activities(10, "b/2")) == 1


def test_a_stale_activity_result_is_discarded(tmp_path: Path) -> None:
    wall = Wall()
    store, functions = _started(tmp_path, wall)
    episode = _claimed(store, "a/1")
    store.finish_episode(episode, advance(episode, functions["sequence"], START), NOW)
    (stale,) = store.claim_activities(10, "a/2")
    wall.now += 11
    (fresh,) = store.claim_activities(10, "b/1")
    result = event(EventKind.TASK_COMPLETED, TaskScheduledId=fresh.task, Result='"from b"')
    assert not store.finish_activity(stale, {**result, "Result": '"from a"'}, NOW)
    assert store.finish_activity(fresh, result, NOW)
    assert not store.finish_activity(fresh, result, NOW)
    assert [message["Result"] for message in _claimed(store, "b/2").messages] == ['"from b"']


def test_a_renewed_lease_outlives_its_first_term(tmp_path: Path) -> None:
    wall = Wall()
    store, functions = _started(tmp_path, wall)
    episode = _claimed(store, "a/1")
    wall.now += 8
    store.renew({"a/1"})
    wall.now += 8
    assert store.claim_episodes(10, NOW, "b/1") == []
    assert store.finish_episode(episode, advance(episode, functions["sequence"], START), NOW)


def test_terminate_fences_off_the_episode_under_way(tmp_path: Path) -> None:
    store, functions = _started(tmp_path, Wall())
    episode = _claimed(store, "a/1")
    Control(store).terminate("i", "enough", NOW)
    assert not store.finish_episode(episode, advance(episode, functions["sequence"], START), NOW)
    status = Control(store).status("i", show_input=False)
    assert status is not None and status["runtimeStatus"] == "Terminated"


def test_the_hot_queries_use_their_indexes(tmp_path: Path) -> None:
    store, _ = _started(tmp_path, Wall())
    due = "SELECT min(due) FROM inbox WHERE due > 0"
    ready = "SELECT i.id FROM inbox m JOIN instances i ON i.id = m.instance WHERE m.due <= 0 LIMIT 1"
    for query in (due, ready):
        plan = " ".join(str(row[3]) for row in store.db.execute(f"EXPLAIN QUERY PLAN {query}"))
        assert "inbox_due" in plan, plan


def test_a_worker_is_gone_only_when_its_lock_is(tmp_path: Path) -> None:
    store = tmp_path / "durable.db"
    one, two = Presence(store, "one"), Presence(store, "two")
    assert not one.is_gone("two")
    assert not one.is_gone("one")
    with pytest.raises(RuntimeError, match="'two' is already running"):
        Presence(store, "two")
    two.close()
    assert one.is_gone("two")
    one.close()


async def test_two_hosts_on_one_file_run_each_activity_once(tmp_path: Path) -> None:
    app, path, clock = SampleApp(), tmp_path / "durable.db", SystemClock()
    async with (
        running(path, app.functions(), clock, worker="one") as one,
        running(path, app.functions(), clock, worker="two") as two,
    ):
        instances = [await hub.start("fan", 40) for hub in (one, two)]
        instances.append(await one.start("parent"))
        for instance in instances:
            assert (await two.end(instance))["runtimeStatus"] == "Completed"
    assert {text: count for text, count in app.calls.items() if text.isdigit()} == {
        str(n): 2 for n in range(40)
    }
    assert (app.calls["Oslo"], app.calls["Rome"]) == (1, 1)


async def _count(app: SampleApp) -> int:
    return app.calls["work"]


async def test_no_more_activities_run_at_once_than_allowed(tmp_path: Path) -> None:
    app = SampleApp()
    functions, clock = app.functions(), ManualClock()
    async with running(tmp_path / "d.db", functions, clock, max_concurrent_activities=2) as hub:
        instances = [await hub.start("gated") for _ in range(5)]
        await until(lambda: _count(app), lambda count: count == 2)
        await asyncio.sleep(0.1)
        assert app.calls["work"] == 2
        app.gate.set()
        for instance in instances:
            await hub.end(instance)
    assert app.calls["work"] == 5


async def test_stop_waits_for_the_activity_under_way(tmp_path: Path) -> None:
    app, path = SampleApp(), tmp_path / "durable.db"
    async with running(path, app.functions(), ManualClock()) as hub:
        await hub.start("gated", instance_id="i")
        await until(lambda: _count(app), lambda count: count == 1)
        asyncio.get_running_loop().call_later(0.05, app.gate.set)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM activities").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM inbox").fetchone() == (1,)
    async with running(path, app.functions(), ManualClock()) as hub:
        assert (await hub.end("i"))["output"] == "work"
    assert app.calls["work"] == 1


def _killed_mid_sequence(home: Path, instance: str) -> int:
    """Start a process, kill it with SIGKILL part of the way; how many activities it had begun."""
    journal = home / "journal"
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(home), instance], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert worker.stdout and worker.stdout.readline() == b"started\n"
        deadline = time.monotonic() + 10
        while not journal.exists() or len(journal.read_text().splitlines()) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
    return len(journal.read_text().splitlines())


async def test_a_killed_process_loses_nothing_and_another_resumes_at_once(tmp_path: Path) -> None:
    """At once: the dead process's leases would have stood for a minute, longer than this test waits."""
    begun = await asyncio.to_thread(_killed_mid_sequence, tmp_path, "i")
    assert begun < 100
    app, path = SampleApp(tmp_path / "journal"), tmp_path / "durable.db"
    async with running(path, app.functions(), SystemClock(), worker="survivor") as hub:
        ended = await hub.end("i")
    assert ended["output"] == [f"Hello c{n}" for n in range(100)]
    runs = (tmp_path / "journal").read_text().splitlines()
    assert sorted(set(runs)) == sorted(f"c{n}" for n in range(100))
    assert len(runs) <= 101, "only the activity under way at the kill may run again"
    with sqlite3.connect(path) as db:
        texts = [json.loads(text) for (text,) in db.execute("SELECT event FROM history WHERE instance = 'i'")]
    done = [item["TaskScheduledId"] for item in texts if item["EventType"] == EventKind.TASK_COMPLETED]
    assert done == list(range(100)), "each result is recorded once"


def test_an_episode_over_a_thousand_events_takes_well_under_a_second(tmp_path: Path) -> None:
    function = SampleApp().functions()["fan"]
    store = Store(tmp_path / "d.db", lease_seconds=60)
    Control(store).start(NewInstance("i", "fan", json.dumps("500")), NOW)
    first = _claimed(store, "a/1")
    assert store.finish_episode(first, advance(first, function, START), NOW)
    for work in store.claim_activities(500, "a/2"):
        result = event(EventKind.TASK_COMPLETED, TaskScheduledId=work.task, Result="1")
        assert store.finish_activity(work, result, NOW)
    begun = time.perf_counter()
    second = _claimed(store, "a/3")
    outcome = advance(second, function, START)
    assert store.finish_episode(second, outcome, NOW)
    assert time.perf_counter() - begun < 1.0
    assert (outcome.status, outcome.output) == ("Completed", "500")
    assert store.db.execute("SELECT count(*) FROM history").fetchone()[0] > 1000


async def test_an_idle_host_uses_next_to_no_cpu(tmp_path: Path) -> None:
    async with running(tmp_path / "d.db", SampleApp().functions(), SystemClock()):
        await asyncio.sleep(0.2)
        begun = time.process_time()
        await asyncio.sleep(1.5)
        assert (time.process_time() - begun) / 1.5 < 0.03


async def test_a_crashed_process_s_leases_are_given_back_by_its_successor(tmp_path: Path) -> None:
    path = tmp_path / "durable.db"
    store = Store(path, lease_seconds=60)
    Control(store).start(NewInstance("i", "approval", None), NOW)
    assert _claimed(store, "one/old")
    store.close()
    async with running(path, SampleApp().functions(), ManualClock(), worker="one") as hub:
        await hub.reached("i", "ExecutionStarted")


def test_the_host_is_what_the_package_offers() -> None:
    from devhost import durable

    assert durable.DurableHost is DurableHost
    assert sorted(durable.__all__) == ["DurableFunction", "DurableHost"]


_OPEN = """
import sys, time
from pathlib import Path
from devhost.durable.store import Store
while time.time() < float(sys.argv[2]):
    pass
Store(Path(sys.argv[1]), lease_seconds=10)
"""


def test_processes_that_open_a_new_file_at_once_all_succeed(tmp_path: Path) -> None:
    """Switching to WAL does not wait in the busy handler, so the losers of the race must try again."""
    for attempt in range(3):
        moment = str(time.time() + 1.0)
        command = [sys.executable, "-c", _OPEN, str(tmp_path / f"{attempt}.db"), moment]
        opening = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
        ended = [(process.communicate(timeout=30)[1], process.returncode) for process in opening]
        assert [code for _, code in ended] == [0] * 6, ended
