"""`/api/events`: where other modules of the platform raise events."""

from __future__ import annotations

from functools import partial

from pydantic import Field

from domain.core.permissions import EVENTS_WRITE
from domain.core.tracing import SpanKind, queue_attributes
from domain.journal.event_types import ReservedTypes
from domain.journal.events import RaiseEvent, RaiseEvents
from domain.journal.hops import HOPS_HEADER
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE, EventService
from domain.journal.raising import read_raised
from functions.http.kit.bodies import RAISED
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import View
from infra.app.build import hub, use

events = Resource("events", tag="Events", permission=EVENTS_WRITE)


class AcceptedView(View):
    accepted: int = Field(description="Events stored by this request")
    duplicates: int = Field(description="Events whose id was known before")
    event_ids: list[str] = Field(description="In the order of the request")


class ReservedTypesView(View):
    names: list[str] = Field(description="The hub's own types")
    prefixes: list[str] = Field(description="What the other reserved types begin with")


@events.get("reserved-types", response=ReservedTypesView)
def list_reserved_types(call: Call) -> ApiResponse:
    """List the reserved types of events.

    Only the hub and its integrations raise them: what is before the first dot of a type decides, without regard to
    case or to `_` and `-` at its ends. Webhooks may subscribe to all of them."""
    reserved = use(ReservedTypes)
    return ApiResponse(ReservedTypesView(names=list(reserved.names), prefixes=list(reserved.prefixes)))


@events.post(
    body=(RaiseEvent, RaiseEvents), body_limit=RAISED, response=AcceptedView, status=202, refusals=(409,)
)
def raise_events(call: Call) -> ApiResponse:
    """Raise events.

    One event, or `{"events": [...]}` with up to 1,000; either all are stored or none. Raising is idempotent on
    `id`. Each payload may be up to 1 MiB (BR-WH-08), all of the body up to 8 MiB. The
    [reserved types](#operation/list_reserved_types) are refused as `reserved-type`, and what `occurredAt` puts more
    than a day ahead. Whoever raises an event because of a delivery passes the delivery's header `webhook-hops` on:
    what was delivered eight times in a row is refused as a loop."""
    payload_at_most = hub().settings.event_max_bytes
    events, in_batch = call.read(partial(read_raised, payload_at_most=payload_at_most))
    with hub().tracer.span(
        f"send {DOMAIN_EVENTS_QUEUE}",
        SpanKind.Producer,
        parent=call.trace.header,
        attributes=lambda: queue_attributes(DOMAIN_EVENTS_QUEUE, "send", count=len(events)),
    ) as sending:
        traceparent = sending.traceparent or call.trace.header
        accepted = use(EventService).accept(
            call.principal,
            events,
            traceparent,
            in_batch=in_batch,
            hops=call.request.headers.get(HOPS_HEADER),
        )
    return ApiResponse(
        AcceptedView(
            accepted=accepted.accepted, duplicates=accepted.duplicates, event_ids=list(accepted.event_ids)
        ),
        status=202,
    )
