"""The only module that touches the insides of azure-functions-durable (checked against 1.7.x by a test).

Pending work is read from `context.open_tasks`, whose integer keys are the ids of what the orchestrator waits
for; ids are numbered by the SDK itself, retries included, so nothing here counts them a second time.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

_FAILURE_LABEL = "$OutOfProcData$:"
_CONTINUE_AS_NEW = 4
_REFUSED_ACTIONS = {7: "call_entity", 8: "call_http", 9: "signal_entity"}


@dataclass(frozen=True, slots=True)
class DurableFunction:
    """One durable function of the app.

    `call` is its user function: for an orchestrator the SDK's handle, for an activity the function that takes the
    deserialised input under `input_name`. `elsewhere` gives an orchestrator the same JSON in another process and
    returns the state that it answers, or raises what it raised."""

    name: str
    kind: Literal["orchestrator", "activity", "entity"]
    call: Callable[..., Any]
    input_name: str
    elsewhere: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class DurableCall:
    """An activity or a sub-orchestration the orchestrator asked for. `payload` is JSON text."""

    task: int
    kind: Literal["activity", "orchestration"]
    name: str
    payload: str
    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Timer:
    """A durable timer the orchestrator asked for, or the pause before a retry."""

    task: int
    fire_at: datetime


@dataclass(slots=True)
class ReplayResult:
    """What one episode decided. `unprocessed` are the history positions of raised events no wait has taken."""

    result: Literal["running", "completed", "failed", "again"]
    output: Any = None
    error: str = ""
    custom_status: Any = None
    next_input: str | None = None
    calls: list[DurableCall] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    unprocessed: list[int] = field(default_factory=list)


def replay(function: DurableFunction, body: str) -> ReplayResult:
    """Run one episode of an orchestrator over the JSON that the extension would send it.

    Never raises for what the orchestrator did: a failure is part of the result."""
    from azure.durable_functions.models import DurableOrchestrationContext
    from azure.durable_functions.orchestrator import Orchestrator

    context = DurableOrchestrationContext.from_json(body)
    context._input_expected_type = getattr(function.call, "_df_input_type", None)
    orchestrator = Orchestrator(getattr(function.call, "orchestrator_function", function.call))
    orchestrator.task_orchestration_executor = executor = _recording_executor()()
    try:
        state, error = json.loads(orchestrator.handle(context)), None
    except Exception as failure:  # user code: whatever it raised is the orchestration's failure
        state, error = _failed_state(failure)
    if function.elsewhere is not None:
        _compare(function.name, (state, error), _told(function.elsewhere, body))
    decision = _decide(state, error)
    _add_pending(decision, context)
    decision.unprocessed = [
        index
        for index, event in enumerate(context.histories)
        if event.event_type == 15 and event not in executor.taken
    ]
    return decision


def decode_input(payload: str) -> Any:
    """Return an activity's input as the Functions worker hands it over."""
    from azure.functions import meta
    from azure.functions.durable_functions import ActivityTriggerConverter

    return ActivityTriggerConverter.decode(meta.Datum(payload, "json"), trigger_metadata=None)


def encode_result(value: Any) -> str:
    """Return an activity's result as the worker sends it, JSON text. Raises ValueError for what JSON cannot hold."""
    from azure.functions.durable_functions import ActivityTriggerConverter

    return str(ActivityTriggerConverter.encode(value, expected_type=None).value)


def _told(elsewhere: Callable[[str], str], body: str) -> tuple[dict[str, Any], str | None]:
    try:
        return json.loads(elsewhere(body)), None
    except Exception as failure:
        return _failed_state(failure)


def _compare(name: str, here: tuple[Any, str | None], there: tuple[Any, str | None]) -> None:
    """Raise RuntimeError unless both processes decided the same."""
    if here[0] != there[0] or (here[1] is None) != (there[1] is None):
        raise RuntimeError(f"orchestrator '{name}' decides {here} in this process and {there} in the other")


