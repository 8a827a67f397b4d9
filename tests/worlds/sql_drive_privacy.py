"""Calls every method of privacy's repositories once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from domain.core.paging import PageRequest
from domain.incoming.model import IncomingBody, IncomingStatus, IncomingWebhook
from domain.integrations.model import IntegrationLog, LogLevel
from domain.privacy.model import Erasure
from domain.sync.model import RecordError, SyncedRecord
from domain.sync.ports import RunMark
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_drive_sync import STREAM, integration_of, job_of, merge_of
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("erasures", "personal_data")


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    tenant, now = world.tenant, world.clock.now()
    integration_id = integration_of(world, name="Visitors")
    job = replace(job_of(world, integration_id), records_failed=1)
    error = RecordError(world.ids.new(), job.data_sync_job_id, STREAM, "p9", "/email", "No address.", now)
    log = IntegrationLog(world.ids.new(), integration_id, LogLevel.Error, "Refused.", now)
    erasure = Erasure(world.ids.new(), tenant, now, world.user, "sealed")
    body = IncomingBody(world.ids.new(), tenant, integration_id, "sealed", now)
    webhook = IncomingWebhook(
        world.ids.new(),
        tenant,
        integration_id,
        body.incoming_body_id,
        "evt_privacy",
        "rest.changed",
        IncomingStatus.Processed,
        1,
        now,
    )
    with world.transactions.write() as tx:
        tx.sync_records.store(
            tenant,
            integration_id,
            STREAM,
            merge_of(["p1", "p2", "p3"]),
            run=RunMark(job.data_sync_job_id, now, 1),
        )
        tx.sync_jobs.add(tenant, job)
        tx.sync_jobs.log_errors(tenant, [error])
        tx.integration_logs.append([log])
        tx.incoming.add(tenant, [body], [webhook])
        tx.erasures.add(tenant, erasure)
        tx.erasures.suppress(tenant, {"0" * 64}, now)
        tx.commit()
    event = world.events(1)[0]
    world.fan_out(world.webhook(), [event])
    with world.transactions.read() as tx:
        kept = {key: _record(tx, world, integration_id, key) for key in ("p1", "p2", "p3")}
    key = (integration_id, now, world.ids.new())
    again = replace(erasure, erasure_id=world.ids.new())
    digests = {f"{index:064x}" for index in range(600)}
    texts = {"Message": "[erased]", "Details": None, "Exception": None}
    return {
        "erasures.add": [lambda tx: tx.erasures.add(tenant, again)],
        "erasures.get": [lambda tx: tx.erasures.get(tenant, erasure.erasure_id)],
        "erasures.page": [lambda tx: tx.erasures.page(tenant, PageRequest())],
        "erasures.open": [lambda tx: tx.erasures.open(now, 10)],
        "erasures.save": [lambda tx: tx.erasures.save(tenant, erasure)],
        "erasures.suppress": [lambda tx: tx.erasures.suppress(tenant, digests, now)],
        "erasures.allow": [lambda tx: tx.erasures.allow(tenant, digests)],
        "erasures.suppressed": [lambda tx: tx.erasures.suppressed(tenant)],
        "personal_data.records": [
            lambda tx: tx.personal_data.records(tenant, None, 10_000),
            lambda tx: tx.personal_data.records(tenant, (integration_id, STREAM, "p1"), 1),
        ],
        "personal_data.record": [lambda tx: tx.personal_data.record(tenant, integration_id, STREAM, "p1")],
        "personal_data.bury_record": [lambda tx: tx.personal_data.bury_record(tenant, kept["p1"], now)],
        "personal_data.remove_record": [lambda tx: tx.personal_data.remove_record(tenant, kept["p2"])],
        "personal_data.rewrite_record": [
            lambda tx: tx.personal_data.rewrite_record(tenant, kept["p3"], "{}", now)
        ],
        "personal_data.events": [lambda tx: tx.personal_data.events(tenant, "0", 10)],
        "personal_data.rewrite_event": [
            lambda tx: tx.personal_data.rewrite_event(tenant, event.event_id, None, "{}")
        ],
        "personal_data.incoming": [
            lambda tx: tx.personal_data.incoming(tenant, None, 10),
            lambda tx: tx.personal_data.incoming(tenant, key, 10),
        ],
        "personal_data.remove_bodies": [
            lambda tx: tx.personal_data.remove_bodies(tenant, [body.incoming_body_id])
        ],
        "personal_data.logs": [
            lambda tx: tx.personal_data.logs(tenant, None, 10),
            lambda tx: tx.personal_data.logs(tenant, (integration_id, log.integration_log_id), 10),
        ],
        "personal_data.rewrite_log": [
            lambda tx: tx.personal_data.rewrite_log(tenant, log.integration_log_id, texts)
        ],
        "personal_data.record_errors": [
            lambda tx: tx.personal_data.record_errors(tenant, None, 10),
            lambda tx: tx.personal_data.record_errors(tenant, (job.data_sync_job_id, error.error_id), 10),
        ],
        "personal_data.rewrite_record_error": [
            lambda tx: tx.personal_data.rewrite_record_error(tenant, error.error_id, "[erased]")
        ],
    }


def _record(tx: SqlTransaction, world: SqlWorld, integration_id: object, key: str) -> SyncedRecord:
    record = tx.personal_data.record(world.tenant, integration_id, STREAM, key)  # type: ignore[arg-type]
    assert record is not None
    return record
