"""Orchestrations on the development host's engine: what an app author sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.worlds.durable_app import START, Harness, ManualClock, SampleApp, running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def app(clock: ManualClock) -> SampleApp:
    app = SampleApp()
    app.clock = clock
    return app


@pytest.fixture
async def hub(tmp_path: Path, app: SampleApp, clock: ManualClock) -> AsyncIterator[Harness]:
    async with running(tmp_path / "durable.db", app.functions(), clock) as harness:
        yield harness
        app.gate.set()


async def test_a_sequence_calls_its_activities_in_order(hub: Harness, app: SampleApp) -> None:
    ended = await hub.end(await hub.start("sequence", {"cities": ["Tokyo", "Lima", "Bern"]}))
    assert ended["output"] == ["Hello Tokyo", "Hello Lima", "Hello Bern"]
    assert ended["customStatus"] == {"greeted": 3}
    assert list(app.calls) == ["Tokyo", "Lima", "Bern"]


async def test_fan_out_collects_every_result(hub: Harness, app: SampleApp) -> None:
    ended = await hub.end(await hub.start("fan", 60))
    assert ended["output"] == sum(2 * n for n in range(60))
    assert set(app.calls.values()) == {1}


async def test_a_retried_activity_waits_longer_after_each_failure(
    hub: Harness, app: SampleApp, clock: ManualClock
) -> None:
    app.fail_first = 3
    instance = await hub.start("retried")
    for tries, pause in enumerate([5, 10, 15], start=1):
        await hub.reached(instance, "TimerCreated", tries)
        assert app.calls["done"] == tries
        clock.advance(pause)
    assert (await hub.end(instance))["output"] == "done at last"
    assert [(moment - START) // timedelta(seconds=1) for moment in app.times] == [0, 5, 15, 30]


async def test_a_retried_activity_fails_after_its_last_try(
    hub: Harness, app: SampleApp, clock: ManualClock
) -> None:
    app.fail_first = 99
    instance = await hub.start("retried")
    for tries in range(1, 5):
        await hub.reached(instance, "TimerCreated", tries)
        clock.advance(15)
    ended = await hub.end(instance)
    assert ended["runtimeStatus"] == "Failed"
    assert "Activity function 'flaky' failed: ValueError: not yet" in ended["output"]
    assert app.calls["done"] == 4


@pytest.mark.parametrize(
    ("activity", "reason"),
    [("missing", "'missing' is not an activity"), ("unspeakable", "must be json serializable")],
)
async def test_an_orchestration_fails_with_the_activity_s_reason(
    hub: Harness, activity: str, reason: str
) -> None:
    ended = await hub.end(await hub.start("failing", activity))
    assert ended["runtimeStatus"] == "Failed"
    assert ended["output"].startswith("Orchestrator function 'failing' failed: ")
    assert reason in ended["output"]


async def test_what_the_host_does_not_support_fails_the_orchestration_by_name(hub: Harness) -> None:
    ended = await hub.end(await hub.start("caller"))
    assert "does not support call_http" in ended["output"]


async def test_sub_orchestrations_answer_their_parent(hub: Harness) -> None:
    ended = await hub.end(await hub.start("parent"))
    assert ended["output"] == [["Hello Oslo"], ["Hello Rome"]]
    assert (await hub.status("rome"))["output"] == ["Hello Rome"]


async def test_a_failed_sub_orchestration_is_retried(
    hub: Harness, app: SampleApp, clock: ManualClock
) -> None:
    app.fail_first = 2
    instance = await hub.start("patient_parent")
    for tries in (1, 2):
        await hub.reached(instance, "TimerCreated", tries)
        clock.advance(1)
    assert (await hub.end(instance))["output"] == "child at last"
    assert (await hub.history(instance)).count("SubOrchestrationCreated") == 3


async def test_an_external_event_reaches_a_waiting_orchestration(hub: Harness) -> None:
    instance = await hub.start("approval")
    await hub.call("POST", f"/instances/{instance}/raiseEvent/other", "ignored")
    status, _ = await hub.call("POST", f"/instances/{instance}/raiseEvent/approved", {"by": "Ann"})
    assert status == 202
    assert (await hub.end(instance))["output"] == '{"by": "Ann"}'


async def test_an_external_event_raised_before_the_wait_is_kept(hub: Harness, app: SampleApp) -> None:
    instance = await hub.start("late_approval")
    await hub.reached(instance, "TaskScheduled")
    await hub.call("POST", f"/instances/{instance}/raiseEvent/approved", "yes")
    await hub.reached(instance, "EventRaised")
    app.gate.set()
    assert (await hub.end(instance))["output"] == '"yes"'


async def test_the_timer_wins_the_race_when_time_passes(hub: Harness, clock: ManualClock) -> None:
    instance = await hub.start("deadline")
    await hub.reached(instance, "TimerCreated")
    clock.advance(3600)
    assert (await hub.end(instance))["output"] == "timed out"


async def test_the_event_wins_the_race_and_its_cancelled_timer_never_fires(
    hub: Harness, clock: ManualClock
) -> None:
    instance = await hub.start("deadline")
    await hub.call("POST", f"/instances/{instance}/raiseEvent/cancel", "now")
    assert (await hub.end(instance))["output"] == "cancelled"
    clock.advance(7200)
    assert "TimerFired" not in await hub.history(instance)


async def test_a_timer_of_ten_days_is_a_chain_of_shorter_ones(hub: Harness, clock: ManualClock) -> None:
    instance = await hub.start("long_wait")
    for timers in range(1, 4):
        await hub.reached(instance, "TimerCreated", timers)
        clock.advance(3 * 86_400)
    assert (await hub.status(instance))["runtimeStatus"] == "Running"
    await hub.reached(instance, "TimerFired", 2)
    clock.advance(3 * 86_400)
    assert (await hub.end(instance))["output"].startswith("2026-01-1")


async def test_continue_as_new_starts_over_with_a_short_history(hub: Harness, app: SampleApp) -> None:
    instance = await hub.start("countdown", 50)
    ended = await hub.end(instance)
    assert ended["output"] == "liftoff"
    assert sum(app.calls.values()) == 50
    assert await hub.history(instance) == [
        "ExecutionStarted",
        "TaskScheduled",
        "TaskCompleted",
        "ExecutionCompleted",
    ]


async def test_continue_as_new_keeps_events_that_were_not_taken(hub: Harness, app: SampleApp) -> None:
    instance = await hub.start("collector", "")
    await hub.reached(instance, "TaskScheduled")
    for count, letter in enumerate(["a", "b", "c"], start=1):
        await hub.call("POST", f"/instances/{instance}/raiseEvent/letter", letter)
        await hub.reached(instance, "EventRaised", count)
    app.gate.set()
    # The SDK hands a wait the newest of the events that came before it; none may be lost or taken twice.
    assert sorted((await hub.end(instance))["output"]) == ["a", "b", "c"]


async def test_terminate_ends_it_at_once_and_drops_late_results(hub: Harness, app: SampleApp) -> None:
    instance = await hub.start("gated")
    await hub.reached(instance, "TaskScheduled")
    status, _ = await hub.call("POST", f"/instances/{instance}/terminate", reason="enough")
    assert status == 202
    app.gate.set()
    ended = await hub.end(instance)
    assert (ended["runtimeStatus"], ended["output"]) == ("Terminated", "enough")
    assert (await hub.call("POST", f"/instances/{instance}/terminate"))[0] == 410
    assert (await hub.history(instance))[-1] == "ExecutionTerminated"


async def test_a_terminated_sub_orchestration_fails_its_parent_s_call(hub: Harness) -> None:
    instance = await hub.start("guardian")
    await hub.reached(instance, "SubOrchestrationCreated")
    await hub.call("POST", "/instances/ward/terminate", reason="stopped")
    assert "lost it: stopped" in (await hub.end(instance))["output"]


async def test_a_suspended_orchestration_takes_nothing_until_it_is_resumed(hub: Harness) -> None:
    instance = await hub.start("approval")
    await hub.reached(instance, "ExecutionStarted")
    assert (await hub.call("POST", f"/instances/{instance}/suspend", reason="wait"))[0] == 202
    await hub.call("POST", f"/instances/{instance}/raiseEvent/approved", 1)
    await hub.end(await hub.start("sequence", {"cities": ["meanwhile"]}))
    assert (await hub.status(instance))["runtimeStatus"] == "Suspended"
    assert (await hub.call("POST", f"/instances/{instance}/resume", reason="go"))[0] == 202
    assert (await hub.end(instance))["output"] == "1"


async def test_a_running_id_is_not_started_twice_but_a_finished_one_is(hub: Harness) -> None:
    await hub.start("approval", instance_id="only")
    status, answer = await hub.call("POST", "/orchestrators/approval/only")
    assert status == 409 and "already running" in answer["Message"]
    await hub.call("POST", "/instances/only/terminate", reason="over")
    await hub.start("sequence", {"cities": ["again"]}, "only")
    assert (await hub.end("only"))["output"] == ["Hello again"]


async def test_an_unknown_orchestrator_is_refused(hub: Harness) -> None:
    status, answer = await hub.call("POST", "/orchestrators/hello")
    assert status == 400 and "'hello'" in answer["ExceptionMessage"]
