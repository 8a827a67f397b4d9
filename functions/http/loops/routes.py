"""`/api/loops`: events that are held because they go round between the hub and a receiver."""

from __future__ import annotations

from domain.core.permissions import WEBHOOK_MANAGE
from domain.webhooks.loop_brake import LoopService, ReleaseLoop
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import page_of
from functions.http.loops.views import LoopPage, LoopQuery, LoopView, loop_view
from infra.app.build import use

loops = Resource("loops", tag="Events", permission=WEBHOOK_MANAGE)


@loops.get(query=LoopQuery, response=LoopPage)
def list_loops(call: Call) -> ApiResponse:
    """List loops.

    One for each type of events that went round between the hub and a receiver, those that are held first. Held
    events are not delivered; none is lost."""
    page = use(LoopService).page(call.principal, call.query(LoopQuery).page_request())
    return ApiResponse(page_of(page, loop_view, LoopPage))


@loops.post(
    "{id}/release", body=ReleaseLoop, body_is_optional=True, response=LoopView, status=202, refusals=(409,)
)
def release_loop(call: Call) -> ApiResponse:
    """Release the events of a loop.

    They are delivered, or discarded. End the loop at the receiver first, or the events are held again. Give
    `trustHours` when it is no loop: an honest source may raise equal events often."""
    command = call.body(ReleaseLoop, is_optional=True)
    return ApiResponse(loop_view(use(LoopService).release(call.principal, call.id(), command)), status=202)
