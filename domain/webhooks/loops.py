"""Loops: how one is told from honest traffic, and what becomes of a brake; decisions as pure functions.

A loop and an honest source of equal events look alike until its deliveries are held. Then a loop falls silent, and
goes on when one event is let pass; a source goes on by itself ([ADR 16](../../docs/adr/0016-loops.md))."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final
from uuid import UUID

from domain.journal.echoes import Marks

#: An event this many times delivered and raised again goes round; fewer laps are enough among many equals.
LAPS_LIMIT: Final = 8
_LAPS_OF_EQUALS: Final = 3
_EQUALS: Final = 100
#: So many laps, told by an id or by equal data, are suspicious at a slow pace too, and when each has another type.
_SLOW_LAPS: Final = 40
_SLOW_LAPS_OF_EQUALS: Final = 300
_SLOWEST_A_MINUTE: Final = 10
#: How long ago what is repeated may have been delivered.
ECHO_WINDOW: Final = timedelta(minutes=2)
RATE_WINDOW: Final = timedelta(seconds=60)
#: So long after the last delivery nothing that arrives is its consequence, and silence means something; the second
#: time within a day the hub waits longer, as for a receiver that takes its time.
_SILENCE: Final = timedelta(seconds=2)
_LONG_SILENCE: Final = timedelta(seconds=15)
_SUSPECTED_AT_MOST: Final = timedelta(seconds=30)
_UNPROVOKED: Final = 3
_TRUSTED_FOR: Final = timedelta(minutes=5)
_LONG_TRUSTED_FOR: Final = timedelta(hours=1)
_TRIPS_WITHIN: Final = timedelta(days=1)


class LoopState(IntEnum):
    """Of a brake: it holds events until `Released`.

    - Suspected: it has just taken hold. Probed: one held event was let pass, to see whether it comes back.
    - Confirmed: what was let pass came back, or more and more came. A person decides."""

    Suspected = 0
    Probed = 1
    Confirmed = 2
    Released = 3


@dataclass(frozen=True, slots=True)
class LoopBrake:
    """Holds the events of one type of a tenant that repeat what was delivered. At most one of a (tenant, type).

    - `since`: when the state began. `last_seen_at`: when the last event was held.
    - `trips`: how often it took hold within a day. `unprovoked`: events held that no delivery can have caused.
    - `probe_event_id`: what was let pass. `trusted_until`: no event of the type is held before.
    - `held`: how many events it holds; known where brakes are listed."""

    loop_brake_id: UUID
    tenant_id: UUID
    event_type: str
    state: LoopState
    since: datetime
    last_seen_at: datetime
    trips: int = 1
    unprovoked: int = 0
    probe_event_id: str | None = None
    trusted_until: datetime | None = None
    held: int = field(default=0, compare=False)

    @property
    def holds(self) -> bool:
        return self.state is not LoopState.Released

    @property
    def silence(self) -> timedelta:
        return _SILENCE if self.trips == 1 else _LONG_SILENCE

    @property
    def looked_at_again(self) -> datetime:
        """When time alone may change its state."""
        if self.state is LoopState.Probed:
            return self.since + 2 * self.silence
        return max(self.since, self.last_seen_at) + self.silence

    def trusts(self, now: datetime) -> bool:
        return self.trusted_until is not None and now < self.trusted_until


@dataclass(frozen=True, slots=True)
class Delivered:
    """Events with one mark and as many laps that were delivered lately: how many, the first and the last."""

    laps: int
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Echo:
    """An event that repeats what was delivered: its laps, how many equals it has, and the delivery it may come of.

    `is_sure`: it holds what was delivered, or its id, and is not just equal to it, as events of one source may be."""

    laps: int
    equals: int
    delivered_at: datetime
    is_sure: bool

    @property
    def goes_round(self) -> bool:
        """Return whether it has come back so often that it belongs to a loop, if there is one."""
        return self.laps >= LAPS_LIMIT or (self.laps >= _LAPS_OF_EQUALS and self.equals >= _EQUALS)


def echo_of(
    marks: Marks, known: Mapping[int | str, Sequence[Delivered]], *, whole: int, accepted_at: datetime | None
) -> Echo | None:
    """Return what an event repeats, None when it is no echo of anything that was delivered before it was accepted.

    `whole` is the digest of all of its data."""
    names: list[int | str] = [*marks.digests, *marks.event_ids]
    found = [
        (name, each)
        for name in names
        for each in known.get(name, ())
        if accepted_at is None or each.first_at <= accepted_at
    ]
    if not found:
        return None
    return Echo(
        laps=1 + max(each.laps for _, each in found),
        equals=sum(each.count for name, each in found if name == whole),
        delivered_at=max(each.last_at for _, each in found),
        is_sure=any(name != whole for name, _ in found),
    )


def trips(echo: Echo, *, of_type: int, of_tenant: int, most_a_minute: int) -> bool:
    """Return whether the brake takes hold, by how many events went round within a minute."""
    slow_laps = _SLOW_LAPS if echo.is_sure else _SLOW_LAPS_OF_EQUALS
    return of_type > most_a_minute or (echo.laps >= slow_laps and of_tenant >= _SLOWEST_A_MINUTE)


def tripped(before: LoopBrake | None, fresh: LoopBrake) -> LoopBrake:
    """Return the brake that takes hold now, `before` being what there was for the type."""
    if before is None:
        return fresh
    count = before.trips + 1 if fresh.since - before.since < _TRIPS_WITHIN else 1
    return replace(fresh, loop_brake_id=before.loop_brake_id, trips=count)


def confirmed_by_probe(brake: LoopBrake, echo: Echo, now: datetime) -> LoopBrake:
    """Return the brake after an event of any type that comes of what was delivered after one event was let pass."""
    if brake.state is LoopState.Probed and echo.delivered_at >= brake.since:
        return replace(brake, state=LoopState.Confirmed, since=now, probe_event_id=None)
    return brake


def is_held(brake: LoopBrake, echo: Echo) -> bool:
    """Return whether an event of the brake's type is held: what goes round, and in a loop that is sure any echo."""
    return brake.holds and (echo.goes_round or brake.state is LoopState.Confirmed)


