"""The scheduled jobs of section 14.1. Each is idempotent, bounded per run, and logs its counts."""

from __future__ import annotations

import logging

import azure.functions as func

from infra.bootstrap import hub

bp = func.Blueprint()
logger = logging.getLogger("hub.timers")


@bp.function_name("process_webhook_retries")
@bp.timer_trigger(arg_name="timer", schedule="0 * * * * *")
def process_webhook_retries(timer: func.TimerRequest) -> None:
    """Every minute: queue again what is due and was not attempted."""
    swept = hub().retries.run()
    logger.info(
        "webhook retries processed",
        extra={"requeued": swept.requeued, "interrupted": swept.interrupted, "expired": swept.expired},
    )


@bp.function_name("sweep_outbox")
@bp.timer_trigger(arg_name="timer", schedule="*/15 * * * * *")
def sweep_outbox(timer: func.TimerRequest) -> None:
    """Every 15 seconds: announce events again whose message was lost."""
    announced = hub().events.sweep()
    if announced:
        logger.info("outbox swept", extra={"announced": announced})


@bp.function_name("clean_up_deliveries")
@bp.timer_trigger(arg_name="timer", schedule="0 0 3 * * *")
def clean_up_deliveries(timer: func.TimerRequest) -> None:
    """Daily at 03:00 UTC: delete deliveries and events past their retention, and old idempotency keys."""
    deliveries, events = hub().cleanup.run()
    with hub().units.read() as unit:
        tenants = unit.users.tenants()
    keys = hub().idempotency.forget_old(tenants)
    logger.info(
        "deliveries cleaned up",
        extra={"deliveries": deliveries, "events": events, "idempotencyKeys": keys},
    )
