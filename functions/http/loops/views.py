"""Brakes of loops as they go over the wire."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field

from domain.webhooks.loops import LoopBrake
from functions.http.kit.views import Moment, PageQuery, PageView, View

LoopStateName = Literal["Suspected", "Probed", "Confirmed", "Released"]


class LoopQuery(PageQuery):
    pass


class LoopView(View):
    loop_id: UUID
    event_type: str = Field(description="Events of this type repeat what was delivered")
    state: LoopStateName = Field(
        description="`Suspected`: held while the hub waits for silence. `Probed`: one event was let pass, to see "
        "whether it comes back. `Confirmed`: it did. `Released`: nothing is held any more"
    )
    since: Moment
    last_seen_at: Moment = Field(description="When the last event was held")
    held: int = Field(description="Events that are held now")
    trips: int = Field(description="How often the brake took hold within a day")
    trusted_until: Moment | None = Field(description="No event of the type is held before this moment")


class LoopPage(PageView[LoopView]):
    pass


def loop_view(brake: LoopBrake) -> LoopView:
    return LoopView(
        loop_id=brake.loop_brake_id,
        event_type=brake.event_type,
        state=brake.state.name,
        since=brake.since,
        last_seen_at=brake.last_seen_at,
        held=brake.held,
        trips=brake.trips,
        trusted_until=brake.trusted_until,
    )
