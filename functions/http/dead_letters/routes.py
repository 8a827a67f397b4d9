"""`/api/ops/dead-letters`: what was given up by the queues, and what people do about it."""

from __future__ import annotations

from collections.abc import Sequence

from domain.core.permissions import PLATFORM_ADMIN
from domain.monitoring.dead_letters import ChosenLetters, DeadLetter
from functions.http.dead_letters.views import (
    DeadLetterList,
    DeadLetterQuery,
    DeadLettersTaken,
    DeadLetterView,
    cursor_of,
    letter_view,
)
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from infra.app.build import use

dead_letters = Resource("ops/dead-letters", tag="Operations", permission=PLATFORM_ADMIN)


@dead_letters.get(query=DeadLetterQuery, response=DeadLetterList)
def list_dead_letters(call: Call) -> ApiResponse:
    """List dead letters.

    Messages that the queues gave up after ten deliveries, over all tenants: by queue, then in their order."""
    from domain.monitoring.dead_letters import DeadLetterService

    query = call.query(DeadLetterQuery)
    page = use(DeadLetterService).page(call.principal, query.queue, query.after(), query.page_size)
    items = [letter_view(queue, letter) for queue, letter in page.items]
    return ApiResponse(DeadLetterList(items=items, next=cursor_of(page.next)))


@dead_letters.get("{queue}/{sequenceNumber}", response=DeadLetterView)
def get_dead_letter(call: Call) -> ApiResponse:
    """Get a dead letter."""
    from domain.monitoring.dead_letters import DeadLetterService

    queue = call.request.route_params["queue"]
    letter = use(DeadLetterService).get(call.principal, queue, call.sequence("sequenceNumber"))
    return ApiResponse(letter_view(queue, letter))


@dead_letters.post("{queue}/resend", body=ChosenLetters, response=DeadLettersTaken)
def resend_dead_letters(call: Call) -> ApiResponse:
    """Send dead letters again.

    Each comes as if for the first time. The hub knows its messages by their ids, so that one that was done meanwhile
    does no harm. Audited before it is done."""
    from domain.monitoring.dead_letters import DeadLetterService

    chosen = call.body(ChosenLetters)
    return _taken(
        chosen, use(DeadLetterService).resend(call.principal, call.request.route_params["queue"], chosen)
    )


@dead_letters.post("{queue}/discard", body=ChosenLetters, response=DeadLettersTaken)
def discard_dead_letters(call: Call) -> ApiResponse:
    """Give dead letters up.

    Cannot be undone. Nothing of the hub's own is lost by it: the timers find what its messages carried. Events that
    another module sent straight to `domain-events`, and alerts, are gone. Audited before it is done."""
    from domain.monitoring.dead_letters import DeadLetterService

    chosen = call.body(ChosenLetters)
    return _taken(
        chosen, use(DeadLetterService).discard(call.principal, call.request.route_params["queue"], chosen)
    )


def _taken(chosen: ChosenLetters, letters: Sequence[DeadLetter]) -> ApiResponse:
    found = {letter.sequence_number for letter in letters}
    missing = [number for number in dict.fromkeys(chosen.sequence_numbers) if int(number) not in found]
    return ApiResponse(
        DeadLettersTaken(sequence_numbers=[str(number) for number in sorted(found)], missing=missing)
    )
