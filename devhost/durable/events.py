"""History events: the vocabulary the Durable extension and the Python SDK share.

An event is a JSON object with `EventType`, `EventId` (-1 unless it schedules something), `IsPlayed`,
`Timestamp` and the fields of its type. Source: the SDK's `HistoryEventType` and `TaskOrchestrationExecutor`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

Event = dict[str, Any]


class EventKind(IntEnum):
    """Event types, numbered as on the wire."""

    EXECUTION_STARTED = 0
    EXECUTION_COMPLETED = 1
    EXECUTION_FAILED = 2
    EXECUTION_TERMINATED = 3
    TASK_SCHEDULED = 4
    TASK_COMPLETED = 5
    TASK_FAILED = 6
    SUB_ORCHESTRATION_CREATED = 7
    SUB_ORCHESTRATION_COMPLETED = 8
    SUB_ORCHESTRATION_FAILED = 9
    TIMER_CREATED = 10
    TIMER_FIRED = 11
    ORCHESTRATOR_STARTED = 12
    ORCHESTRATOR_COMPLETED = 13
    EVENT_RAISED = 15


def event(kind: EventKind, **fields: Any) -> Event:
    """Return an event that is not stamped yet: `stamped` gives it the moment it enters the history."""
    return {"EventType": int(kind), "EventId": -1, **fields}


def stamped(unstamped: Event, moment: datetime, *, played: bool = False) -> Event:
    """Return the event as it stands in a history: written at `moment`, seen by an earlier episode or not."""
    return {**unstamped, "IsPlayed": played, "Timestamp": iso(moment)}


def started(name: str, payload: str | None) -> Event:
    """Return the event that begins an execution. The SDK requires `Version` to be present."""
    return event(EventKind.EXECUTION_STARTED, Name=name, Input=payload, Version="")


def task_failed(task: int, reason: str, details: str = "") -> Event:
    r"""Return an activity's failure. The SDK raises `Exception(f"{Reason} \n {Details}")` in the orchestrator."""
    return event(EventKind.TASK_FAILED, TaskScheduledId=task, Reason=reason, Details=details)


def child_failed(task: int, reason: str) -> Event:
    """Return a sub-orchestration's failure, for its parent."""
    return event(EventKind.SUB_ORCHESTRATION_FAILED, TaskScheduledId=task, Reason=reason, Details="")


def iso(moment: datetime) -> str:
    """UTC with microseconds and `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
