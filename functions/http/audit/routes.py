"""`/api/audit`: the log of every sensitive operation (sections 8.3 and 17.1)."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from domain.core.permissions import AUDIT_READ
from domain.core.text_length import TextConstraints
from domain.core.wire import UtcMoment
from domain.journal.audit import AuditFilter, AuditRecord
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import Moment, PageQuery, PageView, View, page_of
from infra.app.build import use

audit = Resource("audit", tag="Audit", permission=AUDIT_READ)


class AuditRecordView(View):
    sequence: int = Field(description="Counts from 1 without a gap within the tenant")
    occurred_at: Moment
    actor_user_id: UUID | None = Field(description="Null when the hub itself did it")
    actor_key_id: UUID | None = Field(description="The API key that the user's request carried")
    action: str
    target_type: str
    target_id: str
    before: Any = Field(description="What was there; secrets are blacked out")
    after: Any
    request_id: str | None
    trace_id: str | None
    ip_address: str | None
    previous_hash: str
    hash: str


class AuditPage(PageView[AuditRecordView]):
    pass


class AuditQuery(PageQuery):
    actor: UUID | None = Field(None, description="Id of a user or an API key")
    action: Annotated[str, TextConstraints(max_length=100)] | None = Field(
        None, description="Such as `apikey.revoked`, or `apikey.*` for all of one kind"
    )
    target_type: Annotated[str, TextConstraints(max_length=50)] | None = None
    target: Annotated[str, TextConstraints(max_length=200)] | None = Field(
        None, description="Id of what was changed"
    )
    since: UtcMoment | None = Field(None, alias="from", description="At or after")
    until: UtcMoment | None = Field(None, alias="to", description="Before")

    def to_filter(self) -> AuditFilter:
        return AuditFilter(self.actor, self.action, self.target_type, self.target, self.since, self.until)


class ChainReportView(View):
    intact: bool
    rows: int = Field(description="Rows that hold, from the oldest on")
    first_broken: int | None = Field(description="Sequence of the first row changed, missing or out of place")
    reason: str | None
    head_sequence: int
    head: str = Field(description="Hash of the newest row; keep it elsewhere to prove later what was there")


@audit.get(query=AuditQuery, response=AuditPage)
def list_audit(call: Call) -> ApiResponse:
    """List audit log entries.

    Newest first. Each sensitive operation of the tenant has an entry, which is stored in the same transaction
    as the operation."""
    from domain.journal.audit_log import AuditService

    query = call.query(AuditQuery)
    page = use(AuditService).page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, _view, AuditPage))


@audit.get("verify", response=ChainReportView)
def verify_audit(call: Call) -> ApiResponse:
    """Verify the audit log.

    Checks the tenant's hash chain from the oldest stored row to the newest."""
    from domain.journal.audit_log import AuditService

    report = use(AuditService).verify(call.principal)
    return ApiResponse(
        ChainReportView(
            intact=report.intact,
            rows=report.rows,
            first_broken=report.first_broken,
            reason=report.reason,
            head_sequence=report.head_sequence,
            head=report.head,
        )
    )


def _view(record: AuditRecord) -> AuditRecordView:
    return AuditRecordView(
        sequence=record.sequence,
        occurred_at=record.occurred_at,
        actor_user_id=record.actor_user_id,
        actor_key_id=record.actor_key_id,
        action=record.action,
        target_type=record.target_type,
        target_id=record.target_id,
        before=_state(record.before),
        after=_state(record.after),
        request_id=record.request_id,
        trace_id=record.trace_id,
        ip_address=record.ip_address,
        previous_hash=record.previous_hash,
        hash=record.hash,
    )


def _state(text: str | None) -> Any:
    """Return the stored JSON as a value; where tampering made it invalid, return the text itself."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text
