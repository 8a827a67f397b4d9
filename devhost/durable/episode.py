"""One episode of one orchestration as a pure step: what is stored goes in, what to store comes out."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from devhost.durable.events import Event, EventKind, child_failed, event, iso, stamped, started
from devhost.durable.sdk import DurableCall, DurableFunction, ReplayResult, Timer, replay

_LIMITS = {  # the extension's own values for Azure Storage
    "upperSchemaVersion": 1,
    "upperSchemaVersionNew": 2,
    "maximumShortTimerDuration": "6.00:00:00",
    "longRunningTimerIntervalDuration": "3.00:00:00",
}


@dataclass(frozen=True, slots=True)
class Parent:
    """The task of another orchestration that waits for this one."""

    instance_id: str
    execution: str
    task: int


@dataclass(frozen=True, slots=True)
class NewInstance:
    """An orchestration to start. `payload` is its input as JSON text."""

    instance_id: str
    name: str
    payload: str | None
    parent: Parent | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """A claimed orchestration: its history (JSON text, one per event) and the messages that woke it."""

    instance_id: str
    execution: str
    name: str
    payload: str | None
    parent: Parent | None
    lease: str
    history: list[str]
    message_ids: list[int]
    messages: list[Event]


@dataclass(slots=True)
class EpisodeResult:
    """What an episode changes. `payload` and `carried` begin the next execution of a continue-as-new."""

    status: str
    history: list[Event]
    output: str | None = None
    custom_status: str | None = None
    activities: list[DurableCall] = field(default_factory=list)
    timers: list[tuple[Timer, Event]] = field(default_factory=list)
    children: list[NewInstance] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    to_parent: Event | None = None
    next_execution: str | None = None
    payload: str | None = None
    carried: list[Event] = field(default_factory=list)


def advance(episode: Episode, function: DurableFunction | None, now: datetime) -> EpisodeResult:
    """Replay the orchestrator over its history and the new messages, and say what follows."""
    first = sorted(episode.messages, key=lambda message: message["EventType"] != EventKind.EXECUTION_STARTED)
    fresh = [event(EventKind.ORCHESTRATOR_STARTED), *first]
    if function is None:
        decision = ReplayResult(
            "failed", error=f"the function '{episode.name}' is not an orchestrator of this app"
        )
    else:
        decision = replay(function, _body(episode, [stamped(e, now) for e in fresh]))
    outcome = EpisodeResult(status="Running", history=[stamped(e, now, played=True) for e in fresh])
    outcome.custom_status = None if decision.custom_status is None else json.dumps(decision.custom_status)
    _schedule(outcome, episode, decision, now)
    outcome.history.append(stamped(event(EventKind.ORCHESTRATOR_COMPLETED), now, played=True))
    _conclude(outcome, episode, decision, now)
    return outcome


def _body(episode: Episode, fresh: list[Event]) -> str:
    """Return the JSON that the extension sends. Stored events go in as they are: the SDK parses them."""
    head = {
        "input": None if episode.payload is None else json.loads(episode.payload),
        "instanceId": episode.instance_id,
        "isReplaying": bool(episode.history),
        "parentInstanceId": episode.parent.instance_id if episode.parent else None,
        **_LIMITS,
    }
    history = ",".join([*episode.history, *(json.dumps(item) for item in fresh)])
    return f'{{"history":[{history}],{json.dumps(head)[1:]}'


def _schedule(outcome: EpisodeResult, episode: Episode, decision: ReplayResult, now: datetime) -> None:
    outcome.cancelled = decision.cancelled
    for call in decision.calls:
        scheduled: dict[str, Any] = {"EventId": call.task, "Name": call.name, "Input": call.payload}
        if call.kind == "activity":
            outcome.activities.append(call)
            record = event(EventKind.TASK_SCHEDULED) | scheduled
        else:
            child = _child(episode, call)
            outcome.children.append(child)
            record = event(EventKind.SUB_ORCHESTRATION_CREATED, InstanceId=child.instance_id) | scheduled
        outcome.history.append(stamped(record, now, played=True))
    for timer in decision.timers:
        fire_at = iso(_aware(timer.fire_at))
        outcome.timers.append((timer, event(EventKind.TIMER_FIRED, TimerId=timer.task, FireAt=fire_at)))
        created = event(EventKind.TIMER_CREATED, FireAt=fire_at) | {"EventId": timer.task}
        outcome.history.append(stamped(created, now, played=True))


def _child(episode: Episode, call: DurableCall) -> NewInstance:
    """Unnamed children are named after the execution and the task, so that a repeat names the same one."""
    instance_id = call.instance_id or f"{episode.execution}:{call.task:04x}"
    parent = Parent(episode.instance_id, episode.execution, call.task)
    return NewInstance(instance_id, call.name, json.dumps(call.payload), parent)


def _conclude(outcome: EpisodeResult, episode: Episode, decision: ReplayResult, now: datetime) -> None:
    if decision.result == "again":
        outcome.next_execution = uuid.uuid4().hex
        outcome.payload = json.dumps(decision.next_input)
        history = [*episode.history, *(json.dumps(item) for item in outcome.history)]
        raised = [json.loads(history[index]) for index in decision.unprocessed]
        kept = [event(EventKind.EVENT_RAISED, Name=item["Name"], Input=item["Input"]) for item in raised]
        outcome.carried = [started(episode.name, outcome.payload), *kept]
    elif decision.result == "completed":
        outcome.status, outcome.output = "Completed", json.dumps(decision.output)
        final = event(EventKind.EXECUTION_COMPLETED, OrchestrationStatus="Completed", Result=outcome.output)
        outcome.history.append(stamped(final, now, played=True))
        if episode.parent:
            task = episode.parent.task
            outcome.to_parent = event(
                EventKind.SUB_ORCHESTRATION_COMPLETED, TaskScheduledId=task, Result=outcome.output
            )
    elif decision.result == "failed":
        reason = f"Orchestrator function '{episode.name}' failed: {decision.error}"
        outcome.status, outcome.output = "Failed", json.dumps(reason)
        outcome.history.append(stamped(event(EventKind.EXECUTION_FAILED, Reason=reason), now, played=True))
        if episode.parent:
            outcome.to_parent = child_failed(episode.parent.task, reason)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
