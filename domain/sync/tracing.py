"""The spans of a job. What started it is their parent, whichever process and whichever run does the work: the job
keeps its `traceparent`."""

from __future__ import annotations

from contextlib import AbstractContextManager

from domain.sync.jobs import Step, SyncJob
from domain.sync.model import SyncStatus
from domain.sync.sources import Outcome
from domain.tracing import Attributes, AttributeValue, Span, SpanKind, Tracer


def job_span(
    tracer: Tracer, name: str, job: SyncJob, step: Step | None = None
) -> AbstractContextManager[Span]:
    """Of one activity, and of the step that it works on."""

    def attributes() -> Attributes:
        said: dict[str, AttributeValue] = {
            "hub.sync.job.id": str(job.data_sync_job_id),
            "hub.sync.run": job.run_number,
            "hub.integration.id": str(job.integration_id),
        }
        if step is not None:
            said |= {"hub.sync.stream": step.stream, "hub.sync.direction": step.direction.name}
        return said

    return tracer.span(name, SpanKind.Internal, parent=job.traceparent, attributes=attributes)


def tell_outcome(span: Span, outcome: Outcome) -> None:
    """What became of a batch. One that waits as the provider asked did not fail."""
    span.set("hub.sync.state", outcome.state)
    span.set("hub.sync.records", outcome.records)
    if outcome.state in ("retry", "failed"):
        span.fail(outcome.cause)


def tell_end(span: Span, job: SyncJob) -> None:
    """What the job came to."""
    span.set("hub.sync.status", job.status.name)
    span.set("hub.sync.records", job.records_processed)
    if job.status == SyncStatus.Failed:
        span.fail(job.error_code or "failed")
