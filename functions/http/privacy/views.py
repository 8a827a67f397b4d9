"""Exports and erasures as they go over the wire."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from domain.privacy.exporting import ExportPage
from domain.privacy.model import Erasure
from functions.http.kit.views import Moment, PageView, View

Kind = Literal["Record", "Event", "IncomingWebhook", "IntegrationLog", "RecordError"]


class HeldItemView(View):
    kind: Kind
    ids: dict[str, str] = Field(
        description="Where it is stored, such as `integrationId`, `stream`, `externalId`"
    )
    at: Moment = Field(description="When it was synchronised, happened or was received")
    data: Any = Field(description="The stored data; may mention other people")


class ExportView(View):
    items: list[HeldItemView]
    cursor: str | None = Field(description="Cursor of the next part; null at the end")
    is_complete: bool


class ErasureCountsView(View):
    records: int = Field(0, description="Synchronised records erased, or rewritten without the person")
    events: int = Field(0, description="Event payloads rewritten")
    incoming_webhooks: int = Field(0, description="Incoming webhooks whose request was deleted")
    integration_logs: int = Field(0, description="Lines of integration logs rewritten")
    record_errors: int = Field(0, description="Rows of sync logs rewritten")


class ErasureView(View):
    erasure_id: UUID
    status: Literal["Running", "Completed"]
    erased: ErasureCountsView
    created_at: Moment
    created_by: UUID
    completed_at: Moment | None


class ErasurePage(PageView[ErasureView]):
    pass


class AllowedView(View):
    lifted: int = Field(description="Number of entries removed from the suppression list")


def export_view(export: ExportPage) -> ExportView:
    items = [HeldItemView(kind=item.kind, ids=item.ids, at=item.at, data=item.data) for item in export.items]
    return ExportView(items=items, cursor=export.cursor, is_complete=export.cursor is None)


def erasure_view(erasure: Erasure) -> ErasureView:
    return ErasureView(
        erasure_id=erasure.erasure_id,
        status=erasure.status.name,
        erased=ErasureCountsView.model_validate(dict(erasure.counts)),
        created_at=erasure.created_at,
        created_by=erasure.created_by,
        completed_at=erasure.completed_at,
    )
