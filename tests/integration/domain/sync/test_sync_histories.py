"""Every recorded history replays on the orchestrators as they are, so that a deployment breaks no running job.

When this fails, an orchestrator does something else than before; give it a new name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import pytest

from devhost.durable.events import EventKind
from devhost.durable.sdk import DurableFunction, ReplayResult, replay
from functions import sync_orchestration
from tests.fixtures.record_histories import HISTORIES, SCENARIOS, functions_of

_LIMITS = {
    "upperSchemaVersion": 1,
    "upperSchemaVersionNew": 2,
    "maximumShortTimerDuration": "6.00:00:00",
    "longRunningTimerIntervalDuration": "3.00:00:00",
}
_SCHEDULING = (EventKind.TASK_SCHEDULED, EventKind.SUB_ORCHESTRATION_CREATED, EventKind.TIMER_CREATED)
_MOST_BYTES = 16 * 1024
_FUNCTIONS = {function.name: function for function in functions_of(sync_orchestration.bp)}
_RECORDED = [
    (path.stem, index, instance)
    for path in sorted(HISTORIES.glob("*.json"))
    for index, instance in enumerate(json.loads(path.read_text()))
    if instance["history"]
]


def _episodes(history: list[dict[str, Any]]) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """For each episode: the history that the orchestrator was given, and what it scheduled on it."""
    found = []
    for index, event in enumerate(history):
        if event["EventType"] != EventKind.ORCHESTRATOR_COMPLETED:
            continue
        begin = index
        while begin and history[begin - 1]["EventType"] in _SCHEDULING:
            begin -= 1
        found.append((history[:begin], history[begin:index]))
    return found


def _decide(recorded: dict[str, Any], given: list[dict[str, Any]], function: DurableFunction) -> ReplayResult:
    body = {
        "history": given,
        "input": json.loads(recorded["input"]),
        "instanceId": recorded["instanceId"],
        "isReplaying": True,
        "parentInstanceId": recorded["parentInstanceId"],
        **_LIMITS,
    }
    return replay(function, json.dumps(body))


def _scheduled(decision: ReplayResult) -> set[tuple[int, str]]:
    calls = {(call.task, f"{call.name} {call.payload}") for call in decision.calls}
    return calls | {(timer.task, "timer") for timer in decision.timers}


def _wanted(events: list[dict[str, Any]]) -> set[tuple[int, str]]:
    return {
        (event["EventId"], "timer" if "FireAt" in event else f"{event['Name']} {event['Input']}")
        for event in events
    }


def test_every_scenario_is_recorded() -> None:
    assert {path.stem for path in HISTORIES.glob("*.json")} == set(SCENARIOS)
    assert {recorded["name"] for _, _, recorded in _RECORDED} == {"sync_job", "sync_streams", "sync_step"}


@pytest.mark.parametrize(("name", "index", "recorded"), _RECORDED, ids=lambda value: str(value)[:30])
def test_a_recorded_history_replays_the_same(name: str, index: int, recorded: dict[str, Any]) -> None:
    for given, scheduled in _episodes(recorded["history"]):
        decision = _decide(recorded, given, _FUNCTIONS[recorded["name"]])
        assert _scheduled(decision) == _wanted(scheduled), (name, index)


@pytest.mark.parametrize(("name", "index", "recorded"), _RECORDED, ids=lambda value: str(value)[:30])
def test_nothing_large_travels_through_a_history(name: str, index: int, recorded: dict[str, Any]) -> None:
    for event in recorded["history"]:
        for part in ("Input", "Result"):
            assert len(event.get(part) or "") < _MOST_BYTES
    assert len(recorded["history"]) < 500, "it must begin anew before its history grows"


def test_a_changed_orchestrator_is_noticed() -> None:
    def other(context: df.DurableOrchestrationContext) -> Any:
        yield context.call_activity("something_else", context.get_input())

    blueprint = df.Blueprint()
    blueprint.function_name("sync_job")(blueprint.orchestration_trigger(context_name="context")(other))
    changed = functions_of(blueprint)[0]
    recorded = json.loads((Path(HISTORIES) / "job-completes.json").read_text())[0]
    given, scheduled = _episodes(recorded["history"])[0]
    assert _scheduled(_decide(recorded, given, changed)) != _wanted(scheduled)