def after_held(brake: LoopBrake, echo: Echo, now: datetime) -> LoopBrake:
    """Return the brake after another event was held.

    - One that comes so long after the last delivery is not its consequence: three of them show a source.
    - `confirmed_by_probe` says what one that comes after the probe shows."""
    if now - echo.delivered_at > brake.silence:
        brake = replace(brake, unprovoked=brake.unprovoked + 1, last_seen_at=now)
        return released(brake, now) if brake.unprovoked >= _UNPROVOKED else brake
    return replace(confirmed_by_probe(brake, echo, now), last_seen_at=now)


def after_waiting(brake: LoopBrake, now: datetime) -> LoopBrake:
    """Return the brake after time has passed.

    - Silent: one event shall pass; the caller chooses which, and says so by `probe_event_id`.
    - Not silent for too long: confirmed. Nothing came of the probe: released."""
    if brake.state is LoopState.Probed:
        return released(brake, now) if now >= brake.looked_at_again else brake
    if brake.state is LoopState.Suspected:
        if now >= brake.looked_at_again:
            return replace(brake, state=LoopState.Probed, since=now)
        if now - brake.since >= _SUSPECTED_AT_MOST:
            return replace(brake, state=LoopState.Confirmed, since=now)
    return brake


def released(brake: LoopBrake, now: datetime, *, trusted_for: timedelta | None = None) -> LoopBrake:
    """Return the brake that holds no more, and trusts the type for a while: for long where it waited for long."""
    if trusted_for is None:
        trusted_for = _TRUSTED_FOR if brake.trips == 1 else _LONG_TRUSTED_FOR
    return replace(
        brake,
        state=LoopState.Released,
        since=now,
        unprovoked=0,
        probe_event_id=None,
        trusted_until=now + trusted_for,
    )
