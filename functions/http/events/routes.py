"""`/api/events`: where other modules of the platform raise events."""

from __future__ import annotations

from pydantic import Field

from domain.core.json_text import MalformedJson, member_names
from domain.core.permissions import EVENTS_WRITE
from domain.core.tracing import SpanKind, queue_attributes
from domain.journal.events import RaiseEvent, RaiseEvents
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE, EventService
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import View
from infra.app.build import hub, use

events = Resource("events", tag="Events", permission=EVENTS_WRITE)


class AcceptedView(View):
    accepted: int = Field(description="Events stored by this request")
    duplicates: int = Field(description="Events whose id was known before")
    event_ids: list[str] = Field(description="In the order of the request")


@events.post(body=(RaiseEvent, RaiseEvents), response=AcceptedView, status=202)
def raise_events(call: Call) -> ApiResponse:
    """Raise events.

    One event, or `{"events": [...]}` with up to 1,000; either all are stored or none. Raising is idempotent on
    `id`. Each payload may be up to 1 MiB (BR-WH-08)."""
    most = hub().settings.request_max_bytes
    in_batch = _is_batch(call.request.get_body())
    events = call.body(RaiseEvents, most=most).events if in_batch else [call.body(RaiseEvent, most=most)]
    with hub().tracer.span(
        f"send {DOMAIN_EVENTS_QUEUE}",
        SpanKind.Producer,
        parent=call.trace.header,
        attributes=lambda: queue_attributes(DOMAIN_EVENTS_QUEUE, "send", count=len(events)),
    ) as sending:
        traceparent = sending.traceparent or call.trace.header
        accepted = use(EventService).accept(call.principal, events, traceparent, in_batch=in_batch)
    return ApiResponse(
        AcceptedView(
            accepted=accepted.accepted, duplicates=accepted.duplicates, event_ids=list(accepted.event_ids)
        ),
        status=202,
    )


def _is_batch(body: bytes) -> bool:
    """Return whether the object has a member `events`; the body is parsed only when the name occurs in it."""
    try:
        return b'"events"' in body and "events" in member_names(body)
    except MalformedJson:
        return False