@functools.cache
def _recording_executor() -> type[Any]:
    from azure.durable_functions.models.TaskOrchestrationExecutor import TaskOrchestrationExecutor

    class RecordingExecutor(TaskOrchestrationExecutor):  # type: ignore[misc]
        """Notes which raised events were taken by a wait: the others outlive continue-as-new."""

        def __init__(self) -> None:
            super().__init__()
            self.taken: set[Any] = set()

        def set_task_value(self, event: Any, is_success: bool, id_key: str) -> None:
            if getattr(event, id_key) in self.context.open_tasks:
                self.taken.add(event)
            super().set_task_value(event, is_success, id_key)

    return RecordingExecutor


def _failed_state(failure: Exception) -> tuple[dict[str, Any], str]:
    text, label, state = str(failure).rpartition(_FAILURE_LABEL)
    if not label:
        return {}, str(failure) or type(failure).__name__
    parsed = json.loads(state)
    return parsed, parsed.get("error") or text.strip()


def _decide(state: dict[str, Any], error: str | None) -> ReplayResult:
    actions = list(_flattened(action for batch in state.get("actions", []) for action in batch))
    refused = [_REFUSED_ACTIONS[a["actionType"]] for a in actions if a["actionType"] in _REFUSED_ACTIONS]
    custom_status = state.get("customStatus")
    if error is None and refused:
        error = f"the development host does not support {', '.join(sorted(set(refused)))}"
    if error is not None:
        return ReplayResult("failed", error=error, custom_status=custom_status)
    again = [action["input"] for action in actions if action["actionType"] == _CONTINUE_AS_NEW]
    if again:
        return ReplayResult("again", next_input=again[-1], custom_status=custom_status)
    if state["isDone"]:
        return ReplayResult("completed", output=state.get("output"), custom_status=custom_status)
    return ReplayResult("running", custom_status=custom_status)


def _flattened(actions: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for action in actions:
        if "compoundActions" in action:
            yield from _flattened(action["compoundActions"])
        else:
            yield action


def _add_pending(decision: ReplayResult, context: Any) -> None:
    """Sort the open tasks that no earlier episode scheduled into calls and timers."""
    known = {event.event_id for event in context.histories if event.event_type in (4, 7, 10)}
    for task_id, task in context.open_tasks.items():
        if not isinstance(task_id, int):
            continue  # a wait for an external event goes by name and schedules nothing
        if _is_cancelled(task):
            decision.cancelled.append(task_id)
        elif task_id not in known:
            _add_task(decision, task_id, task, context.current_utc_datetime)


def _is_cancelled(task: Any) -> bool:
    """Tell whether it was cancelled. A timer longer than the storage allows is a chain, which notes the cancel."""
    own = getattr(task._get_action(), "is_cancelled", False)
    return bool(own or getattr(getattr(task.parent, "action", None), "is_cancelled", False))


def _add_task(decision: ReplayResult, task_id: int, task: Any, now: datetime) -> None:
    action = task._get_action()
    if type(action).__name__ == "NoOpAction":  # the steps between the tries of a retried call
        if task.parent.is_waiting_on_timer:
            pause = _retry_pause(task.parent.retry_options.to_json(), task.parent.num_attempts)
            decision.timers.append(Timer(task_id, now + pause))
            return
        action = task.parent.actions
    kind = type(action).__name__
    if kind.startswith("CallActivity"):
        decision.calls.append(DurableCall(task_id, "activity", action.function_name, action.input_))
    elif kind.startswith("CallSubOrchestrator"):
        name, child = action.function_name, action.instance_id
        decision.calls.append(DurableCall(task_id, "orchestration", name, action._input, child))
    elif kind == "CreateTimerAction":
        decision.timers.append(Timer(task_id, action.fire_at))


def _retry_pause(options: dict[str, Any], attempts: int) -> timedelta:
    """Return the pause after the given number of failed tries.

    The SDK's RetryOptions has a constant interval; a subclass whose `to_json` adds `backoffCoefficient` or
    `maxRetryIntervalInMilliseconds` is honoured, as the extension honours it."""
    milliseconds = options["firstRetryIntervalInMilliseconds"] * (
        options.get("backoffCoefficient", 1) ** (attempts - 1)
    )
    limit = options.get("maxRetryIntervalInMilliseconds")
    return timedelta(milliseconds=min(milliseconds, limit) if limit else milliseconds)
