"""`/api/audit`: the log of every sensitive operation (sections 8.3 and 17.1)."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from domain.core.permissions import AUDIT_READ
from domain.core.text_length import TextConstraints
from domain.core.wire import UtcMoment
from domain.journal.audit import AuditFilter, AuditRecord
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import Moment, PageQuery, PageView, Query, View, page_of
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


class CheckpointView(View):
    sequence: int = Field(description="The newest row that the signed head covers")
    signed_at: Moment
    holds: bool | None = Field(
        description="Whether the rows are those that were signed; null while the check has not come that far"
    )


class ChainReportView(View):
    intact: bool = Field(description="Whether all rows checked so far hold")
    rows: int = Field(description="Rows that hold, from the oldest on")
    first_broken: int | None = Field(description="Sequence of the first row changed, missing or out of place")
    reason: str | None
    head_sequence: int
    head: str = Field(description="Hash of the newest row; keep it elsewhere to prove later what was there")
    checkpoint: CheckpointView | None = Field(
        description="The newest signed head that is kept outside the database, which the rows are compared with"
    )
    complete: bool = Field(description="Whether the newest row was reached")
    cursor: str | None = Field(description="Where the next call goes on, when not complete")


class VerifyQuery(Query):
    cursor: Annotated[str, TextConstraints(max_length=8_000)] | None = Field(
        None, description="`cursor` of the answer before"
    )


class InclusionProofView(View):
    sequence: int
    row: str | None = Field(
        description="The row as canonical JSON, whose SHA-256 after a zero byte is `leafHash`; null once retention "
        "has removed it"
    )
    leaf_hash: str = Field(description="In hexadecimal digits")
    leaf_index: int = Field(description="Counts from 0")
    tree_size: int
    path: list[str] = Field(
        description="Hashes from the leaf's neighbour to the root's (RFC 9162 section 2.1.3)"
    )
    head: str = Field(description="The tree's head as a signed note (C2SP tlog-checkpoint)")


class AuditKeyView(View):
    key_id: str = Field(description="Eight hexadecimal digits, which notes name the key by")
    public_key: str = Field(description="Ed25519, 32 bytes in base64")
    verifier_key: str = Field(description="The same as tools for signed notes take it")
    signs: bool = Field(description="Whether new heads are signed with it")


class AuditKeysView(View):
    items: list[AuditKeyView]


class ExportQuery(Query):
    after: int = Field(0, ge=0, description="Sequence beyond which the part begins")
    limit: int = Field(5_000, ge=1, le=10_000, description="Rows of a part")


@audit.get(query=AuditQuery, response=AuditPage)
def list_audit(call: Call) -> ApiResponse:
    """List audit log entries.

    Newest first. Each sensitive operation of the tenant has an entry, which is stored in the same transaction
    as the operation."""
    from domain.journal.audit_log import AuditService

    query = call.query(AuditQuery)
    page = use(AuditService).page(call.principal, query.to_filter(), query.page_request())
    return ApiResponse(page_of(page, _view, AuditPage))


@audit.get("verify", query=VerifyQuery, response=ChainReportView)
def verify_audit(call: Call) -> ApiResponse:
    """Verify the audit log.

    Checks the tenant's rows from the oldest to the newest: that none was changed, is missing or was added, and that
    they are those which the newest signed head covers. A call checks some 50,000 rows; `cursor` goes on."""
    from domain.journal.audit_log import AuditService

    report = use(AuditService).verify(call.principal, cursor=call.query(VerifyQuery).cursor)
    checkpoint = report.checkpoint
    return ApiResponse(
        ChainReportView(
            intact=report.intact,
            rows=report.rows,
            first_broken=report.first_broken,
            reason=report.reason,
            head_sequence=report.head_sequence,
            head=report.head,
            checkpoint=checkpoint
            and CheckpointView(
                sequence=checkpoint.sequence, signed_at=checkpoint.signed_at, holds=checkpoint.holds
            ),
            complete=report.cursor is None,
            cursor=report.cursor,
        )
    )


@audit.get("proof/{sequence}", response=InclusionProofView, refusals=(404, 409))
def prove_audit_entry(call: Call) -> ApiResponse:
    """Prove an audit log entry.

    Returns the path from a row to a signed head: with the public key alone anybody can check that the row is in the
    log. Heads are signed every 15 minutes; before that the answer is 409 `not-signed-yet`."""
    from domain.journal.audit_log import AuditService

    proof = use(AuditService).prove(call.principal, call.sequence())
    return ApiResponse(
        InclusionProofView(
            sequence=proof.sequence,
            row=proof.row,
            leaf_hash=proof.leaf.hex(),
            leaf_index=proof.index,
            tree_size=proof.head.size,
            path=[step.hex() for step in proof.path],
            head=proof.note,
        )
    )


@audit.get("keys", response=AuditKeysView)
def list_audit_keys(call: Call) -> ApiResponse:
    """List the keys of signed heads.

    Public keys, the one that signs first. Those of before stay: what they signed still holds."""
    from domain.journal.audit_heads import key_id, verifier_key
    from domain.journal.audit_log import AuditService

    keys = use(AuditService).public_keys(call.principal)
    return ApiResponse(
        AuditKeysView(
            items=[
                AuditKeyView(
                    key_id=key_id(key).hex(),
                    public_key=b64encode(key).decode(),
                    verifier_key=verifier_key(key),
                    signs=number == 0,
                )
                for number, key in enumerate(keys)
            ]
        )
    )


@audit.get("export", query=ExportQuery, media_type="application/x-ndjson")
def export_audit(call: Call) -> ApiResponse:
    """Export the audit log for offline verification.

    JSON lines: the first names the place in the log and the newest signed head, the others are rows as canonical
    JSON. `Link` has the next part. The parts one after another are what `python -m infra.audit_verify` takes."""
    from domain.journal.audit_log import AuditService

    query = call.query(ExportQuery)
    text, following = use(AuditService).export(call.principal, query.after, query.limit)
    link = f'</api/audit/export?after={following}&limit={query.limit}>; rel="next"'
    headers = {} if following is None else {"Link": link}
    return ApiResponse(text=text, media_type="application/x-ndjson", headers=headers)


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
