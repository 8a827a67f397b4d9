"""Section 3.3's events, payloads in camelCase."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from domain.events.model import DomainEvent, event_data
from domain.ports import IdGenerator
from domain.sync.jobs import SyncJob
from domain.sync.model import SyncStatus


def initiated(ids: IdGenerator, job: SyncJob, now: datetime) -> DomainEvent:
    data = {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "syncType": job.sync_type.name,
        "direction": job.direction.name,
        "recordsTotal": job.records_total,
    }
    return _event(ids, "DataSyncInitiated", job, data, now)


def ended(ids: IdGenerator, job: SyncJob, now: datetime) -> list[DomainEvent]:
    """What a job that ended raises. One that went through with failed records both completed and encountered
    errors."""
    raised: list[DomainEvent] = []
    if job.status in (SyncStatus.Completed, SyncStatus.PartialSuccess):
        begun = job.started_at or job.created_at
        data = {
            **_about(job),
            "recordsProcessed": job.records_processed,
            "duration": round((now - begun).total_seconds(), 3),
        }
        raised.append(_event(ids, "DataSyncCompleted", job, data, now))
    if job.status in (SyncStatus.Failed, SyncStatus.PartialSuccess):
        data = {**_about(job), "recordsFailed": job.records_failed, "errorMessage": message_of(job)}
        raised.append(_event(ids, "DataSyncFailed", job, data, now))
    if job.status == SyncStatus.Cancelled:
        data = {**_about(job), "recordsProcessed": job.records_processed}
        raised.append(_event(ids, "DataSyncCancelled", job, data, now))
    return raised


def message_of(job: SyncJob) -> str:
    """What the error log says, in words."""
    if job.error_log:
        return str(json.loads(job.error_log)["message"])
    return f"{job.records_failed} records failed." if job.records_failed else ""


def _about(job: SyncJob) -> dict[str, Any]:
    return {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "status": job.status.name,
    }


def _event(ids: IdGenerator, type_: str, job: SyncJob, data: Mapping[str, Any], now: datetime) -> DomainEvent:
    return DomainEvent(
        event_id=str(ids.new()),
        tenant_id=job.tenant_id,
        type=type_,
        data=event_data(data),
        occurred_at=now,
        subject=str(job.data_sync_job_id),
    )
