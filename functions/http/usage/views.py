"""A tenant's usage as it goes over the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domain.core.wire import UtcMoment
from domain.journal.usage import UsageCounts, UsageList, UsagePeriod, UsageSpan
from functions.http.kit.views import Moment, PageQuery, PageView, View

ByPeriod = Literal["hour", "month"]


class TenantUsageQuery(PageQuery):
    by: ByPeriod = Field("hour", description="Length of the periods")
    since: UtcMoment | None = Field(
        None,
        alias="from",
        description="24 hours, or 12 months, back when absent; the period it lies in counts",
    )
    until: UtcMoment | None = Field(None, alias="to", description="The end of the present period when absent")

    def period(self) -> UsagePeriod:
        return UsagePeriod.Hour if self.by == "hour" else UsagePeriod.Month


class UsageCountsView(View):
    calls: int = Field(
        description="Requests to the API that were let in: not those refused with 401, 429, or 403 for a permission"
    )
    events: int = Field(description="Events stored, the hub's own included")
    deliveries: int = Field(description="Events for a webhook, each counted once, however often it was tried")
    records: int = Field(description="Records that synchronisations handled, in either direction")


class UsageSpanView(UsageCountsView):
    start: Moment


class TenantUsagePage(PageView[UsageSpanView]):
    by: ByPeriod
    since: Moment = Field(serialization_alias="from")
    until: Moment = Field(serialization_alias="to")
    totals: UsageCountsView = Field(description="Sum over all periods of the range, those of other pages too")


def tenant_usage_page(listed: UsageList, by: ByPeriod) -> TenantUsagePage:
    page = listed.page
    return TenantUsagePage(
        items=[_span_view(span) for span in page.items],
        page=page.page,
        page_size=page.page_size,
        total=page.total,
        by=by,
        since=listed.since,
        until=listed.until,
        totals=counts_view(listed.total),
    )


def counts_view(counts: UsageCounts) -> UsageCountsView:
    return UsageCountsView(**_fields(counts))


def _span_view(span: UsageSpan) -> UsageSpanView:
    return UsageSpanView(start=span.start, **_fields(span.counts))


def _fields(counts: UsageCounts) -> dict[str, int]:
    return {
        "calls": counts.calls,
        "events": counts.events,
        "deliveries": counts.deliveries,
        "records": counts.records,
    }
