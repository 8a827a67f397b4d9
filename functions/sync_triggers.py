"""What starts, schedules and watches synchronisation jobs: the queue `sync-jobs`, and timers."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import azure.durable_functions as df
import azure.functions as func

from domain.errors import Unavailable
from domain.sync.dispatch import SYNC_JOBS_QUEUE, Start
from domain.tracing import Attributes, SpanKind, queue_attributes
from functions.messages import Batch, put_off, text_of
from functions.sync_orchestrations import JOB, cancel_event, instance_of
from infra.bootstrap import hub
from infra.trace import Trace

bp = df.Blueprint()
logger = logging.getLogger("hub.sync")

_PROCESS = f"process {SYNC_JOBS_QUEUE}"
_OVER = (
    df.OrchestrationRuntimeStatus.Completed,
    df.OrchestrationRuntimeStatus.Failed,
    df.OrchestrationRuntimeStatus.Terminated,
    df.OrchestrationRuntimeStatus.Canceled,
)


@bp.function_name("dispatch_sync_jobs")
@bp.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="sync-jobs",
    connection="ServiceBusConnection",
    cardinality=func.Cardinality.MANY,
)
@bp.durable_client_input(client_name="client")
async def dispatch_sync_jobs(messages: Batch, client: df.DurableOrchestrationClient) -> None:
    """UC-DS-02 step 1: end the runs that were cancelled, start what may start."""
    try:
        for message in messages:
            body = _read(text_of(message))
            await _cancel(body, client)
            await asyncio.to_thread(_begin_initial, body)
        await _start(await asyncio.to_thread(_claim), client)
    except Unavailable as reason:
        await asyncio.to_thread(put_off, "sync-jobs", messages, reason)


@bp.function_name("watch_sync_jobs")
@bp.timer_trigger(arg_name="timer", schedule="45 * * * * *")
@bp.durable_client_input(client_name="client")
async def watch_sync_jobs(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
    """Every minute: start what waits though its message was lost, and revive running jobs whose orchestration is
    gone."""
    dispatcher = await asyncio.to_thread(lambda: hub().sync.dispatcher)
    revived: list[Start] = []
    for job in await asyncio.to_thread(dispatcher.silent):
        status = await client.get_status(instance_of(job.data_sync_job_id, job.run_number))
        if status.runtime_status is not None and status.runtime_status not in _OVER:
            await asyncio.to_thread(dispatcher.alive, job)
        elif (start := await asyncio.to_thread(dispatcher.revive, job)) is not None:
            revived.append(start)
    await _start([*revived, *await asyncio.to_thread(_claim)], client)


@bp.function_name("schedule_sync_jobs")
@bp.timer_trigger(arg_name="timer", schedule="0 */15 * * * *")
def schedule_sync_jobs(timer: func.TimerRequest) -> None:
    """Every 15 minutes: jobs of the schedules' next occurrences, queued to the second."""
    made, queued = hub().sync.schedules.run()
    if made or queued:
        logger.info("syncs scheduled", extra={"made": made, "queued": queued})


@bp.function_name("clean_up_sync_jobs")
@bp.timer_trigger(arg_name="timer", schedule="0 15 2 * * *")
def clean_up_sync_jobs(timer: func.TimerRequest) -> None:
    """Daily at 02:15 UTC: delete jobs and their logs past their retention, and records nobody may keep."""
    jobs, records = hub().sync.records.forget_old()
    logger.info("sync jobs cleaned up", extra={"jobs": jobs, "records": records})


def _about() -> Attributes:
    return queue_attributes(SYNC_JOBS_QUEUE, "process")


def _claim() -> list[Start]:
    return hub().sync.dispatcher.claim()


async def _start(starts: Sequence[Start], client: df.DurableOrchestrationClient) -> None:
    """A start that fails is found by the timer: its job runs without an orchestration."""
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
    except (KeyError, ValueError, TypeError):
        logger.error("message is not an initial sync")
        return
    trace = Trace.of(str(initial.get("traceparent")))
    hub().sync.service.start_initial(
        tenant, integration, str(initial.get("eventId")), trace.header if trace else None
    )


async def _cancel(body: dict[str, Any], client: df.DurableOrchestrationClient) -> None:
    run, job_id = body.get("cancel"), body.get("jobId")
    if not run or job_id is None:
        return
    try:
        await client.raise_event(instance_of(UUID(job_id), int(run)), cancel_event(int(run)), {})
    except Exception as error:  # nothing to end: the job's row says cancelled, and its next batch sees that
        logger.info("sync cancel not raised", extra={"job": job_id}, exc_info=error)


def _read(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        logger.error("message is not a sync job")
        return {}
    return body if isinstance(body, dict) else {}
