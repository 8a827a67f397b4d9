"""Durable orchestration of synchronisation jobs.

- `sync_job` (instance id = job id) runs the work until it ends, is cancelled, or 60 minutes have passed.
- `sync_streams` runs one step after the other.
- `sync_step` runs one batch after the other, and starts anew every so many batches to keep its history small.

Inputs and outputs are a few hundred bytes: records never travel through the history. Orchestrators are
deterministic: a change that would replay a recorded history differently fails a test, and needs a new name."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from typing import Any, Dict  # noqa: UP035
from uuid import UUID

import azure.durable_functions as df
import azure.functions as func

from domain.core.errors import Unavailable
from domain.core.tracing import Attributes, SpanKind, queue_attributes
from domain.sync.dispatch import AUTHORIZED, SYNC_JOBS_QUEUE, Dispatcher, JobStart, nudge
from domain.sync.job_runs import JobRuns
from domain.sync.model import BatchResult, BatchState
from domain.sync.record_service import RecordService
from domain.sync.rules import MOST_TRIES, TIMED_OUT, after_failure, after_success, backoff_seconds
from domain.sync.schedule_service import ScheduleService
from domain.sync.standing import Connected, StandingSyncs
from functions.messages import Messages, bodies_of, put_off
from infra.app.build import hub, use
from infra.observability.trace import Trace

bp = df.Blueprint()
logger = logging.getLogger("hub.sync")

#: The worker takes no `dict[...]` as an annotation of a binding.
ActivityPayload = Dict[str, Any]  # noqa: UP006
Steps = Generator[Any, Any, dict[str, Any]]
#: Batches of one execution of `sync_step`.
BATCHES_PER_EXECUTION = 50
#: For failures that an activity cannot report itself, such as a lost database or host.
_FIRST_PAUSE_MS, _TRIES = 3_000, 10
JOB = "sync_job"
_PROCESS = f"process {SYNC_JOBS_QUEUE}"
_OVER = (
    df.OrchestrationRuntimeStatus.Completed,
    df.OrchestrationRuntimeStatus.Failed,
    df.OrchestrationRuntimeStatus.Terminated,
    df.OrchestrationRuntimeStatus.Canceled,
)


def _retries() -> df.RetryOptions:
    return df.RetryOptions(_FIRST_PAUSE_MS, _TRIES)


def instance_of(job_id: UUID | str, run: int) -> str:
    """Return the orchestration id of one run: the job id, with the number of the run after a resumption.

    The previous run may still be ending under its own id."""
    return str(job_id) if run == 1 else f"{job_id}-{run}"


def cancel_event(run: int) -> str:
    """Return the name of the external event that cancels this run and no later one."""
    return f"cancel-{run}"


@bp.function_name(JOB)
@bp.orchestration_trigger(context_name="context")
def sync_job(context: df.DurableOrchestrationContext) -> Steps:
    """Run a synchronisation job (UC-DS-02). Input: `jobId`, `run`."""
    task: dict[str, Any] = context.get_input()
    planned = yield context.call_activity_with_retry("plan_sync", _retries(), task)
    result: dict[str, Any] = planned["outcome"] or {"state": BatchState.Done.value}
    if planned["positions"]:
        deadline = datetime.fromisoformat(planned["deadline"])
        timeout = context.create_timer(max(deadline, context.current_utc_datetime + timedelta(seconds=1)))
        cancel = context.wait_for_external_event(cancel_event(task["run"]))
        steps = {**task, "positions": planned["positions"], "size": planned["size"]}
        streams = context.call_sub_orchestrator("sync_streams", steps)
        first = yield context.task_any([streams, timeout, cancel])
        if first is not timeout:
            timeout.cancel()
        if first is timeout:
            result = _failed(TIMED_OUT.cause, TIMED_OUT.detail)
        elif first is cancel:
            result = {"state": BatchState.Stopped.value}
        elif isinstance(streams.result, Exception):
            result = _failed("internal", "A batch failed again and again.")
        else:
            result = streams.result
    context.set_custom_status({"state": result["state"]})
    yield context.call_activity_with_retry("conclude_sync", _retries(), {**task, "outcome": result})
    return result


@bp.function_name("sync_streams")
@bp.orchestration_trigger(context_name="context")
def sync_streams(context: df.DurableOrchestrationContext) -> Steps:
    """Run one step after the other. Input: `jobId`, `run`, `positions`, `size`."""
    task: dict[str, Any] = context.get_input()
    result: dict[str, Any] = {"state": BatchState.Done.value}
    for position in task["positions"]:
        step = {"jobId": task["jobId"], "run": task["run"], "position": position, "full": task["size"]}
        result = yield context.call_sub_orchestrator("sync_step", {**step, "size": task["size"], "tries": 0})
        if result["state"] != BatchState.Done:
            return result
    return result


@bp.function_name("sync_step")
@bp.orchestration_trigger(context_name="context")
def sync_step(context: df.DurableOrchestrationContext) -> Steps:
    """Run one batch after the other.

    Input: `jobId`, `run`, `position`, `full` (records of a whole batch), `size` (of the next batch), `tries`
    (failures in a row).
    """
    step: dict[str, Any] = context.get_input()
    size, tries = step["size"], step["tries"]
    for _ in range(BATCHES_PER_EXECUTION):
        batch = {"jobId": step["jobId"], "run": step["run"], "position": step["position"], "size": size}
        result = yield context.call_activity_with_retry("sync_batch", _retries(), batch)
        state = BatchState(result["state"])
        context.set_custom_status({"state": state.value, "records": result["records"], "size": size})
        if state == BatchState.More:
            size, tries = after_success(size, step["full"]), 0
        elif state == BatchState.Wait:
            yield context.create_timer(context.current_utc_datetime + timedelta(seconds=result["seconds"]))
        elif state == BatchState.Retry and tries + 1 < MOST_TRIES:
            size, tries = after_failure(size), tries + 1
            pause = max(result["seconds"], backoff_seconds(tries))
            yield context.create_timer(context.current_utc_datetime + timedelta(seconds=pause))
        elif state == BatchState.Retry:
            return {**result, "state": BatchState.Failed.value}
        else:
            return dict(result)
    context.continue_as_new({**step, "size": size, "tries": tries})
    return {"state": BatchState.More.value}


def _failed(cause: str, detail: str) -> dict[str, Any]:
    return {"state": BatchState.Failed.value, "cause": cause, "detail": detail}


@bp.function_name("plan_sync")
@bp.activity_trigger(input_name="task")
def plan_sync(task: ActivityPayload) -> ActivityPayload:
    """Return the remaining steps of a job."""
    from domain.sync.batches import BatchRunner

    plan = use(JobRuns).plan(UUID(task["jobId"]), task["run"])
    return {**plan.to_wire(), "size": use(BatchRunner).size}


@bp.function_name("sync_batch")
@bp.activity_trigger(input_name="batch")
async def sync_batch(batch: ActivityPayload) -> ActivityPayload:
    """Run one batch and store it with its checkpoint."""
    from domain.sync.batches import BatchRunner

    batches = await asyncio.to_thread(use, BatchRunner)
    result = await batches.run_batch(UUID(batch["jobId"]), batch["run"], batch["position"], batch["size"])
    return result.to_wire()


@bp.function_name("conclude_sync")
@bp.activity_trigger(input_name="ending")
def conclude_sync(ending: ActivityPayload) -> str:
    """End the job; then its place is free for a job that waits."""
    result = BatchResult.from_wire(ending["outcome"])
    job = use(JobRuns).conclude(UUID(ending["jobId"]), ending["run"], result)
    hub().queue.send(SYNC_JOBS_QUEUE, [nudge()])
    return job.status.name if job else "nothing"


@bp.function_name("dispatch_sync_jobs")
@bp.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="sync-jobs",
    connection="ServiceBusConnection",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
)
@bp.durable_client_input(client_name="client")
async def dispatch_sync_jobs(messages: Messages, client: df.DurableOrchestrationClient) -> None:
    """Cancel the runs that are to end, then start the jobs that may start (UC-DS-02 step 1)."""
    try:
        for text, message_id in bodies_of(messages):
            body = _read(text, message_id)
            await _cancel(body, client)
            await asyncio.to_thread(_begin_initial, body)
            await asyncio.to_thread(_continue_by_push, body)
        await _start(await asyncio.to_thread(_claim), client)
    except Unavailable as reason:
        await asyncio.to_thread(put_off, "sync-jobs", messages, reason)


@bp.function_name("watch_sync_jobs")
@bp.timer_trigger(arg_name="timer", schedule="45 * * * * *")
@bp.durable_client_input(client_name="client")
async def watch_sync_jobs(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
    """Every minute: start waiting jobs whose message was lost, and revive running jobs without an orchestration."""
    dispatcher = await asyncio.to_thread(use, Dispatcher)
    revived: list[JobStart] = []
    for job in await asyncio.to_thread(dispatcher.silent):
        status = await client.get_status(instance_of(job.data_sync_job_id, job.run_number))
        if status.runtime_status is not None and status.runtime_status not in _OVER:
            await asyncio.to_thread(dispatcher.mark_alive, job)
        elif (start := await asyncio.to_thread(dispatcher.revive, job)) is not None:
            revived.append(start)
    await _start([*revived, *await asyncio.to_thread(_claim)], client)


@bp.function_name("schedule_sync_jobs")
@bp.timer_trigger(arg_name="timer", schedule="0 */15 * * * *")
def schedule_sync_jobs(timer: func.TimerRequest) -> None:
    """Create the jobs of the schedules for the next 15 minutes, and queue them to the second."""
    created, queued = use(ScheduleService).create_due_jobs()
    if created or queued:
        logger.info("syncs scheduled", extra={"made": created, "queued": queued})


@bp.function_name("clean_up_sync_jobs")
@bp.timer_trigger(arg_name="timer", schedule="0 15 2 * * *")
def clean_up_sync_jobs(timer: func.TimerRequest) -> None:
    """Daily at 02:15 UTC: delete jobs and their logs past their retention, and records that may no longer be kept."""
    jobs, records = use(RecordService).forget_old()
    logger.info("sync jobs cleaned up", extra={"jobs": jobs, "records": records})


def _about() -> Attributes:
    return queue_attributes(SYNC_JOBS_QUEUE, "process")


def _claim() -> list[JobStart]:
    return use(Dispatcher).claim()


async def _start(starts: Sequence[JobStart], client: df.DurableOrchestrationClient) -> None:
    """Start the orchestrations; the timer finds a start that failed, since its job runs without an orchestration."""
    for start in starts:
        instance = instance_of(start.data_sync_job_id, start.run_number)
        with hub().tracer.span(
            _PROCESS, SpanKind.Consumer, parent=start.traceparent, attributes=_about
        ) as span:
            try:
                await client.start_new(JOB, instance_id=instance, client_input=start.to_wire())
            except Exception as error:  # the SDK raises bare Exception for an instance that still ends
                span.fail(type(error).__name__)
                logger.warning("sync job not started", extra={"job": instance}, exc_info=error)


def _begin_initial(body: dict[str, Any]) -> None:
    initial = body.get("initial")
    if not isinstance(initial, dict):
        return
    try:
        tenant, integration = UUID(initial["tenantId"]), UUID(initial["integrationId"])
    except (KeyError, ValueError, TypeError, AttributeError):
        logger.error("message is not an initial sync")
        return
    connected = Connected(
        tenant,
        integration,
        str(initial.get("eventId")),
        str(initial.get("eventType", AUTHORIZED)),
        _trace_of(initial),
    )
    use(StandingSyncs).begin(connected)


def _continue_by_push(body: dict[str, Any]) -> None:
    push = body.get("push")
    if not isinstance(push, dict):
        return
    try:
        integration = UUID(push["integrationId"])
    except (KeyError, ValueError, TypeError, AttributeError):
        logger.error("message is not a push")
        return
    use(StandingSyncs).push(integration, _trace_of(push))


def _trace_of(told: dict[str, Any]) -> str | None:
    trace = Trace.of(str(told.get("traceparent")))
    return trace.header if trace else None


async def _cancel(body: dict[str, Any], client: df.DurableOrchestrationClient) -> None:
    run, job_id = body.get("cancel"), body.get("jobId")
    if not run or job_id is None:
        return
    try:
        await client.raise_event(instance_of(UUID(job_id), int(run)), cancel_event(int(run)), {})
    except Exception as error:  # the row of the job says cancelled already, which its next batch sees
        logger.info("sync cancel not raised", extra={"job": job_id}, exc_info=error)


def _read(text: str, message_id: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        logger.error("message is not a sync job", extra={"messageId": message_id})
        return {}
    return body if isinstance(body, dict) else {}
