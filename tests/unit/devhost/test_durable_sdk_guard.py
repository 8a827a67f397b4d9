"""Guards for the SDK internals the engine relies on. When this fails after an upgrade, read sdk.py first."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import pytest

from devhost.durable import DurableFunction, DurableHost
from devhost.durable.events import Event, EventKind, child_failed, event, stamped, started, task_failed
from devhost.durable.sdk import ReplayResult, decode_input, encode_result, replay
from devhost.keys import HostKeys
from tests.worlds.durable_app import START


def _orchestrator(body: Any) -> DurableFunction:
    blueprint = df.Blueprint()
    builder = blueprint.orchestration_trigger(context_name="context")(body)
    return DurableFunction("it", "orchestrator", builder._function.get_user_function(), "context")


def _replay(body: Any, *later: Event) -> ReplayResult:
    events = [event(EventKind.ORCHESTRATOR_STARTED), started("it", None), *later]
    request = {
        "history": [stamped(item, START) for item in events],
        "input": None,
        "instanceId": "i",
        "isReplaying": False,
        "parentInstanceId": None,
        "upperSchemaVersion": 1,
        "upperSchemaVersionNew": 2,
        "maximumShortTimerDuration": "6.00:00:00",
        "longRunningTimerIntervalDuration": "3.00:00:00",
    }
    return replay(_orchestrator(body), json.dumps(request))


def _fired(timer: int) -> Event:
    return event(EventKind.TIMER_FIRED, TimerId=timer, FireAt="2026-01-01T00:00:00Z")


def test_the_installed_sdk_is_of_the_line_this_was_checked_against() -> None:
    assert version("azure-functions-durable").startswith("1.7.")


def test_each_failed_try_takes_a_timer_id_and_then_a_new_schedule_id() -> None:
    def body(context: Any) -> Any:
        yield context.call_activity_with_retry("a", df.RetryOptions(1000, 2), 1)

    assert [call.task for call in _replay(body).calls] == [0]
    failed = [task_failed(0, "no")]
    assert [timer.task for timer in _replay(body, *failed).timers] == [1]
    failed.append(_fired(1))
    again = _replay(body, *failed).calls
    assert [(call.task, call.name, call.payload) for call in again] == [(2, "a", "1")]
    failed.append(task_failed(2, "no"))
    assert [timer.task for timer in _replay(body, *failed).timers] == [3]
    failed.append(_fired(3))
    assert _replay(body, *failed).result == "failed"


def test_a_retried_sub_orchestration_is_scheduled_again_under_a_new_id() -> None:
    def body(context: Any) -> Any:
        yield context.call_sub_orchestrator_with_retry("s", df.RetryOptions(1000, 2), None, "child")

    again = _replay(body, child_failed(0, "no"), _fired(1)).calls
    assert [(call.task, call.kind, call.instance_id) for call in again] == [(2, "orchestration", "child")]


def test_work_already_scheduled_is_not_scheduled_again() -> None:
    def body(context: Any) -> Any:
        yield context.task_all([context.call_activity("a"), context.call_activity("b")])

    known = event(EventKind.TASK_SCHEDULED, Name="a", Input="null") | {"EventId": 0}
    assert [call.task for call in _replay(body, known).calls] == [1]


def test_an_event_no_wait_has_taken_is_reported() -> None:
    def body(context: Any) -> Any:
        yield context.wait_for_external_event("wanted")
        context.continue_as_new(7)

    events = [event(EventKind.EVENT_RAISED, Name=name, Input="1") for name in ("other", "wanted", "wanted")]
    decision = _replay(body, *events)
    assert (decision.result, decision.next_input) == ("again", "7")
    assert decision.unprocessed == [2, 4]


def test_a_failure_carries_the_orchestrator_s_own_words() -> None:
    def body(context: Any) -> Any:
        context.set_custom_status("half way")
        yield context.wait_for_external_event("x")
        raise LookupError("gone: $5")

    decision = _replay(body, event(EventKind.EVENT_RAISED, Name="x", Input="null"))
    assert (decision.result, decision.error, decision.custom_status) == ("failed", "gone: $5", "half way")


def test_a_failure_before_the_first_yield_is_a_failure_too() -> None:
    def body(context: Any) -> Any:
        return 1 // 0

    assert (_replay(body).result, _replay(body).error) == ("failed", "integer division or modulo by zero")


def test_activity_payloads_pass_through_the_worker_s_own_converters() -> None:
    assert decode_input(encode_result({"a": [1, "ü"]})) == {"a": [1, "ü"]}
    with pytest.raises(ValueError, match="json serializable"):
        encode_result(object())


def test_entities_are_refused_at_start(tmp_path: Path) -> None:
    entity = DurableFunction("Counter", "entity", lambda context: None, "context")
    with pytest.raises(ValueError, match="durable entities: Counter"):
        DurableHost(
            functions={"Counter": entity},
            path=tmp_path / "durable.db",
            base_url="http://hub.test",
            hub_name="TestHub",
            keys=HostKeys(function="f", master="m"),
            worker_id="one",
            clock=None,  # type: ignore[arg-type]
            run_activity_executor=None,  # type: ignore[arg-type]
        )
